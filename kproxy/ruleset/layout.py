"""The largest chains of iptables mode: as kube-proxy has them, or split into trees of small chains."""

import math
from typing import NamedTuple


class Layout(NamedTuple):
    """When a chain becomes a tree.

    A dispatch chain with more than `root_rules` rules is split, and so is a chain below it with more than
    `chain_rules`. A chain that picks one of more than `most_backends` backends picks a group of them first.
    """

    root_rules: float
    chain_rules: float
    most_backends: float


FLAT = Layout(math.inf, math.inf, math.inf)
"""kube-proxy's own chains."""

TREE = Layout(64, 64, 64)

AUTO = Layout(256, 64, 64)
"""The chains of kube-proxy while the cluster is small, and trees in a larger one."""

LAYOUTS = {"flat": FLAT, "tree": TREE, "auto": AUTO}
