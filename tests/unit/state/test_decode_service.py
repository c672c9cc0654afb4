"""Each rule of a Service, from bytes to fact."""

from typing import Any

import msgspec
import pytest

from kproxy.errors import InvalidField
from kproxy.state.decode import convert, decode, identify
from kproxy.state.objects import Kind, Service, ServicePort, ServiceType
from kproxy.values import Address, NamespacedName, Protocol

PORT = {"port": 80}


def a_manifest(status: object = None, labels: object = None, **spec: Any) -> dict[str, object]:
    metadata = {"name": "web", "namespace": "default", "resourceVersion": "7", "labels": labels}
    return {
        "metadata": metadata,
        "spec": {"clusterIP": "10.96.0.10", "ports": [PORT], **spec},
        "status": status,
    }


def decoded(flaws: list[InvalidField] | None = None, /, **fields: Any) -> Service:
    manifest = a_manifest(**fields)
    service = decode(Kind.SERVICE, msgspec.json.encode(manifest), flaws=flaws)
    assert service == convert(Kind.SERVICE, manifest)
    assert isinstance(service, Service)
    return service


def test_service_with_the_least_that_is_valid_decodes_to_defaults() -> None:
    expected = Service(
        key=NamespacedName("default", "web"),
        resource_version="7",
        cluster_ips=("10.96.0.10",),  # type: ignore[arg-type] # a literal
        ports=(ServicePort("", Protocol.TCP, 80),),
    )
    assert expected == decoded()


@pytest.mark.parametrize(
    ("spec", "field", "expected"),
    [
        ({"clusterIPs": ["10.96.0.10", "FD00::0A"]}, "cluster_ips", ("10.96.0.10", "fd00::a")),
        ({"clusterIPs": None, "clusterIP": "fd00::1"}, "cluster_ips", ("fd00::1",)),
        ({"clusterIP": "None"}, "cluster_ips", ()),
        ({"clusterIP": "", "clusterIPs": []}, "cluster_ips", ()),
        ({"clusterIPs": ["None"]}, "cluster_ips", ()),
        ({"type": "ExternalName", "clusterIP": None}, "type", ServiceType.EXTERNAL_NAME),
        ({"type": None}, "type", ServiceType.CLUSTER_IP),
        ({"ports": None}, "ports", ()),
        (
            {
                "ports": [
                    {"port": 53, "protocol": "UDP", "name": "dns"},
                    {"port": 53, "name": "dns-tcp", "nodePort": 30053},
                ]
            },
            "ports",
            (ServicePort("dns", Protocol.UDP, 53), ServicePort("dns-tcp", Protocol.TCP, 53, 30053)),
        ),
        ({"ports": [{"port": 1, "protocol": "SCTP"}]}, "ports", (ServicePort("", Protocol.SCTP, 1),)),
        ({"externalIPs": ["192.0.2.1", "2001:DB8::1"]}, "external_ips", ("192.0.2.1", "2001:db8::1")),
        ({"externalIPs": None}, "external_ips", ()),
        (
            {"loadBalancerSourceRanges": [" 192.0.2.7/24 ", "2001:db8::/32"]},
            "source_ranges",
            ("192.0.2.0/24", "2001:db8::/32"),
        ),
        ({"internalTrafficPolicy": "Local"}, "internal_policy_local", True),
        ({"internalTrafficPolicy": "Cluster"}, "internal_policy_local", False),
        ({"externalTrafficPolicy": "Local"}, "external_policy_local", False),
        ({"externalTrafficPolicy": "Local", "externalIPs": ["192.0.2.1"]}, "external_policy_local", True),
        ({"externalTrafficPolicy": "Local", "type": "NodePort"}, "external_policy_local", True),
        ({"externalTrafficPolicy": "Local", "type": "LoadBalancer"}, "external_policy_local", True),
        ({"externalTrafficPolicy": "Cluster", "type": "LoadBalancer"}, "external_policy_local", False),
        ({"sessionAffinity": "None"}, "affinity_timeout_s", None),
        ({"sessionAffinity": "ClientIP"}, "affinity_timeout_s", 10800),
        (
            {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": None}},
            "affinity_timeout_s",
            10800,
        ),
        (
            {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86400}}},
            "affinity_timeout_s",
            86400,
        ),
        ({"healthCheckNodePort": 31000}, "health_check_node_port", 0),
        ({"healthCheckNodePort": 31000, "type": "LoadBalancer"}, "health_check_node_port", 0),
        (
            {"healthCheckNodePort": 31000, "type": "LoadBalancer", "externalTrafficPolicy": "Local"},
            "health_check_node_port",
            31000,
        ),
        ({"publishNotReadyAddresses": True}, "publish_not_ready", True),
        ({"selector": {"b": "2", "a": "1"}}, "selector", (("a", "1"), ("b", "2"))),
        ({"selector": {"a": None}}, "selector", (("a", ""),)),
        ({"clusterIPs": []}, "cluster_ips", ("10.96.0.10",)),
    ],
)
def test_service_spec_with_valid_field_decodes_to_fact(
    spec: dict[str, Any], field: str, expected: object
) -> None:
    assert expected == getattr(decoded(**spec), field)


@pytest.mark.parametrize(
    ("ingress", "expected"),
    [
        ([{"ip": "192.0.2.1"}], ("192.0.2.1",)),
        ([{"ip": "192.0.2.1", "ipMode": "VIP"}, {"ip": "2001:db8::1"}], ("192.0.2.1", "2001:db8::1")),
        ([{"ip": "192.0.2.1", "ipMode": "Proxy"}, {"hostname": "lb.example"}], ()),
        (None, ()),
    ],
)
def test_ingress_addresses_are_vips_unless_in_proxy_mode(ingress: object, expected: object) -> None:
    assert expected == decoded(status={"loadBalancer": {"ingress": ingress}}).load_balancer_vips


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (None, ""),
        ({"app": "web"}, ""),
        ({"service.kubernetes.io/service-proxy-name": ""}, "service.kubernetes.io/service-proxy-name"),
        ({"service.kubernetes.io/headless": "true"}, ""),
    ],
)
def test_only_the_proxy_name_label_opts_a_service_out(labels: object, expected: str) -> None:
    assert expected == decoded(labels=labels).opt_out_label


@pytest.mark.parametrize(
    ("spec", "field", "part_of_reason"),
    [
        ({"clusterIP": "10.96.0.x"}, "spec.clusterIP", "10.96.0.x"),
        ({"clusterIPs": ["y", "x"]}, "spec.clusterIPs[0]", "'y' does not appear to be"),
        ({"ports": [{"port": 65536}]}, "spec.ports[0].port", "65536 is not a port"),
        (
            {"ports": [{"port": "80"}]},
            "spec.ports[0].port",
            "must be a whole number, and is text; write it without quotes",
        ),
        ({"ports": [{"name": "http"}]}, "spec.ports[0].port", "0 is not a port"),
        (
            {"ports": [{"port": 80, "protocol": "ICMP"}]},
            "spec.ports[0].protocol",
            "'ICMP' is not one of TCP, UDP, SCTP",
        ),
        ({"ports": [{"port": 80, "name": "Http"}]}, "spec.ports[0].name", "'Http' is not a DNS label"),
        (
            {"labels": {"a": 1}},
            "metadata.labels[...]",
            "must be text, and is a whole number; write it in quotes",
        ),
    ],
)
def test_service_without_a_usable_part_is_refused_with_its_path(
    spec: dict[str, Any], field: str, part_of_reason: str
) -> None:
    with pytest.raises(InvalidField) as refused:
        decoded(**spec)
    assert field == refused.value.field
    assert part_of_reason in refused.value.reason


GOOD = Service(
    key=NamespacedName("default", "web"),
    resource_version="7",
    cluster_ips=(Address("10.96.0.10"),),
    ports=(ServicePort("", Protocol.TCP, 80),),
)


@pytest.mark.parametrize(
    ("spec", "used", "field", "part_of_reason"),
    [
        (
            {"type": "Magic"},
            {},
            "spec.type",
            "'Magic' is not one of ClusterIP, NodePort, LoadBalancer, ExternalName",
        ),
        (
            {"clusterIPs": ["10.96.0.10", "10.0.0.2"]},
            {},
            "spec.clusterIPs[1]",
            "at most one address of each family",
        ),
        ({"clusterIPs": ["x", "10.96.0.10"]}, {}, "spec.clusterIPs[0]", "'x' does not appear to be"),
        (
            {"ports": [PORT, {"port": 0, "name": "b"}]},
            {},
            "spec.ports[1].port",
            "0 is not a port; allowed are 1 to 65535",
        ),
        ({"ports": [{"port": 80, "nodePort": -1}]}, {}, "spec.ports[0].nodePort", "-1 is not a port"),
        ({"ports": [PORT, {"port": 81}]}, {}, "spec.ports[1].name", "'' names an earlier TCP port too"),
        (
            {"ports": [PORT, {"port": 80, "name": "b"}]},
            {},
            "spec.ports[1].port",
            "80 is the number of an earlier TCP port",
        ),
        ({"externalIPs": ["fe80::1%eth0"]}, {}, "spec.externalIPs[0]", "zone"),
        (
            {"externalIPs": ["x", "192.0.2.1", "y"]},
            {"external_ips": ("192.0.2.1",)},
            "spec.externalIPs[0]",
            "IPv4 or IPv6",
        ),
        (
            {"loadBalancerSourceRanges": ["10.0.0.0", "10.0.0.0/8"]},
            {"source_ranges": ("10.0.0.0/8",)},
            "spec.loadBalancerSourceRanges[0]",
            "no prefix length",
        ),
        (
            {"internalTrafficPolicy": "local"},
            {},
            "spec.internalTrafficPolicy",
            "'local' is not one of Cluster, Local",
        ),
        (
            {"externalTrafficPolicy": "Near"},
            {},
            "spec.externalTrafficPolicy",
            "'Near' is not one of Cluster, Local",
        ),
        ({"sessionAffinity": "Cookie"}, {}, "spec.sessionAffinity", "'Cookie' is not one of None, ClientIP"),
        (
            {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}},
            {"affinity_timeout_s": 10800},
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            "allowed are 1 to 86400",
        ),
        ({"healthCheckNodePort": 70000}, {}, "spec.healthCheckNodePort", "70000 is not a port"),
        (
            {"status": {"loadBalancer": {"ingress": [{"ip": " 192.0.2.1"}, {"ip": "192.0.2.2"}]}}},
            {"load_balancer_vips": ("192.0.2.2",)},
            "status.loadBalancer.ingress[0].ip",
            "' 192.0.2.1'",
        ),
        (
            {"status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1", "ipMode": "Nat"}]}}},
            {},
            "status.loadBalancer.ingress[0].ipMode",
            "'Nat' is not one of VIP, Proxy",
        ),
    ],
)
def test_bad_field_affects_only_itself(
    spec: dict[str, Any], used: dict[str, Any], field: str, part_of_reason: str
) -> None:
    flaws: list[InvalidField] = []
    found = decoded(flaws, **spec)
    assert msgspec.structs.replace(GOOD, **used) == found
    assert field == flaws[0].field
    assert part_of_reason in flaws[0].reason


@pytest.mark.parametrize(
    ("spec", "used", "field"),
    [
        ({"clusterIPs": ["10.96.0.10", None]}, {}, "spec.clusterIPs[1]"),
        ({"ports": [None, PORT]}, {}, "spec.ports[0]"),
        ({"externalIPs": [None, "192.0.2.1"]}, {"external_ips": ("192.0.2.1",)}, "spec.externalIPs[0]"),
        (
            {"status": {"loadBalancer": {"ingress": [None, {"ip": "192.0.2.1"}]}}},
            {"load_balancer_vips": ("192.0.2.1",)},
            "status.loadBalancer.ingress[0]",
        ),
    ],
)
def test_null_in_a_list_affects_only_itself(spec: dict[str, Any], used: dict[str, Any], field: str) -> None:
    flaws: list[InvalidField] = []
    found = decoded(flaws, **spec)
    assert msgspec.structs.replace(GOOD, **used) == found
    assert [(field, "is null; write a value, or remove it from the list")] == [
        (f.field, f.reason) for f in flaws
    ]


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        (["x"], ("0.0.0.0/32", "::/128")),
        (["", None], ("0.0.0.0/32", "::/128")),
        (["::ffff:10.0.0.0/129"], ("0.0.0.0/32", "::/128")),
        (["10.0.0.0/33", "fd00::/8"], ("fd00::/8", "0.0.0.0/32")),
        (["fd00::/129", "10.0.0.0/8"], ("10.0.0.0/8", "::/128")),
        (["x", "10.0.0.0/8"], ("10.0.0.0/8",)),
    ],
)
def test_load_balancer_without_a_readable_source_range_is_closed(
    ranges: list[str | None], expected: tuple[str, ...]
) -> None:
    flaws: list[InvalidField] = []
    assert expected == decoded(flaws, loadBalancerSourceRanges=ranges).source_ranges
    for closed, nobody in (("IPv4", "0.0.0.0/32"), ("IPv6", "::/128")):
        told = f"; no {closed} range can be read, so no {closed} client is let in"
        assert (nobody in expected) == (told in flaws[0].reason)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.010", "192.0.2.10"),
        ("000192.0.2.000", "192.0.2.0"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:192.0.02.1", "192.0.2.1"),
        ("64:ff9b::192.0.2.033", "64:ff9b::c000:221"),
    ],
)
def test_address_from_before_strict_validation_is_read_as_by_kubernetes(text: str, expected: str) -> None:
    flaws: list[InvalidField] = []
    ingress = {"status": {"loadBalancer": {"ingress": [{"ip": text}]}}}
    service = decoded(flaws, clusterIP=text, externalIPs=[text], **ingress)
    assert (expected,) == service.cluster_ips == service.external_ips == service.load_balancer_vips
    assert [] == flaws


@pytest.mark.parametrize(
    ("raw", "field", "part_of_reason"),
    [
        (b"", "", "truncated"),
        (b'{"metadata":{"name":"\xff"}}', "", "not UTF-8"),
        (b'{"x":' + b"[" * 100_000, "", "truncated"),
        (b"[]", "", "must be an object, and is a list"),
        (b'{"metadata":{"name":"a","namespace":"b"}}', "spec", "is missing"),
        (b'{"metadata":{"name":"a"},"spec":{}}', "metadata.namespace", "'' is not a DNS label"),
        (
            b'{"metadata":{"name":"a.b","namespace":"b"},"spec":{}}',
            "metadata.name",
            "'a.b' is not a DNS label",
        ),
        (
            b'{"metadata":{"name":"a","namespace":"b\\n"},"spec":{}}',
            "metadata.namespace",
            r"'b\n' is not a DNS label",
        ),
        (
            b'{"metadata":{"name":"' + b"a" * 64 + b'","namespace":"b"},"spec":{}}',
            "metadata.name",
            "not a DNS label",
        ),
    ],
)
def test_bytes_that_are_not_a_service_are_refused(raw: bytes, field: str, part_of_reason: str) -> None:
    with pytest.raises(InvalidField) as refused:
        decode(Kind.SERVICE, raw)
    assert field == refused.value.field
    assert part_of_reason in refused.value.reason


def test_service_without_namespace_gets_the_given_namespace() -> None:
    raw = b'{"metadata":{"name":"a"},"spec":{}}'
    assert NamespacedName("apps", "a") == decode(Kind.SERVICE, raw, namespace="apps").key


def test_reason_for_a_huge_name_shows_only_its_beginning() -> None:
    with pytest.raises(InvalidField) as refused:
        decoded(ports=[{"port": 80, "name": "A" * 1_000_000}])
    assert len(refused.value.reason) < 300
    assert "(1000000 characters)" in refused.value.reason


def test_null_metadata_counts_as_absent() -> None:
    raw = (
        b'{"metadata":{"name":"a","namespace":null,"resourceVersion":null,"labels":{"app":null}},'
        b'"spec":{"clusterIP":"None"}}'
    )
    assert Service(key=NamespacedName("apps", "a")) == decode(Kind.SERVICE, raw, namespace="apps")


@pytest.mark.parametrize(
    ("kind", "raw", "expected"),
    [
        (
            Kind.SERVICE,
            b'{"spec":7,"metadata":{"name":"A b","namespace":"apps","labels":[]}}',
            NamespacedName("apps", "A b"),
        ),
        (Kind.SERVICE, b'{"metadata":{"name":"a","namespace":null}}', NamespacedName("default", "a")),
        (Kind.NODE, b'{"metadata":{"name":"n","namespace":"apps"}}', NamespacedName("", "n")),
        (Kind.SERVICE, b'{"metadata":{"name":""}}', None),
        (Kind.SERVICE, b'{"metadata":{"name":7}}', None),
        (Kind.SERVICE, b'{"metadata":{"name":"\xff"}}', None),
        (
            Kind.SERVICE,
            b'{"metadata":{"name":"a"},"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            NamespacedName("default", "a"),
        ),
        (Kind.SERVICE, b'{"metadata":{"name":"a","namespace":{}}}', None),
        (Kind.SERVICE, b"[]", None),
    ],
)
def test_object_with_other_faults_is_identified(
    kind: Kind, raw: bytes, expected: NamespacedName | None
) -> None:
    assert expected == identify(kind, raw, namespace="default")
    assert expected == identify(kind, msgspec.Raw(raw), namespace="default")
