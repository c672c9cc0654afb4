"""What both modes make rules from, beside Services: the circumstances of the node, and a function that renders."""

from collections.abc import Callable
from dataclasses import dataclass

from kproxy.model.node import NodeView
from kproxy.model.settings import Settings
from kproxy.ruleset.layout import FLAT, Layout
from kproxy.values import Network

Render = Callable[[str, dict[str, object]], str]
"""Renders the template of a name with these values; comes in from the edge that owns Jinja2."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What all rules depend on; when it changes, every Service is looked at again."""

    node: NodeView
    settings: Settings
    layout: Layout = FLAT
    service_networks: tuple[Network, ...] = ()
    """Where cluster IPs are from, in nftables mode, which drops what is sent to those that no Service holds."""
