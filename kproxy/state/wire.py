"""Objects as they are on the wire, reduced to the used fields, before any rule is checked.

msgspec skips all other fields while it parses. Kubernetes may write null for an absent value, so lists and structs may
be None, and so may the text of a label, which then is empty. Items of lists may be None too: in YAML, a dash without a
value is null.
"""

from msgspec import Struct, field


class _Wire(Struct, rename="camel", gc=False):
    """A JSON object with Kubernetes' field names.

    It is never part of a cycle, so the garbage collector need not check it.
    """


class Metadata(_Wire):
    name: str = ""
    namespace: str | None = None
    resource_version: str | None = None
    labels: dict[str, str | None] | None = None
    deletion_timestamp: str | None = None


class ServicePort(_Wire):
    name: str | None = None
    protocol: str | None = None
    port: int = 0
    node_port: int | None = None


class ClientIP(_Wire):
    timeout_seconds: int | None = None


class SessionAffinityConfig(_Wire):
    client_ip: ClientIP | None = field(default=None, name="clientIP")


class ServiceSpec(_Wire):
    type: str | None = None
    cluster_ip: str | None = field(default=None, name="clusterIP")
    cluster_ips: list[str | None] | None = field(default=None, name="clusterIPs")
    ports: list[ServicePort | None] | None = None
    external_ips: list[str | None] | None = field(default=None, name="externalIPs")
    load_balancer_source_ranges: list[str | None] | None = None
    internal_traffic_policy: str | None = None
    external_traffic_policy: str | None = None
    session_affinity: str | None = None
    session_affinity_config: SessionAffinityConfig | None = None
    health_check_node_port: int | None = None
    publish_not_ready_addresses: bool | None = None
    selector: dict[str, str | None] | None = None


class Ingress(_Wire):
    ip: str | None = None
    ip_mode: str | None = None


class LoadBalancer(_Wire):
    ingress: list[Ingress | None] | None = None


class ServiceStatus(_Wire):
    load_balancer: LoadBalancer | None = None


class Service(_Wire):
    metadata: Metadata
    spec: ServiceSpec
    status: ServiceStatus | None = None


class Conditions(_Wire):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Named(_Wire):
    name: str | None = None


class Hints(_Wire):
    for_zones: list[Named | None] | None = None
    for_nodes: list[Named | None] | None = None


class Endpoint(_Wire):
    addresses: list[str | None] | None = None
    conditions: Conditions | None = None
    node_name: str | None = None
    hints: Hints | None = None


class EndpointPort(_Wire):
    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class SliceAnnotations(_Wire):
    last_change: str | None = field(default=None, name="endpoints.kubernetes.io/last-change-trigger-time")


class SliceMetadata(Metadata):
    annotations: SliceAnnotations | None = None


class EndpointSlice(_Wire):
    metadata: SliceMetadata
    address_type: str
    ports: list[EndpointPort | None] | None = None
    endpoints: list[Endpoint | None] | None = None


class EndpointAddress(_Wire):
    ip: str
    node_name: str | None = None


class Subset(_Wire):
    addresses: list[EndpointAddress] | None = None
    not_ready_addresses: list[EndpointAddress] | None = None
    ports: list[EndpointPort | None] | None = None


class Endpoints(_Wire):
    metadata: Metadata
    subsets: list[Subset] | None = None


class NodeAddress(_Wire):
    type: str | None = None
    address: str | None = None


class Taint(_Wire):
    key: str | None = None


class NodeSpec(_Wire):
    pod_cidr: str | None = field(default=None, name="podCIDR")
    pod_cidrs: list[str | None] | None = field(default=None, name="podCIDRs")
    taints: list[Taint | None] | None = None


class NodeStatus(_Wire):
    addresses: list[NodeAddress | None] | None = None


class ServiceCIDRSpec(_Wire):
    cidrs: list[str | None] | None = None


class ServiceCIDR(_Wire):
    metadata: Metadata
    spec: ServiceCIDRSpec | None = None


class Node(_Wire):
    metadata: Metadata
    spec: NodeSpec | None = None
    status: NodeStatus | None = None


class PodSpec(_Wire):
    node_name: str | None = None


class PodIP(_Wire):
    ip: str


class PodStatus(_Wire):
    pod_ip: str | None = field(default=None, name="podIP")
    pod_ips: list[PodIP] | None = field(default=None, name="podIPs")


class Pod(_Wire):
    metadata: Metadata
    spec: PodSpec | None = None
    status: PodStatus | None = None
