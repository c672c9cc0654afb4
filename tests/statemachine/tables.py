"""The tables of nftables, read and compared: ours with what it should be, the others' with what they were."""

import json
from difflib import unified_diff
from typing import Any

from kproxy import process
from kproxy.errors import ProgramFailed
from kproxy.kernel.node import addresses
from kproxy.model.node import view_node
from kproxy.render.templates import rule_templates
from kproxy.ruleset.inputs import Circumstances
from kproxy.ruleset.nftables.desired import DesiredTable
from kproxy.ruleset.nftables.ownership import REFERENCE_TABLE
from kproxy.ruleset.nftables.table import TABLE
from kproxy.transaction.nftables.whole import whole_table
from kproxy.values import Family
from namespaces import inside
from nftlisting import listing
from statemachine.cluster import NODE, Cluster
from statemachine.flags import Flags


class Nftables:
    """`elsewhere` is another network namespace, which is told what our tables should be, and shows them."""

    def __init__(self, elsewhere: str) -> None:
        self._elsewhere = elsewhere
        self._render = rule_templates()
        self._addresses = addresses.local_addresses()
        self._wanted: dict[Family, dict[str, Any]] = {}
        self._wanted_in: tuple[Cluster, Flags] | None = None
        self._foreign = ""

    def clear(self) -> None:
        process.run(["nft", "flush ruleset"])

    def write(self, _family: Family, text: str) -> None:
        process.run(["nft", "-f", "-"], stdin=text)

    def flush(self) -> None:
        self.clear()

    def remember(self) -> None:
        self._foreign = foreign()

    def what_is_wrong(self, cluster: Cluster, flags: Flags, *, keeps_jumps: bool) -> str:  # noqa: ARG002 # nobody shares our chains
        if self._wanted_in != (cluster, flags):
            self._wanted = {family: self._shown(cluster, flags, family) for family in Family}
            self._wanted_in = cluster, flags
        for family, wanted in self._wanted.items():
            if wrong := _difference(_text(wanted), _text(_held(family))):
                return f"{family}: {wrong}"
        return _difference(self._foreign, foreign())

    def _shown(self, cluster: Cluster, flags: Flags, family: Family) -> dict[str, Any]:
        """Our table as the kernel shows it on a node that knows only this state."""
        store = cluster.store
        settings = flags.settings(nftables=True)
        view = view_node(NODE, store.node(NODE), self._addresses, settings, family)
        networks = store.service_networks(family)
        circumstances = Circumstances(view, settings, service_networks=networks)
        desired = DesiredTable(self._render, circumstances)
        desired.update(store, store.services, circumstances)
        with inside(self._elsewhere):
            self.clear()
            self.write(family, str(whole_table(family, desired.blocks, desired.elements())))
            return listing(family)


def foreign() -> str:
    """Each table but ours, with the handles of its parts: a part that was written again has another handle."""
    tables = process.run(["nft", "list", "tables"]).splitlines()
    others = [each for each in tables if not each.endswith((f" {TABLE}", f" {REFERENCE_TABLE}"))]
    return "".join(process.run(["nft", "-a", "list", *each.split()]) for each in others)


def _held(family: Family) -> dict[str, Any]:
    """The content of our table; empty if there is no table, or a dormant one, of which nft 1.0.6 makes no JSON."""
    try:
        return listing(family)
    except (ProgramFailed, json.JSONDecodeError):
        return {}


def _text(listed: dict[str, Any]) -> str:
    return "\n".join(f"{name}: {json.dumps(about)}" for name, about in sorted(listed.items()))


def _difference(expected: str, found: str) -> str:
    lines = (expected.splitlines(), found.splitlines())
    return "\n".join(unified_diff(*lines, "expected", "found", lineterm="", n=0))
