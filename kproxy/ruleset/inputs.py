"""The inputs of both modes besides Services: the circumstances of the node, and a function that renders."""

from collections.abc import Callable
from dataclasses import dataclass

from kproxy.model.node import NodeView
from kproxy.model.settings import Settings
from kproxy.ruleset.layout import FLAT, Layout
from kproxy.values import Network

Render = Callable[[str, dict[str, object]], str]
"""Renders the named template with these values; the package that imports Jinja2 passes it in."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """The facts that all rules depend on; when one changes, every Service is computed again."""

    node: NodeView
    settings: Settings
    layout: Layout = FLAT
    service_networks: tuple[Network, ...] = ()
    """The networks of cluster IPs, for nftables mode, which drops packets to cluster IPs that no Service has."""
