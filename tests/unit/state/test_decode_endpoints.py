"""Each rule of EndpointSlices, Endpoints, Nodes and Pods, from bytes to fact."""

from typing import Any

import msgspec
import pytest

from kproxy.errors import InvalidField, Irrelevant
from kproxy.state.decode import decode
from kproxy.state.objects import Endpoint, EndpointPort, Endpoints, EndpointSlice, Kind, Node, Pod
from kproxy.values import Address, Family, NamespacedName, Protocol

OWNER = {"kubernetes.io/service-name": "web"}
ADDRESS = {"addresses": ["10.128.1.5"]}


def decoded(kind: Kind, manifest: object, flaws: list[InvalidField] | None = None) -> Any:
    return decode(kind, msgspec.json.encode(manifest), flaws=flaws)


def decoded_slice(
    flaws: list[InvalidField] | None = None, /, labels: object = OWNER, **fields: object
) -> EndpointSlice:
    metadata = {"name": "web-a.1", "namespace": "default", "labels": labels}
    found = decoded(Kind.ENDPOINT_SLICE, {"metadata": metadata, "addressType": "IPv4", **fields}, flaws)
    assert isinstance(found, EndpointSlice)
    return found


def test_slice_belongs_to_the_service_of_its_label() -> None:
    expected = EndpointSlice(
        key=NamespacedName("default", "web-a.1"), service=NamespacedName("default", "web"), family=Family.IPV4
    )
    assert expected == decoded_slice(endpoints=None, ports=None)


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ({}, Endpoint(address=Address("10.128.1.5"))),
        ({"conditions": None, "hints": None, "targetRef": None}, Endpoint(address=Address("10.128.1.5"))),
        (
            {"conditions": {"ready": False, "serving": True, "terminating": True}},
            Endpoint(address=Address("10.128.1.5"), ready=False, serving=True, terminating=True),
        ),
        (
            {"conditions": {"ready": None, "serving": False}},
            Endpoint(address=Address("10.128.1.5"), serving=False),
        ),
        ({"addresses": ["10.128.1.5", "nonsense"]}, Endpoint(address=Address("10.128.1.5"))),
        ({"nodeName": "node-1.example"}, Endpoint(address=Address("10.128.1.5"), node="node-1.example")),
        (
            {"hints": {"forZones": [{"name": "zone_A"}], "forNodes": [{"name": "n1"}, {"name": "n2"}]}},
            Endpoint(address=Address("10.128.1.5"), zone_hints=("zone_A",), node_hints=("n1", "n2")),
        ),
        ({"targetRef": {"kind": "VM", "name": "Web 1"}}, Endpoint(address=Address("10.128.1.5"))),
    ],
)
def test_endpoint_of_a_slice_decodes_to_fact(endpoint: dict[str, object], expected: Endpoint) -> None:
    assert (expected,) == decoded_slice(endpoints=[{**ADDRESS, **endpoint}]).endpoints


def test_endpoint_without_addresses_is_left_out() -> None:
    endpoints = decoded_slice(endpoints=[{"addresses": []}, {"addresses": None}, ADDRESS]).endpoints
    assert ["10.128.1.5"] == [endpoint.address for endpoint in endpoints]


def test_slice_ports_without_name_or_number_are_left_out() -> None:
    ports = [{"name": "", "port": 80}, {"port": 81}, {"name": "a", "port": None}, {"name": "b", "port": 0}]
    ports.append({"name": "dns", "port": 53, "protocol": "UDP"})
    expected = (EndpointPort("", Protocol.TCP, 80), EndpointPort("dns", Protocol.UDP, 53))
    assert expected == decoded_slice(ports=ports).ports


@pytest.mark.parametrize(
    "label", ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"]
)
def test_slice_with_a_label_for_other_proxies_opts_out_whatever_its_value(label: str) -> None:
    assert label == decoded_slice(labels={**OWNER, label: ""}).opt_out_label


def test_slice_of_an_unknown_address_type_is_refused() -> None:
    with pytest.raises(InvalidField, match="addressType: 'IPX' is not one of IPv4, IPv6"):
        decoded_slice(addressType="IPX")


@pytest.mark.parametrize(
    ("fields", "field", "part_of_reason"),
    [
        ({"labels": None}, "metadata.labels", "kubernetes.io/service-name"),
        (
            {"labels": {"kubernetes.io/service-name": "a b"}},
            "metadata.labels[kubernetes.io/service-name]",
            "'a b'",
        ),
        ({"addressType": "FQDN"}, "addressType", "allowed are IPv4, IPv6"),
    ],
)
def test_slice_that_no_service_can_use_is_irrelevant(
    fields: dict[str, Any], field: str, part_of_reason: str
) -> None:
    with pytest.raises(Irrelevant) as passed_over:
        decoded_slice(**fields)
    assert field == passed_over.value.field
    assert part_of_reason in passed_over.value.reason


@pytest.mark.parametrize(
    ("fields", "endpoints", "ports", "field", "part_of_reason"),
    [
        (
            {"endpoints": [ADDRESS, {"addresses": ["fd00::1"]}]},
            ["10.128.1.5"],
            1,
            "endpoints[1].addresses[0]",
            "not an IPv4 address",
        ),
        (
            {"endpoints": [{"addresses": ["10.128.1.x"]}, ADDRESS]},
            ["10.128.1.5"],
            1,
            "endpoints[0].addresses[0]",
            "10.128.1.x",
        ),
        (
            {"ports": [{"name": "http", "port": 70000}, {"name": "", "port": 1}]},
            ["10.128.1.5"],
            1,
            "ports[0].port",
            "70000 is not a port",
        ),
        (
            {"ports": [{"name": "a b", "port": 1}]},
            ["10.128.1.5"],
            0,
            "ports[0].name",
            "'a b' is not a DNS label",
        ),
        (
            {"ports": [{"name": "a", "port": 1, "protocol": "ICMP"}]},
            ["10.128.1.5"],
            0,
            "ports[0].protocol",
            "'ICMP' is not one of TCP, UDP, SCTP",
        ),
    ],
)
def test_bad_part_of_a_slice_affects_only_itself(
    fields: dict[str, Any], endpoints: list[str], ports: int, field: str, part_of_reason: str
) -> None:
    flaws: list[InvalidField] = []
    found = decoded_slice(flaws, **{"endpoints": [ADDRESS], "ports": [{"name": "", "port": 80}]} | fields)
    assert endpoints == [endpoint.address for endpoint in found.endpoints]
    assert ports == len(found.ports)
    assert [field] == [flaw.field for flaw in flaws]
    assert part_of_reason in flaws[0].reason


def test_endpoint_keeps_impossible_hints_and_drops_an_impossible_node_name() -> None:
    hints = {"forZones": [{"name": "a b"}], "forNodes": [{"name": "-j"}]}
    flaws: list[InvalidField] = []
    (endpoint,) = decoded_slice(flaws, endpoints=[{**ADDRESS, "nodeName": "-j", "hints": hints}]).endpoints
    assert ("", ("a b",), ("-j",)) == (endpoint.node, endpoint.zone_hints, endpoint.node_hints)
    assert [] == flaws


def test_endpoint_address_with_leading_zeros_is_read_as_decimal() -> None:
    assert ["10.128.1.6"] == [
        endpoint.address
        for endpoint in decoded_slice(endpoints=[{"addresses": ["10.128.001.006"]}]).endpoints
    ]


def test_endpoints_become_one_slice_for_each_subset_and_family() -> None:
    subsets = [
        {
            "addresses": [{"ip": "10.128.1.5", "nodeName": "node-1"}, {"ip": "fd00::5"}],
            "notReadyAddresses": [{"ip": "10.128.1.6", "targetRef": {"kind": "Pod", "name": "web-1"}}],
            "ports": [{"port": 8080}],
        },
        {"addresses": [{"ip": "10.128.1.7"}], "ports": [{"name": "x", "port": 9090}]},
        {"addresses": None, "ports": None},
    ]
    found = decoded(Kind.ENDPOINTS, {"metadata": {"name": "web", "namespace": "default"}, "subsets": subsets})
    assert isinstance(found, Endpoints)
    assert [
        (Family.IPV4, ["10.128.1.5", "10.128.1.6"], (EndpointPort("", Protocol.TCP, 8080),)),
        (Family.IPV6, ["fd00::5"], (EndpointPort("", Protocol.TCP, 8080),)),
        (Family.IPV4, ["10.128.1.7"], (EndpointPort("x", Protocol.TCP, 9090),)),
    ] == [(one.family, [end.address for end in one.endpoints], one.ports) for one in found.slices]
    assert {found.key} == {one.service for one in found.slices}
    assert 3 == len({one.key for one in found.slices})
    not_ready = found.slices[0].endpoints[1]
    assert (False, False) == (not_ready.ready, not_ready.serving)


def test_endpoints_leave_out_an_invalid_address() -> None:
    manifest = {
        "metadata": {"name": "web", "namespace": "default"},
        "subsets": [{}, {"addresses": [{"ip": "x"}, {"ip": "10.128.1.5"}], "ports": [{"port": 80}]}],
    }
    flaws: list[InvalidField] = []
    found = decoded(Kind.ENDPOINTS, manifest, flaws)
    assert isinstance(found, Endpoints)
    assert ["10.128.1.5"] == [end.address for one in found.slices for end in one.endpoints]
    assert ["subsets[1].addresses[0].ip"] == [flaw.field for flaw in flaws]


def test_node_leaves_out_its_invalid_fields() -> None:
    manifest = {
        "metadata": {"name": "node-1", "labels": {"topology.kubernetes.io/zone": "zone a"}},
        "spec": {"podCIDRs": ["x", "10.128.1.0/24"]},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": "fe80::1%eth0"},
                {"type": "InternalIP", "address": "10.199.0.02"},
            ]
        },
    }
    flaws: list[InvalidField] = []
    node = decoded(Kind.NODE, manifest, flaws)
    assert isinstance(node, Node)
    assert (("10.199.0.2",), ("10.128.1.0/24",), "") == (node.addresses, node.pod_cidrs, node.zone)
    assert [
        "status.addresses[0].address",
        "spec.podCIDRs[0]",
        "metadata.labels[topology.kubernetes.io/zone]",
    ] == [flaw.field for flaw in flaws]


def test_nulls_and_addresses_without_a_type_affect_nothing_else_of_a_node() -> None:
    manifest = {
        "metadata": {"name": "node-1"},
        "spec": {"podCIDRs": [None, "10.128.1.0/24"], "taints": [None, {"key": None}, {"key": "a/b"}]},
        "status": {
            "addresses": [
                None,
                {"address": "10.199.0.1"},
                {"type": "InternalIP", "address": None},
                {"type": "InternalIP"},
                {"type": "InternalIP", "address": "10.199.0.2"},
            ]
        },
    }
    flaws: list[InvalidField] = []
    node = decoded(Kind.NODE, manifest, flaws)
    assert (("10.199.0.2",), ("10.128.1.0/24",), ("a/b",)) == (node.addresses, node.pod_cidrs, node.taints)
    assert [
        "status.addresses[0]",
        "status.addresses[2].address",
        "status.addresses[3].address",
        "spec.podCIDRs[0]",
    ] == [flaw.field for flaw in flaws]


def test_nulls_affect_nothing_else_of_a_slice_and_endpoints() -> None:
    flaws: list[InvalidField] = []
    hinted = {**ADDRESS, "hints": {"forZones": [None, {"name": None}, {"name": "zone-a"}]}}
    found = decoded_slice(
        flaws, ports=[None, {"name": "", "port": 80}], endpoints=[None, {"addresses": [None]}, hinted]
    )
    assert (EndpointPort("", Protocol.TCP, 80),) == found.ports
    assert [("10.128.1.5", ("zone-a",))] == [(each.address, each.zone_hints) for each in found.endpoints]
    assert {"ports[0]", "endpoints[0]", "endpoints[1].addresses[0]"} == {flaw.field for flaw in flaws}


def test_pod_and_service_cidr_leave_out_their_invalid_fields() -> None:
    pod = {
        "metadata": {"name": "web-1", "namespace": "default"},
        "spec": {"nodeName": "-"},
        "status": {"podIPs": [{"ip": "x"}, {"ip": "10.128.1.5"}]},
    }
    cidr = {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/12", "x"]}}
    flaws: list[InvalidField] = []
    assert ("10.128.1.5",) == decoded(Kind.POD, pod, flaws).addresses
    assert ("10.96.0.0/12",) == decoded(Kind.SERVICE_CIDR, cidr, flaws).networks
    assert {"status.podIPs[0].ip", "spec.nodeName", "spec.cidrs[1]"} == {flaw.field for flaw in flaws}


def test_node_decodes_with_internal_addresses_before_external_ones() -> None:
    manifest = {
        "metadata": {
            "name": "node-1.example",
            "labels": {"topology.kubernetes.io/zone": "zone-a"},
            "deletionTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {
            "podCIDRs": ["10.128.1.0/24", "FD00:10::/64"],
            "taints": [{"key": "a/b", "effect": "NoSchedule"}],
        },
        "status": {
            "addresses": [
                {"type": "Hostname", "address": "node-1"},
                {"type": "ExternalIP", "address": "192.0.2.1"},
                {"type": "InternalIP", "address": "10.0.0.1"},
                {"type": "InternalIP", "address": "FD00::1"},
            ]
        },
    }
    node = decoded(Kind.NODE, manifest)
    assert isinstance(node, Node)
    assert NamespacedName("", "node-1.example") == node.key
    assert ("10.0.0.1", "fd00::1", "192.0.2.1") == node.addresses
    assert ("10.128.1.0/24", "fd00:10::/64") == node.pod_cidrs
    assert ("zone-a", True, ("a/b",)) == (node.zone, node.being_deleted, node.taints)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (None, ()),
        ({"podCIDR": "10.1.0.0/16"}, ("10.1.0.0/16",)),
        ({"podCIDRs": None}, ()),
        ({"podCIDR": "10.1.0.0/16", "podCIDRs": []}, ("10.1.0.0/16",)),
    ],
)
def test_node_pod_cidrs_fall_back_to_the_single_field(spec: object, expected: tuple[str, ...]) -> None:
    assert expected == decoded(Kind.NODE, {"metadata": {"name": "n"}, "spec": spec}).pod_cidrs


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"podIPs": [{"ip": "10.1.0.1"}, {"ip": "fd00::1"}], "podIP": "10.1.0.1"}, ("10.1.0.1", "fd00::1")),
        ({"podIP": "10.1.0.1"}, ("10.1.0.1",)),
        ({"podIP": ""}, ()),
        (None, ()),
    ],
)
def test_pod_addresses_fall_back_to_the_single_field(status: object, expected: tuple[str, ...]) -> None:
    metadata = {"name": "web-1", "namespace": "default", "labels": {"b": "2", "a": "1"}}
    pod = decoded(Kind.POD, {"metadata": metadata, "spec": {"nodeName": "node-1"}, "status": status})
    assert isinstance(pod, Pod)
    assert expected == pod.addresses
    assert ("node-1", (("a", "1"), ("b", "2"))) == (pod.node, pod.labels)
