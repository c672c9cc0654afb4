"""A small cluster: Services that come, change and go, and the table of nftables mode that is desired for them."""

from facts import CLUSTER_CIDRS, a_service, a_slice, a_view, an_endpoint
from kproxy.model.settings import Settings
from kproxy.ruleset.inputs import Circumstances
from kproxy.ruleset.nftables.desired import DesiredTable
from kproxy.state.events import Changed, Deleted
from kproxy.state.objects import Kind, ServicePort, ServiceType
from kproxy.state.store import Store
from kproxy.transaction.nftables.change import change
from kproxy.transaction.nftables.run import Run
from kproxy.transaction.nftables.table_delta import TableDelta
from kproxy.transaction.nftables.whole import install
from kproxy.values import Address, Family, NamespacedName, Network, Protocol
from scenarios import RENDER


class Services:
    """Services that come, change and go, in the state of one node."""

    def __init__(self, family: Family = Family.IPV4) -> None:
        self.family = family
        self.store = Store()
        self.node_port_primary = True

    @property
    def circumstances(self) -> Circumstances:
        view = a_view(self.family, node_port_primary=self.node_port_primary)
        return Circumstances(view, Settings(cluster_cidrs=CLUSTER_CIDRS, is_nftables=True))

    def serve(self, name: str, number: int, endpoints: int) -> None:
        """A Service at 10.96.0.`number`; `sticky` has session affinity, and `guarded` a load balancer."""
        fields: dict[str, object] = {}
        if name == "sticky":
            fields = {"affinity_timeout_s": 3600}
        if name == "guarded":
            fields = {
                "type": ServiceType.LOAD_BALANCER,
                "source_ranges": (Network("192.0.2.0/24"),),
                "load_balancer_vips": (Address("203.0.113.9"),),
                "ports": (ServicePort("", Protocol.TCP, 80, 30080),),
                "external_policy_local": True,
            }
        self.store.apply(Changed(a_service(name, cluster_ips=(Address(f"10.96.0.{number}"),), **fields)))
        self.endpoints(name, *(f"10.128.{1 + each % 2}.{each}" for each in range(endpoints)))

    def endpoints(self, name: str, *addresses: str) -> None:
        """Endpoints in 10.128.1.0/24 are on this node."""
        held = [an_endpoint(each, f"node-{each.split('.')[2]}") for each in addresses]
        self.store.apply(Changed(a_slice(*held, name=f"{name}-a", service=name)))

    def remove(self, name: str) -> None:
        self.store.apply(Deleted(Kind.SERVICE, NamespacedName("default", name)))


class Cluster(Services):
    """Services, and the table that is desired for them."""

    def __init__(self, family: Family = Family.IPV4) -> None:
        super().__init__(family)
        self.delta = TableDelta()
        self.table = DesiredTable(RENDER, self.circumstances, self.delta.desired)

    def endpoints(self, name: str, *addresses: str) -> None:
        super().endpoints(name, *addresses)
        self.update()

    def remove(self, name: str) -> None:
        super().remove(name)
        self.update()

    def update(self) -> None:
        self.table.update(self.store, self.store.take_dirty(), self.circumstances)

    def change(self) -> tuple[Run, ...]:
        runs = change(self.family, self.table.blocks, self.delta.difference()).runs
        self.delta.settle()
        return runs

    def whole(self) -> tuple[Run, ...]:
        self.delta.settle()
        return install(self.family, self.table.blocks, self.table.contents()).runs
