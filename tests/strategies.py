"""Strategies for whole clusters: small, odd where rules are decided, and plain when they shrink."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from scenarios import NODE, Scenario

_FAMILIES = ("IPv4", "IPv6")
_CLUSTER_IPS = {"IPv4": "10.96.0.{}", "IPv6": "fd00:10:96::{}"}
_PODS_HERE = {"IPv4": "10.128.1.{}", "IPv6": "fd00:10:128:1::{}"}
_PODS_ELSEWHERE = {"IPv4": "10.128.2.{}", "IPv6": "fd00:10:128:2::{}"}
_HOST_NETWORK = {"IPv4": "10.199.0.2", "IPv6": "fd00:199::2"}
_EXTERNAL_IPS = {"IPv4": "192.0.2.{}", "IPv6": "2001:db8:2::{}"}
_VIPS = {"IPv4": "198.18.0.{}", "IPv6": "2001:db8:18::{}"}
SERVICE_CIDR = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "ServiceCIDR",
    "metadata": {"name": "kubernetes"},
    "spec": {"cidrs": ["10.96.0.0/16", "fd00:10:96::/112"]},
}
_RANGES = {
    "IPv4": ("198.51.100.0/24", "203.0.113.200/32", "10.0.0.0/8", "10.199.0.0/24", "0.0.0.0/0"),
    "IPv6": ("2001:db8:51::/48", "2001:db8:113::200/128", "fd00:10::/32", "fd00:199::/64", "::/0"),
}
_TARGET_PORTS = (8080, 9090)
_MOSTLY = (True, True, True, False)
_READY, _UNSAID = {"ready": True}, dict[str, bool]()
_NOT_READY = {"ready": False, "serving": True, "terminating": False}
_LEAVING = {"ready": False, "serving": True, "terminating": True}
_GONE = {"ready": False, "serving": False, "terminating": True}


@dataclass(frozen=True)
class Theme:
    """The choices for the Services of a scenario; a value that is named twice comes twice as often."""

    types: Sequence[str] = ("ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer")
    internal_policies: Sequence[str] = ("Cluster", "Cluster", "Local")
    external_policies: Sequence[str] = ("Cluster", "Local")
    affinities: Sequence[bool] = (False, True)
    least_ranges: int = 0
    conditions: Sequence[dict[str, bool]] = (_READY, _READY, _READY, _UNSAID, _LEAVING, _GONE, _NOT_READY)
    most_copies: int = 1
    zones: Sequence[tuple[str, ...]] = (*[("zone-a",)] * 3, ("zone-b",), ("zone-a", "zone-b"), ())


ANYTHING = Theme()
THEMES = {
    "anything": ANYTHING,
    "cluster IPs": Theme(types=("ClusterIP",)),
    "node ports": Theme(types=("NodePort",)),
    "load balancers": Theme(types=("LoadBalancer",)),
    "source ranges": Theme(types=("LoadBalancer",), least_ranges=1),
    "local policies": Theme(internal_policies=("Local",), external_policies=("Local",)),
    "terminating endpoints": Theme(conditions=(_READY, _LEAVING, _LEAVING, _GONE)),
    "topology hints": Theme(conditions=(_READY,), zones=(("zone-a",), ("zone-b",), ("zone-a", "zone-b"))),
    "copies of endpoints": Theme(conditions=(_READY, _LEAVING, _GONE, _NOT_READY), most_copies=3),
    "session affinity": Theme(affinities=(True,)),
}


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    chosen = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "hostnameOverride": NODE,
        "detectLocalMode": draw(
            st.sampled_from(["ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"])
        ),
        "detectLocal": {"bridgeInterface": "cni0", "interfaceNamePrefix": "cn"},
        "clusterCIDR": draw(
            st.sampled_from(
                ["10.128.0.0/16,fd00:10:128::/48", "10.128.0.0/16", "fd00:10:128::/48", "10.128.0.0/9", ""]
            )
        ),
        "iptables": {
            "masqueradeAll": draw(st.booleans()),
            "masqueradeBit": draw(st.sampled_from([14, 0, 31])),
            "localhostNodePorts": draw(st.sampled_from(_MOSTLY)),
        },
        "featureGates": draw(st.sampled_from([*[{}] * 5, {"AllowServiceExternalIPs": False}])),
        "nodePortAddresses": draw(
            st.sampled_from(
                [
                    [],
                    ["primary"],
                    ["primary", "localhost"],
                    ["primary", "192.0.2.0/24"],
                    ["all"],
                    ["10.199.0.0/24"],
                    ["127.0.0.0/8", "fd00:199::/64"],
                    ["0.0.0.0/0", "::/0"],
                    ["192.0.2.0/24", "::1/128"],
                ]
            )
        ),
    }
    return {field: value for field, value in chosen.items() if value != ""}


@st.composite
def services(draw: st.DrawFn, number: int, theme: Theme = ANYTHING) -> dict[str, Any]:
    """Service number `number`; addresses and node ports are its own but for an external IP it may share."""
    families = draw(st.sampled_from([["IPv4"], ["IPv6"], ["IPv4", "IPv6"], ["IPv6", "IPv4"]]))
    kind = draw(st.sampled_from(theme.types))
    spec: dict[str, Any] = {
        "type": kind,
        "clusterIPs": [_CLUSTER_IPS[family].format(10 + number) for family in families],
        "ports": draw(_ports(number, has_node_ports=kind != "ClusterIP")),
        "internalTrafficPolicy": draw(st.sampled_from(theme.internal_policies)),
        "externalTrafficPolicy": draw(st.sampled_from(theme.external_policies)),
        "externalIPs": draw(_addresses(_EXTERNAL_IPS, families, (number, 99))),
    }
    if draw(st.sampled_from(theme.affinities)):
        spec["sessionAffinity"] = "ClientIP"
        spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": 10800}}
    status: dict[str, Any] = {}
    if kind == "LoadBalancer":
        spec["loadBalancerSourceRanges"] = [
            each
            for family in families
            for each in draw(
                st.lists(st.sampled_from(_RANGES[family]), min_size=theme.least_ranges, max_size=2)
            )
        ]
        vips = draw(_addresses(_VIPS, families, (number,)))
        mode = draw(st.sampled_from(["VIP", "VIP", "Proxy"]))
        status = {"loadBalancer": {"ingress": [{"ip": each, "ipMode": mode} for each in vips]}}
    labels = draw(
        st.sampled_from(
            [
                *[{}] * 8,
                {"service.kubernetes.io/service-proxy-name": "other"},
                {"service.kubernetes.io/headless": ""},
            ]
        )
    )
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "default", "name": f"service-{number}", "labels": labels},
        "spec": spec,
        "status": status,
    }


@st.composite
def _ports(draw: st.DrawFn, number: int, *, has_node_ports: bool) -> list[dict[str, Any]]:
    protocols = draw(st.lists(st.sampled_from(["TCP", "UDP", "SCTP"]), min_size=1, max_size=2))
    return [
        {
            "name": f"port-{at}",
            "protocol": protocol,
            "port": 80 + 10 * at,
            **({"nodePort": 30000 + 10 * number + 2 * at} if has_node_ports else {}),
        }
        for at, protocol in enumerate(protocols)
    ]


def _addresses(
    forms: dict[str, str], families: Sequence[str], numbers: Sequence[int]
) -> st.SearchStrategy[list[str]]:
    possible = [forms[family].format(number) for family in families for number in numbers]
    return st.lists(st.sampled_from(possible), unique=True, max_size=3)


@st.composite
def slices(draw: st.DrawFn, service: dict[str, Any], number: int, theme: Theme = ANYTHING) -> dict[str, Any]:
    family = draw(st.sampled_from(_FAMILIES))
    name = service["metadata"]["name"]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": "default",
            "name": f"{name}-{number}",
            "labels": {
                "kubernetes.io/service-name": name,
                **draw(st.sampled_from([*[{}] * 8, {"service.kubernetes.io/headless": ""}])),
            },
        },
        "addressType": family,
        "ports": [
            {"name": each["name"], "protocol": each["protocol"], "port": draw(st.sampled_from(_TARGET_PORTS))}
            for each in service["spec"]["ports"]
            if draw(st.sampled_from(_MOSTLY))
        ],
        "endpoints": draw(_with_copies(draw(st.lists(_endpoints(family, theme), max_size=4)), theme)),
    }


@st.composite
def _with_copies(draw: st.DrawFn, endpoints: list[dict[str, Any]], theme: Theme) -> list[dict[str, Any]]:
    """Some addresses a second time, in any place of the list, on any node, in any condition."""
    copied = draw(st.lists(st.sampled_from(endpoints), max_size=theme.most_copies)) if endpoints else []
    copies = [
        {
            **each,
            "conditions": draw(st.sampled_from(theme.conditions)),
            "nodeName": draw(st.sampled_from([NODE, "node-2"])),
        }
        for each in copied
    ]
    return draw(st.permutations([*endpoints, *copies])) if copies else endpoints


@st.composite
def _endpoints(draw: st.DrawFn, family: str, theme: Theme) -> dict[str, Any]:
    is_here = draw(st.booleans())
    pods = _PODS_HERE if is_here else _PODS_ELSEWHERE
    possible = [pods[family].format(number) for number in range(1, 5)]
    endpoint: dict[str, Any] = {
        "addresses": [draw(st.sampled_from([*possible, _HOST_NETWORK[family]] if is_here else possible))],
        "conditions": draw(st.sampled_from(theme.conditions)),
        "nodeName": NODE if is_here else "node-2",
    }
    if zones := draw(st.sampled_from(theme.zones)):
        endpoint["hints"] = {"forZones": [{"name": zone} for zone in zones]}
        if nodes := draw(st.sampled_from([(), (NODE,), ("node-2",)])):
            endpoint["hints"]["forNodes"] = [{"name": each} for each in nodes]
    return endpoint


@st.composite
def nodes(draw: st.DrawFn) -> list[dict[str, Any]]:
    if not draw(st.sampled_from(_MOSTLY)):
        return []
    zone = draw(st.sampled_from(["zone-a", "zone-b", ""]))
    return [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": NODE, "labels": {"topology.kubernetes.io/zone": zone} if zone else {}},
            "spec": {"podCIDRs": ["10.128.1.0/24", "fd00:10:128:1::/64"]},
            "status": {
                "addresses": [
                    {"type": "InternalIP", "address": each}
                    for each in draw(st.permutations(["10.199.0.2", "fd00:199::2"]))
                ]
            },
        }
    ]


@st.composite
def scenarios(draw: st.DrawFn, theme: Theme = ANYTHING) -> Scenario:
    objects = [*draw(nodes()), *draw(st.sampled_from(([], [SERVICE_CIDR])))]
    for number in range(draw(st.integers(1, 4))):
        service = draw(services(number, theme))
        objects.append(service)
        objects += [draw(slices(service, at, theme)) for at in range(draw(st.integers(0, 3)))]
    return Scenario(tuple(objects), draw(configurations()))
