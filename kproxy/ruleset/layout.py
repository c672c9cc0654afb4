"""How large a chain may become before it is split, in iptables mode: kube-proxy's own chains, or trees of small ones."""

import math
from typing import NamedTuple


class Layout(NamedTuple):
    """When a chain becomes a tree.

    A dispatch chain is split that has more than `root_rules` rules, and a chain below it with more than
    `chain_rules`; a chain that picks one of more than `picks` backends picks a group of them first.
    """

    root_rules: float
    chain_rules: float
    picks: float


FLAT = Layout(math.inf, math.inf, math.inf)
"""kube-proxy's own chains."""

TREE = Layout(64, 64, 64)

AUTO = Layout(256, 64, 64)
"""Like kube-proxy's in a small cluster."""

LAYOUTS = {"flat": FLAT, "tree": TREE, "auto": AUTO}
