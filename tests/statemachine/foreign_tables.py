"""Changes that others make to tables of nftables, their own and ours, as steps."""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from kproxy import process
from kproxy.values import Family
from statemachine.foreign import Spoiled
from statemachine.steps import Step

if TYPE_CHECKING:
    from statemachine.world import World

FOREIGN_FAMILIES = ("ip", "ip6", "inet")
_OURS = {Family.IPV4: "ip kproxy", Family.IPV6: "ip6 kproxy"}


@dataclass(frozen=True, kw_only=True)
class ForeignTable(Step):
    """Somebody's table, which lets everything pass, has so many elements now, or is gone."""

    family: str
    is_there: bool
    elements: int

    def play(self, world: "World") -> None:
        name = f"{self.family} somebody-else"
        held = "".join(f"\t\telements = {{ {number} }}\n" for number in range(self.elements))
        text = (
            f"table {name} {{\n\tset marks {{\n\t\ttype mark\n{held}\t}}\n"
            "\tchain kproxy {\n\t\ttype filter hook prerouting priority -5; policy accept;\n"
            "\t\tmeta mark @marks return\n\t}\n}\n"
        )
        world.make(*self.changes)
        world.meddle(Family.IPV4, f"add table {name}\ndelete table {name}\n{text if self.is_there else ''}")


class TableSpoiling(StrEnum):
    """A change that somebody makes to our table, or to a chain, rule or element in it.

    No policy drops what is from or for the node: its agent could not even ask the API server any more.
    """

    DELETE_TABLE = "delete table"
    FLUSH_TABLE = "flush table"
    DORMANT_TABLE = "dormant table"
    FLUSH_CHAIN = "flush chain"
    ADD_CHAIN = "add chain"
    DROP_POLICY = "policy drop"
    DELETE_RULE = "delete rule"
    ADD_RULE = "add rule"
    FLUSH_MAP = "flush map"
    ADD_SET = "add set"
    ADD_ELEMENT = "add element"


@dataclass(frozen=True, kw_only=True)
class TableSpoiled(Spoiled):
    how: TableSpoiling

    @property
    def kind(self) -> str:
        return f"TableSpoiled {self.how}, {self.when}"

    @property
    def halts_conversations(self) -> bool:
        return self.how in {
            TableSpoiling.DELETE_TABLE,
            TableSpoiling.FLUSH_TABLE,  # without rules that ask for it, the kernel tracks no connection
            TableSpoiling.DORMANT_TABLE,
            TableSpoiling.DROP_POLICY,
        }

    def harm(self, world: "World") -> str:  # noqa: ARG002 # which knows the backend of iptables mode
        table = _OURS[self.family]
        listed = process.run(["nft", "-j", "-a", "list", "table", *table.split()])
        things: dict[str, list[dict[str, Any]]] = {}
        for thing in json.loads(listed)["nftables"]:
            for kind, about in thing.items():
                things.setdefault(kind, []).append(about)
        chain = self._one_of(things["chain"])["name"]
        rule = self._one_of(things["rule"])
        held = self._one_of(things["map"])["name"]
        harms = {
            TableSpoiling.DELETE_TABLE: f"delete table {table}",
            TableSpoiling.FLUSH_TABLE: f"flush table {table}",
            TableSpoiling.DORMANT_TABLE: f"add table {table} {{ flags dormant; }}",
            TableSpoiling.FLUSH_CHAIN: f"flush chain {table} {chain}",
            TableSpoiling.ADD_CHAIN: f"add chain {table} somebodys",
            TableSpoiling.DROP_POLICY: f"add chain {table} filter-forward {{ policy drop; }}",
            TableSpoiling.DELETE_RULE: f"delete rule {table} {rule['chain']} handle {rule['handle']}",
            TableSpoiling.ADD_RULE: f"add rule {table} {chain} meta mark 0xdead accept",
            TableSpoiling.FLUSH_MAP: f"flush map {table} {held}",
            TableSpoiling.ADD_SET: f"add set {table} somebodys {{ type mark; }}",
            TableSpoiling.ADD_ELEMENT: f"add element {table} unserved-nodeports {{ tcp . {self.which + 1} : drop }}",
        }
        return f"{harms[self.how]}\n"

    def _one_of(self, things: list[dict[str, Any]]) -> dict[str, Any]:
        return things[self.which % len(things)]
