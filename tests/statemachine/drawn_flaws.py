"""Which flaws Hypothesis draws for each kind of object."""

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from statemachine.flaws import Boundless, Deep, Extra, Flaw, NotOurs, Padded, Place, Unusable, Void

_ANY_KIND: SearchStrategy[Flaw] = st.one_of(
    st.builds(Deep, levels=st.sampled_from([1_000, 5_000, 2_000, 70])), st.builds(Padded)
)
_LABELS: Place = ("metadata", "labels")
_DEPTHS = st.sampled_from([0, 0, 100, 3_000])


def _unusable(*fields: tuple[Place, object]) -> SearchStrategy[Flaw]:
    return st.builds(
        # the API server itself looks at labels, to select by them
        lambda field, depth: Unusable(at=field[0], value=field[1], depth=0 if field[0] == _LABELS else depth),
        st.sampled_from(fields),
        _DEPTHS,
    )


def _extra(at: Place, *items: object) -> SearchStrategy[Flaw]:
    return st.builds(Extra, at=st.just(at), item=st.sampled_from(items), first=st.booleans())


def _void(*fields: tuple[Place, object]) -> SearchStrategy[Flaw]:
    return st.sampled_from([Void(at=at, value=value) for at, value in fields])


_PORT: Place = ("spec", "ports", 0)
_ENDPOINT: Place = ("endpoints", 0)
BAD_ADDRESSES = (
    "192.0.2.300",
    "192.0.2",
    "",
    "fe80::1%eth0",
    "2001:db8::10::1",
    "203.0.113.10/32",
    "example.com",
    "203.0.113.10 -j ACCEPT",
    "203.0.113.10\n-A INPUT -j ACCEPT",
    "٢.0.0.1",
)

OF_SERVICES: SearchStrategy[Flaw] = st.one_of(
    _unusable(
        (("spec",), "text"),
        (("spec", "ports"), {"port": 80}),
        (_PORT, "80/TCP"),
        ((*_PORT, "port"), "80"),
        ((*_PORT, "port"), 80.5),
        ((*_PORT, "port"), 1 << 70),
        ((*_PORT, "port"), 70_000),
        ((*_PORT, "nodePort"), "30080"),
        ((*_PORT, "protocol"), 6),
        ((*_PORT, "protocol"), "ICMP"),
        (("spec", "clusterIPs"), "10.96.0.10"),
        (("spec", "clusterIPs", 0), 5),
        (("spec", "clusterIPs"), ["10.96.0.300"]),
        (("spec", "externalIPs"), {"ip": "203.0.113.10"}),
        (("spec", "externalIPs", 0), {"ip": "203.0.113.10"}),
        (("spec", "type"), 3),
        (("spec", "sessionAffinity"), True),
        (("spec", "internalTrafficPolicy"), {"a": 1}),
        (("spec", "publishNotReadyAddresses"), "yes"),
        (("spec", "selector"), "app=web"),
        (("spec", "loadBalancerSourceRanges"), 10),
        (("status",), 5),
        (("status", "loadBalancer"), "text"),
        (("status", "loadBalancer", "ingress", 0), 5),
        (_LABELS, ["app"]),
    ),
    _extra(("spec", "externalIPs"), *BAD_ADDRESSES),
    _extra(("spec", "clusterIPs"), *BAD_ADDRESSES[:2]),
    _extra(("spec", "loadBalancerSourceRanges"), "10.0.0.0/33", "anywhere", "", "fe80::/999"),
    _extra(
        ("status", "loadBalancer", "ingress"),
        *({"ip": address} for address in BAD_ADDRESSES),
        {"ip": "192.0.2.99", "ipMode": "Odd"},
        {"hostname": "lb.example.com"},
    ),
    _extra(
        ("spec", "ports"),
        {"name": "other", "port": 70_000},
        {"name": "other", "port": 0},
        {"name": "other", "port": -1},
        {"name": "Bad Name", "port": 81},
        {"name": "other", "port": 82, "protocol": "ICMP"},
    ),
    _void(
        ((*_PORT, "nodePort"), 70_000),
        ((*_PORT, "nodePort"), -1),
        (("spec", "sessionAffinity"), "Sometimes"),
        (("spec", "internalTrafficPolicy"), "Elsewhere"),
        (("spec", "externalTrafficPolicy"), "Elsewhere"),
        (("spec", "healthCheckNodePort"), 70_000),
    ),
    _ANY_KIND,
)

OF_SLICES: SearchStrategy[Flaw] = st.one_of(
    _unusable(
        (("addressType",), 4),
        (("addressType",), "IPv5"),
        (("endpoints",), {"addresses": []}),
        (_ENDPOINT, "10.128.1.10"),
        ((*_ENDPOINT, "addresses"), "10.128.1.10"),
        ((*_ENDPOINT, "addresses", 0), 7),
        ((*_ENDPOINT, "conditions"), ["ready"]),
        ((*_ENDPOINT, "conditions", "ready"), "true"),
        ((*_ENDPOINT, "hints"), "zone-a"),
        ((*_ENDPOINT, "hints", "forZones"), [1]),
        ((*_ENDPOINT, "nodeName"), 1),
        (("ports",), "8080"),
        (("ports", 0, "port"), "8080"),
        (("ports", 0, "name"), 8080),
        (_LABELS, ["kubernetes.io/service-name"]),
    ),
    _extra(("endpoints",), *({"addresses": [address]} for address in BAD_ADDRESSES), {"addresses": []}, {}),
    _extra(
        ("ports",),
        {"name": "http", "port": 70_000},
        {"name": "a b", "port": 80},
        {"name": "other", "port": 80, "protocol": "ICMP"},
        {"port": 8081},
        {"name": "all"},
    ),
    _void(
        (("ports", 0, "port"), 70_000),
        (("ports", 1, "port"), -1),
        ((*_ENDPOINT, "addresses"), ["10.128.1.300"]),
        ((*_ENDPOINT, "nodeName"), "Node One!"),
    ),
    st.sampled_from(
        [
            NotOurs(at=("addressType",), value="FQDN"),
            NotOurs(at=_LABELS, value={}),
            NotOurs(at=_LABELS, value=None),
            NotOurs(at=(*_LABELS, "kubernetes.io/service-name"), value="no name!"),
        ]
    ),
    _ANY_KIND,
)

OF_NODES: SearchStrategy[Flaw] = st.one_of(
    _unusable(
        (("spec",), "text"),
        (("spec", "podCIDRs"), "10.128.1.0/24"),
        (("spec", "podCIDRs", 0), 4),
        (("spec", "taints"), "text"),
        (("status", "addresses"), {"address": "10.199.0.2"}),
        (("status", "addresses", 0), "10.199.0.2"),
        (("status", "addresses", 0), {"type": "InternalIP", "address": 3}),
        (_LABELS, "text"),
    ),
    _extra(("spec", "podCIDRs"), "10.128.1.0/40", "pods", "", "10.128.1.0"),
    _extra(
        ("status", "addresses"),
        *({"type": kind, "address": each} for kind in ("InternalIP", "ExternalIP") for each in BAD_ADDRESSES),
        {"type": "Hostname", "address": "node-1"},
    ),
    _void(((*_LABELS, "topology.kubernetes.io/zone"), "zone a!")),
    _ANY_KIND,
)

OF_SERVICE_CIDRS: SearchStrategy[Flaw] = st.one_of(
    _unusable((("spec",), 1), (("spec", "cidrs"), "10.96.0.0/16"), (("spec", "cidrs", 0), 10)),
    _extra(("spec", "cidrs"), "10.96.0.0/40", "services", "10.96.0.10", "::ffff:10.96.0.0/112"),
    _ANY_KIND,
)

BOUNDLESS = st.builds(Boundless)
