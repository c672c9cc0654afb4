"""The facts on which decisions are based: each Kubernetes kind, reduced to the fields that matter.

All facts have passed validation (`kproxy.state.decode`): names are DNS labels, ports are in range, addresses and
networks are canonical. This module decides nothing.
"""

from enum import StrEnum

from msgspec import Struct

from kproxy.values import Address, Family, NamespacedName, Network, Protocol


class Kind(StrEnum):
    SERVICE = "Service"
    ENDPOINT_SLICE = "EndpointSlice"
    ENDPOINTS = "Endpoints"
    NODE = "Node"
    POD = "Pod"
    SERVICE_CIDR = "ServiceCIDR"


class ServiceType(StrEnum):
    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"
    EXTERNAL_NAME = "ExternalName"


class ServicePort(Struct, frozen=True, gc=False):
    """`node_port` is 0 if the port has none."""

    name: str
    protocol: Protocol
    port: int
    node_port: int = 0


class Service(Struct, frozen=True, kw_only=True):
    """One Service.

    `cluster_ips` is empty for a headless Service; it has at most one address of each family, the primary first.
    `awaits_cluster_ip` is true if the object names no cluster IP and an API server would assign one.
    `load_balancer_vips` are the ingress addresses whose ipMode is VIP (the default). `affinity_timeout_s` is None
    without session affinity. `opt_out_label` is the label with which the Service asks for another proxy
    (service-proxy-name), or empty. The headless label on a Service with a cluster IP only hides its EndpointSlices.
    """

    key: NamespacedName
    resource_version: str = ""
    type: ServiceType = ServiceType.CLUSTER_IP
    cluster_ips: tuple[Address, ...] = ()
    awaits_cluster_ip: bool = False
    ports: tuple[ServicePort, ...] = ()
    external_ips: tuple[Address, ...] = ()
    load_balancer_vips: tuple[Address, ...] = ()
    source_ranges: tuple[Network, ...] = ()
    internal_policy_local: bool = False
    external_policy_local: bool = False
    affinity_timeout_s: int | None = None
    health_check_node_port: int = 0
    publish_not_ready: bool = False
    selector: tuple[tuple[str, str], ...] = ()
    opt_out_label: str = ""


class Endpoint(Struct, frozen=True, kw_only=True, gc=False):
    """One address behind a Service. `node` is empty if unknown; hints are empty if absent."""

    address: Address
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    node: str = ""
    zone_hints: tuple[str, ...] = ()
    node_hints: tuple[str, ...] = ()


class EndpointPort(Struct, frozen=True, gc=False):
    name: str
    protocol: Protocol
    port: int


class EndpointSlice(Struct, frozen=True, kw_only=True):
    """One EndpointSlice, or one subset of an old Endpoints object.

    Ports without a name or number are left out, as in kube-proxy. `opt_out_label` is the label with which the slice
    asks not to be used by this proxy (service-proxy-name or headless), or empty. `changed_at` is the time in the
    annotation about the last change of a pod or the Service; its text is not validated.
    """

    key: NamespacedName
    service: NamespacedName
    family: Family
    resource_version: str = ""
    ports: tuple[EndpointPort, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    opt_out_label: str = ""
    changed_at: str = ""


class Endpoints(Struct, frozen=True, kw_only=True):
    """An old Endpoints object, converted into slices; used only if its Service has no EndpointSlice."""

    key: NamespacedName
    resource_version: str = ""
    slices: tuple[EndpointSlice, ...] = ()


class Node(Struct, frozen=True, kw_only=True):
    """`addresses` has the InternalIPs, then the ExternalIPs, in the object's order."""

    key: NamespacedName
    resource_version: str = ""
    addresses: tuple[Address, ...] = ()
    pod_cidrs: tuple[Network, ...] = ()
    zone: str = ""
    being_deleted: bool = False
    taints: tuple[str, ...] = ()


class Pod(Struct, frozen=True, kw_only=True):
    key: NamespacedName
    resource_version: str = ""
    addresses: tuple[Address, ...] = ()
    node: str = ""
    labels: tuple[tuple[str, str], ...] = ()


class ServiceCIDR(Struct, frozen=True, kw_only=True):
    """Networks from which cluster IPs are taken. A cluster may have several of these objects."""

    key: NamespacedName
    resource_version: str = ""
    networks: tuple[Network, ...] = ()


Object = Service | EndpointSlice | Endpoints | Node | Pod | ServiceCIDR

KIND_OF: dict[type[Object], Kind] = {
    Service: Kind.SERVICE,
    EndpointSlice: Kind.ENDPOINT_SLICE,
    Endpoints: Kind.ENDPOINTS,
    Node: Kind.NODE,
    Pod: Kind.POD,
    ServiceCIDR: Kind.SERVICE_CIDR,
}
