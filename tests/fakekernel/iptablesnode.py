"""A node in iptables mode whose kernel is in memory: Services, a proxy, and what the kernel should hold."""

from collections.abc import Iterable

from facts import CLUSTER_CIDRS, a_service, a_slice, a_view, an_endpoint
from fakekernel.iptables import FakeIptables, FakeKernel, FakeReads, saved
from kproxy.agent.iptables_proxy import IptablesProxy
from kproxy.agent.proxy import SyncReport
from kproxy.kernel.programs.iptables import Variant
from kproxy.model.settings import Settings
from kproxy.observed.iptables_chains import ObservedChains
from kproxy.observed.iptables_legacy import LegacyChains
from kproxy.observed.iptables_nft import NftChains
from kproxy.observed.record import Record
from kproxy.render.templates import rule_templates
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.inputs import Circumstances, Render
from kproxy.ruleset.iptables.desired import DesiredRuleset
from kproxy.ruleset.iptables.names import CLUSTER_POLICY, service_port_hash
from kproxy.ruleset.layout import FLAT
from kproxy.state.events import Changed, Deleted
from kproxy.state.objects import Kind, ServicePort
from kproxy.state.store import Store
from kproxy.values import Address, Family, NamespacedName, Protocol, ServicePortName

RENDER = rule_templates()


class FakeNode:
    """Services by name, each with an endpoint of its own, and a proxy that has not synced yet. Its owner closes it."""

    def __init__(self, variant: Variant, *, is_late: bool = False, render: Render = RENDER) -> None:
        self.kernel = FakeKernel(variant)
        self.iptables = FakeIptables(self.kernel, is_late=is_late)
        self.reads = FakeReads(self.kernel)
        self.record = Record(None)
        self.store = Store()
        self.settings = Settings(cluster_cidrs=CLUSTER_CIDRS)
        self.now_s = 0.0
        self._numbers: dict[str, int] = {}
        self.restart(render)

    def restart(self, render: Render = RENDER) -> None:
        """Another agent, with the same record."""
        chains = (
            LegacyChains(Family.IPV4, saved(self.kernel), lambda: [*self.kernel.chains])
            if self.kernel.variant is Variant.LEGACY
            else NftChains(Family.IPV4, self.record, self.reads)
        )
        self.proxy = IptablesProxy(self.iptables, chains, render, lambda: self.now_s, lambda: False)

    def close(self) -> None:
        self.record.close()

    def serve(self, *names: str, port: int = 80) -> None:
        for name in names:
            number = self._numbers.setdefault(name, len(self._numbers))
            ports = (ServicePort("", Protocol.TCP, port),)
            self.store.apply(
                Changed(a_service(name, cluster_ips=(Address(f"10.96.0.{number}"),), ports=ports))
            )
            self.endpoint(name, f"10.128.0.{number}")

    def endpoint(self, name: str, address: str) -> None:
        self.store.apply(Changed(a_slice(an_endpoint(address), name=f"{name}-a", service=name)))

    def delete(self, *names: str) -> None:
        for name in names:
            self.store.apply(Deleted(Kind.SERVICE, key(name)))

    def sync(self, *, verify: bool = False) -> SyncReport:
        """One sync, and the record of it if that can be made."""
        report = self.sync_unrecorded(verify=verify)
        self.proxy.record()
        return report

    def sync_unrecorded(self, *, verify: bool = False) -> SyncReport:
        return self.proxy.sync(self.store, self.store.take_dirty(), self.circumstances, verify=verify)

    @property
    def circumstances(self) -> Circumstances:
        return Circumstances(a_view(), self.settings, FLAT)

    def wanted(self, *, without: Iterable[str] = ()) -> dict[Chain, str]:
        """The chains that the state asks for, built-in ones too."""
        store = Store()
        for each in self.store.services.keys() - {key(name) for name in without}:
            store.apply(Changed(self.store.services[each]))
            for piece in self.store.slices_of(each):
                store.apply(Changed(piece))
        afresh = DesiredRuleset(RENDER)
        afresh.update(store, store.services.keys(), self.circumstances)
        return {**afresh.chains, **afresh.jumps}

    def held(self) -> dict[Chain, str]:
        """The chains that the kernel holds, but for built-in ones without a rule."""
        return {
            chain: "".join(f"{rule}\n" for rule in rules)
            for chain, rules in self.kernel.chains.items()
            if rules or not chain.is_built_in
        }

    @property
    def observed(self) -> ObservedChains:
        return self.proxy.observed


def key(name: str) -> NamespacedName:
    return NamespacedName("default", name)


def chain(name: str) -> Chain:
    """The chain that balances the traffic of a Service."""
    return Chain("nat", CLUSTER_POLICY + service_port_hash(ServicePortName(key(name), "", Protocol.TCP)))
