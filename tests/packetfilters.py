"""The packet filters of the kernel, for tests that ask each of them the same."""

from typing import Protocol

from kproxy import process
from kproxy.kernel.programs.iptables import Variant
from kproxy.model.packet import Fates, Packet
from kproxy.ruleset.iptables.chains import parse_chains
from kproxy.ruleset.layout import Layout
from kproxy.trace.iptables.dump import parse_tables
from kproxy.trace.iptables.walk import Walker
from kproxy.trace.nftables.dump import parse_table
from kproxy.trace.nftables.walk import NftWalker
from kproxy.values import Family
from namespaces import inside
from scenarios import Scenario
from wire import Wire


class Tracer(Protocol):
    """Tells from the text of the rules how packets fare."""

    def fates(self, packet: Packet, /) -> Fates: ...


class PacketFilter(Protocol):
    """`scenarios` is how many a search tries at a time, until it has compared at least `packets`."""

    name: str
    scenarios: int
    packets: int

    def adapted(self, scenario: Scenario) -> Scenario:
        """The scenario in this packet filter's mode."""

    def load(self, wire: Wire, scenario: Scenario, family: Family, layout: Layout, /) -> Tracer:
        """Put the scenario's rules into a clean node; a tracer of what the kernel then shows."""


class ByIptables:
    scenarios = 25
    packets = 10_000

    def __init__(self, variant: Variant) -> None:
        self.name = f"iptables-{variant}"
        self._variant = variant

    def adapted(self, scenario: Scenario) -> Scenario:
        return scenario

    def load(self, wire: Wire, scenario: Scenario, family: Family, layout: Layout) -> Walker:
        rules = scenario.rules(wire.host, family, layout)
        dump = self.restore(wire, family, rules)
        assert parse_chains(rules).items() <= parse_chains(dump).items()
        return Walker(parse_tables(dump), wire.host)

    def restore(self, wire: Wire, family: Family, rules: str) -> str:
        """As on a clean node, whatever was there is gone; the rules as the kernel then shows them."""
        program = "iptables" if family is Family.IPV4 else "ip6tables"
        with inside(wire.namespace):
            process.run([f"{program}-{self._variant}-restore"], stdin=rules)
            return process.run([f"{program}-{self._variant}-save"])


class ByNftables:
    name = "nftables"
    scenarios = 8
    packets = 1_000

    def adapted(self, scenario: Scenario) -> Scenario:
        return scenario.in_nftables_mode()

    def load(self, wire: Wire, scenario: Scenario, family: Family, _layout: Layout) -> NftWalker:
        ip = "ip" if family is Family.IPV4 else "ip6"
        with inside(wire.namespace):
            process.run(["nft", "-f", "-"], stdin=f"flush ruleset\n{scenario.table(wire.host, family)}")
            listed = process.run(["nft", "-j", "list", "table", ip, "kproxy"])
        return NftWalker(parse_table(listed), wire.host)
