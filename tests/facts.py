"""Short ways to write facts in tests: everything not named is the plainest that is valid."""

from typing import Any

from kproxy.model.endpoints import Backend
from kproxy.model.node import NodeView, view_node
from kproxy.model.plan import ServicePortPlan, plan_service
from kproxy.model.settings import Settings
from kproxy.state.objects import Endpoint, EndpointPort, EndpointSlice, Node, Service, ServicePort
from kproxy.values import Address, Family, NamespacedName, Network, Protocol, family_of

WEB = NamespacedName("default", "web")
NODE = "node-1"
CLUSTER_CIDRS = (Network("10.128.0.0/9"), Network("fd00:10:128::/48"))


def a_service(name: str = "web", **fields: Any) -> Service:
    fields.setdefault("ports", (ServicePort("", Protocol.TCP, 80),))
    fields.setdefault("cluster_ips", (Address("10.96.0.10"),))
    return Service(key=NamespacedName("default", name), **fields)


def an_endpoint(address: str, node: str = NODE, **fields: Any) -> Endpoint:
    return Endpoint(address=Address(address), node=node, **fields)


def a_slice(*endpoints: Endpoint, name: str = "web-a", service: str = "web", **fields: Any) -> EndpointSlice:
    fields.setdefault("ports", (EndpointPort("", Protocol.TCP, 8080),))
    fields.setdefault("family", family_of(endpoints[0].address) if endpoints else Family.IPV4)
    return EndpointSlice(
        key=NamespacedName("default", name),
        service=NamespacedName("default", service),
        endpoints=endpoints,
        **fields,
    )


def a_node(**fields: Any) -> Node:
    fields.setdefault("addresses", (Address("10.199.0.2"), Address("fd00:199::2")))
    fields.setdefault("pod_cidrs", (Network("10.128.1.0/24"), Network("fd00:10:128:1::/64")))
    fields.setdefault("zone", "zone-a")
    return Node(key=NamespacedName("", NODE), **fields)


def a_view(family: Family = Family.IPV4, node: Node | None = None, **settings: Any) -> NodeView:
    settings.setdefault("cluster_cidrs", CLUSTER_CIDRS)
    local = (Address("127.0.0.1"), Address("10.199.0.2"), Address("::1"), Address("fd00:199::2"))
    return view_node(NODE, node or a_node(), local, Settings(**settings), family)


def a_plan(
    service: Service | None = None, *endpoints: Endpoint, view: NodeView | None = None
) -> ServicePortPlan:
    """The plan of the Service's first port, over one slice of these endpoints."""
    return plan_service(service or a_service(), [a_slice(*endpoints)], view or a_view())[0]


def targets(backends: tuple[Backend, ...]) -> list[str]:
    return [backend.target for backend in backends]
