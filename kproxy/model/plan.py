"""The plan for one service port on this node: the decisions that a rule template prints.

Internal traffic is to the cluster IP. External traffic is to a node port, a load-balancer VIP or
an external IP. Each follows a policy: "Cluster" may use every backend, "Local" only those on this node.
A Local external policy has a short circuit: pods and processes of this node reach any backend,
as if they had gone out to the load balancer and come back in at another node.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import TypeVar

from msgspec import Struct

from kproxy.model.bounds import require_bounded
from kproxy.model.endpoints import Backend, backends_by_port
from kproxy.model.node import NodeView
from kproxy.model.topology import UsableBackends, usable_backends
from kproxy.state.objects import EndpointSlice, Service, ServicePort, ServiceType
from kproxy.values import Address, Family, Network, ServicePortName, contains, family_of


class Unserved(StrEnum):
    """The reason why traffic finds no backend, which decides whether it is refused or dropped.

    Traffic is refused at once if no node has a usable backend for the service port. It is dropped if only this node
    has none, so that a probe or a retry of the load balancer finds another node.
    """

    NO_ENDPOINTS = "has no endpoints"
    NO_LOCAL_ENDPOINTS = "has no local endpoints"

    @property
    def is_refused(self) -> bool:
        return self is Unserved.NO_ENDPOINTS


class Policies(Struct, frozen=True, gc=False):
    """The policies that some traffic to a service port follows."""

    cluster: bool
    local: bool


def policies_followed(*, internal_local: bool, external_local: bool, is_external: bool) -> Policies:
    """The policies of internal and external traffic together; `is_external` says whether there is external traffic.

    Under policy Local, external traffic uses both, because of the short circuit.
    """
    uses_cluster = is_external or not internal_local
    uses_local = internal_local or (is_external and external_local)
    return Policies(uses_cluster, uses_local)


class ServicePortPlan(Struct, frozen=True, kw_only=True):
    """The decisions for one service port of one family on this node.

    Addresses and source ranges are of the plan's family. `node_port` and `health_check_node_port`
    are 0 where there is none. `endpoint_count` counts all backends known, usable or not.
    """

    name: ServicePortName
    port: int
    cluster_ip: Address
    external_ips: tuple[Address, ...]
    load_balancer_vips: tuple[Address, ...]
    source_ranges: tuple[Network, ...]
    node_port: int
    health_check_node_port: int
    affinity_timeout_s: int | None
    internal_policy_local: bool
    external_policy_local: bool
    allow_node_to_vip: bool
    usable: UsableBackends
    endpoint_count: int

    @property
    def policies(self) -> Policies:
        return policies_followed(
            internal_local=self.internal_policy_local,
            external_local=self.external_policy_local,
            is_external=self.is_externally_accessible,
        )

    @property
    def has_backends(self) -> bool:
        """Whether any node has a usable backend."""
        return self.usable.exist_anywhere

    @property
    def is_externally_accessible(self) -> bool:
        return bool(self.node_port or self.load_balancer_vips or self.external_ips)

    @property
    def internal_unserved(self) -> Unserved | None:
        return self._unserved(is_local=self.internal_policy_local)

    @property
    def external_unserved(self) -> Unserved | None:
        return self._unserved(is_local=self.external_policy_local)

    @property
    def is_restricted(self) -> bool:
        """Whether source ranges guard the load-balancer VIPs."""
        return bool(self.load_balancer_vips and self.source_ranges)

    @property
    def is_firewalled(self) -> bool:
        """Whether source ranges guard them in iptables mode, which refuses every client while there are no backends."""
        return self.has_backends and self.is_restricted

    def _unserved(self, *, is_local: bool) -> Unserved | None:
        if not self.has_backends:
            return Unserved.NO_ENDPOINTS
        return Unserved.NO_LOCAL_ENDPOINTS if is_local and not self.usable.local else None


Plans = tuple[ServicePortPlan, ...]
"""The plans of one Service, in one family."""


def plan_service(
    service: Service, slices: Iterable[EndpointSlice], node: NodeView
) -> tuple[ServicePortPlan, ...]:
    """A plan for each port of the Service in the node view's family; empty if it is not proxied.

    InvalidField for a Service that asks for too many rules.
    """
    cluster_ips = _in_family(service.cluster_ips, node.family)
    if not cluster_ips or not is_proxied(service):
        return ()
    slices = tuple(slices)
    require_bounded(service, slices, node.family)
    backends = backends_by_port(service.key, slices, node.name, node.family)
    plans = []
    for port in service.ports:
        name = ServicePortName(service.key, port.name, port.protocol)
        plans.append(_plan_port(service, port, name, cluster_ips[0], backends.get(name, ()), node))
    return tuple(plans)


def is_proxied(service: Service) -> bool:
    """Whether the Service asks for a proxy, and for this one."""
    return (
        bool(service.cluster_ips)
        and service.type is not ServiceType.EXTERNAL_NAME
        and not service.opt_out_label
    )


def _plan_port(
    service: Service,
    port: ServicePort,
    name: ServicePortName,
    cluster_ip: Address,
    backends: tuple[Backend, ...],
    node: NodeView,
) -> ServicePortPlan:
    vips = _in_family(service.load_balancer_vips, node.family)
    external_ips = _in_family(service.external_ips, node.family) if node.serves_external_ips else ()
    ranges = _restricting(_in_family(service.source_ranges, node.family))
    policies = policies_followed(
        internal_local=service.internal_policy_local,
        external_local=service.external_policy_local,
        is_external=bool(port.node_port or vips or external_ips),
    )
    usable = usable_backends(
        backends,
        uses_cluster=policies.cluster,
        uses_local=policies.local,
        node=node.name,
        zone=node.zone,
    )
    return ServicePortPlan(
        name=name,
        port=port.port,
        cluster_ip=cluster_ip,
        external_ips=external_ips,
        load_balancer_vips=vips,
        source_ranges=ranges,
        node_port=port.node_port,
        health_check_node_port=service.health_check_node_port,
        affinity_timeout_s=service.affinity_timeout_s,
        internal_policy_local=service.internal_policy_local,
        external_policy_local=service.external_policy_local,
        allow_node_to_vip=node.address is not None and any(contains(net, node.address) for net in ranges),
        usable=usable,
        endpoint_count=len(backends),
    )


_Text = TypeVar("_Text", Address, Network)


def _in_family(values: tuple[_Text, ...], family: Family) -> tuple[_Text, ...]:
    return tuple([value for value in values if family_of(value) is family]) if values else ()


def _restricting(ranges: tuple[Network, ...]) -> tuple[Network, ...]:
    """The ranges, or none where one of them is the whole address space and so restricts nothing."""
    return () if ranges and any(network.endswith("/0") for network in ranges) else ranges
