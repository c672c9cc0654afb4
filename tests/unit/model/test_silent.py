"""Why Services and slices yield nothing: one sentence each, with what to write instead."""

import pytest

from kproxy.model.silent import silences, yields_rules
from kproxy.sources.manifests import read
from kproxy.state.objects import Kind
from kproxy.state.store import Store
from kproxy.values import NamespacedName

SERVICE = "{{apiVersion: v1, kind: Service, metadata: {{name: web{metadata}}}, spec: {{{spec}}}}}"
SLICE = (
    "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: web-1, namespace: {namespace}, "
    "labels: {{kubernetes.io/service-name: {service}{labels}}}}}, addressType: {family}, ports: [{ports}], "
    "endpoints: [{endpoints}]}}"
)
SPEC = "clusterIP: 10.96.0.10, ports: [{port: 80}]"
POD = "{apiVersion: v1, kind: Pod, metadata: {name: web-0, labels: {app: web}}}"


def service(spec: str = SPEC, metadata: str = "") -> str:
    return SERVICE.format(spec=spec, metadata=metadata)


def piece(
    *,
    service: str = "web",
    namespace: str = "default",
    family: str = "IPv4",
    ports: str = "{port: 8080}",
    endpoints: str = "{addresses: [10.128.1.5]}",
    labels: str = "",
) -> str:
    return SLICE.format(
        service=service, namespace=namespace, family=family, ports=ports, endpoints=endpoints, labels=labels
    )


def store_of(*documents: str) -> Store:
    found = read([], stdin="\n---\n".join(documents).encode())
    assert () == found.rejections
    store = Store()
    for kind in Kind:
        store.apply(found.listed(kind))
    return store


def told(*documents: str) -> list[str]:
    store = store_of(*documents)
    return [str(each) for each in silences(store, sorted({*store.services, *store.services_of_slices()}))]


NO_SLICE = (
    "Service default/web has no endpoints: no EndpointSlice names it; kproxy makes no slices from Pods or Deployments "
    "as a cluster does: give one with the label kubernetes.io/service-name: web"
)
MAKES_NO_SLICES = NO_SLICE.partition("; ")[2]


@pytest.mark.parametrize(
    ("spec", "metadata", "reason"),
    [
        (
            "type: ExternalName, externalName: a.example",
            "",
            "yields no rule: an ExternalName is a name in DNS, and no address",
        ),
        (
            "clusterIP: None, ports: [{port: 80}]",
            "",
            "yields no rule: it is headless (clusterIP: None), so its clients connect to its endpoints by their own addresses",
        ),
        (
            SPEC,
            ", labels: {service.kubernetes.io/service-proxy-name: other}",
            "yields no rule: its label service.kubernetes.io/service-proxy-name asks for another proxy",
        ),
        ("clusterIP: 10.96.0.10", "", "yields no rule: it has no ports; write spec.ports"),
        (
            "ports: [{port: 80}]",
            "",
            "yields no rule: it has no spec.clusterIP, and an API server would assign one; write one, such as 10.96.0.10",
        ),
        (
            "clusterIP: '', clusterIPs: null, ports: [{port: 80}]",
            "",
            "yields no rule: it has no spec.clusterIP, and an API server would assign one; write one, such as 10.96.0.10",
        ),
        (
            f"type: NodePort, {SPEC}",
            "",
            "has no node port for port 80: an API server would assign one; write spec.ports[0].nodePort, such as 30080",
        ),
        (
            f"type: LoadBalancer, {SPEC}",
            "",
            (
                "has no load-balancer address: status.loadBalancer.ingress has no ip, or none of ipMode VIP; "
                "a controller writes it in a cluster; here write one, such as [{ip: 192.0.2.1}]"
            ),
        ),
    ],
)
def test_service_without_rules_or_ways_in_says_why(spec: str, metadata: str, reason: str) -> None:
    assert [f"Service default/web {reason}"] == told(service(spec, metadata), piece())


def test_service_that_serves_is_silent() -> None:
    assert [] == told(service(), piece())
    assert [] == told(service(), piece(ports="{name: '', port: 8080, protocol: TCP}"))
    assert [] == told(service(f"type: NodePort, {SPEC[:-2]}, nodePort: 30080}}]"), piece())


@pytest.mark.parametrize(
    ("slices", "reason"),
    [
        (
            piece(ports="{name: http, port: 8080}"),
            ' for port 80: its EndpointSlices have no port without a name (TCP), only "http" (TCP); the two must have the same name',
        ),
        (
            piece(ports="{port: 8080, protocol: UDP}"),
            " for port 80: its EndpointSlices have no port without a name (TCP), only one without a name (UDP); did you mean protocol UDP?",
        ),
        (piece(ports=""), " for port 80: its EndpointSlices have no port with a number; write ports"),
        (piece(endpoints=""), " for port 80: no address stands in web-1"),
        (
            piece(endpoints="{addresses: [10.128.1.5], conditions: {ready: false}}"),
            " for port 80: its only endpoint is not ready",
        ),
        (
            piece(
                endpoints="{addresses: [10.128.1.5], conditions: {ready: false}}, "
                "{addresses: [10.128.1.6], conditions: {ready: false, serving: false, terminating: true}}"
            ),
            " for port 80: none of its 2 endpoints is ready",
        ),
        (
            piece(family="IPv6", endpoints="{addresses: ['fd00::5']}"),
            " in IPv4: its EndpointSlices are IPv6",
        ),
        (
            piece(labels=", service.kubernetes.io/headless: ''"),
            ": the label service.kubernetes.io/headless of its EndpointSlices (web-1) asks for another proxy, or for none",
        ),
    ],
)
def test_service_whose_slices_do_not_serve_it_says_why(slices: str, reason: str) -> None:
    assert [f"Service default/web has no endpoints{reason}"] == told(service(), slices)


def test_endpoint_that_still_serves_while_it_ends_is_an_endpoint() -> None:
    ending = "{addresses: [10.128.1.5], conditions: {ready: false, serving: true, terminating: true}}"
    assert [] == told(service(), piece(endpoints=ending))


def test_conditions_that_are_null_are_ready() -> None:
    assert [] == told(service(), piece(endpoints="{addresses: [10.128.1.5], conditions: null}"))
    assert [] == told(service(), piece(endpoints="{addresses: [10.128.1.5], conditions: {ready: null}}"))


def test_ports_that_share_a_reason_share_a_sentence_and_a_near_name_is_offered() -> None:
    spec = "clusterIP: 10.96.0.10, ports: [{name: http, port: 80}, {name: https, port: 443}, {name: web, port: 81}]"
    there = piece(ports="{name: htttp, port: 8080}, {name: web, port: 81}", endpoints="")
    assert [
        (
            'Service default/web has no endpoints for port http: its EndpointSlices have no port named "http" (TCP), only '
            '"htttp" (TCP), "web" (TCP); did you mean htttp?'
        ),
        (
            'Service default/web has no endpoints for port https: its EndpointSlices have no port named "https" (TCP), only '
            '"htttp" (TCP), "web" (TCP); did you mean htttp?'
        ),
        "Service default/web has no endpoints for port web: no address stands in web-1",
    ] == told(service(spec), there)


def test_service_of_two_families_says_which_one_has_no_endpoints() -> None:
    spec = "clusterIPs: [10.96.0.10, 'fd00::10'], ports: [{port: 80}]"
    expected = ["Service default/web has no endpoints in IPv6: its EndpointSlices are IPv4"]
    assert expected == told(service(spec), piece())


def test_service_without_slices_says_so_and_names_what_is_there_instead() -> None:
    assert [NO_SLICE] == told(service())
    selected = service(f"{SPEC}, selector: {{app: web}}")
    assert [
        (
            "Service default/web has no endpoints: no EndpointSlice names it; Pods match its selector (1 of those given), "
            f"but {MAKES_NO_SLICES}"
        )
    ] == told(selected, POD)


@pytest.mark.parametrize(("name", "namespace"), [("web", "apps"), ("wbe", "default")])
def test_slice_of_another_service_is_offered_to_the_one_without(name: str, namespace: str) -> None:
    meant = f"{namespace}/{name}"
    ours = "Service default/web has no endpoints: no EndpointSlice names it; "
    assert {
        f"{ours}web-1 names a Service {meant}: did you mean default/web?",
        f"EndpointSlice {namespace}/web-1 yields no rule: there is no Service {meant}; did you mean default/web?",
    } == set(told(service(), piece(service=name, namespace=namespace)))


def test_slice_of_a_service_of_a_quite_different_name_is_offered_to_nobody() -> None:
    assert [
        "EndpointSlice default/web-1 yields no rule: there is no Service default/database",
        NO_SLICE,
    ] == told(service(), piece(service="database"))


def test_slice_of_a_service_that_was_left_out_is_silent() -> None:
    found = read([], stdin=f"{service('clusterIP: 10.96.0.10, ports: [{port: 0}]')}\n---\n{piece()}".encode())
    store = Store()
    for kind in Kind:
        store.apply(found.listed(kind))
    assert ["spec.ports[0].port"] == [rejection.field for rejection in store.rejections]
    assert [] == list(silences(store, [NamespacedName("default", "web")]))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("web-1", "an EndpointSlice that may be its own is left out: web-1"),
        ("other", NO_SLICE.partition("has no endpoints: ")[2]),
    ],
)
def test_service_whose_slice_was_left_out_is_not_told_that_none_names_it(name: str, told: str) -> None:
    bad = piece(ports="{port: http}").replace("web-1", name)
    found = read([], stdin=f"{service()}\n---\n{bad}".encode())
    store = Store()
    for kind in Kind:
        store.apply(found.listed(kind))
    assert [f"Service default/web has no endpoints: {told}"] == [
        str(each) for each in silences(store, [NamespacedName("default", "web")])
    ]


def test_only_what_healthy_clusters_have_is_usual() -> None:
    usual = [
        service("type: ExternalName"),
        service("clusterIP: None"),
        service("clusterIP: None, ports: [{port: 80}]"),
        service(SPEC, ", labels: {service.kubernetes.io/service-proxy-name: other}"),
        piece(),
    ]
    balanced = store_of(service(f"type: LoadBalancer, {SPEC}"), piece())
    assert [True] == [each.is_usual for each in silences(balanced, [NamespacedName("default", "web")])]
    for document in usual:
        store = store_of(document)
        assert [True] == [each.is_usual for each in silences(store, [NamespacedName("default", "web")])]
    for document in (service("ports: [{port: 80}]"), service("clusterIP: 10.96.0.10"), service()):
        store = store_of(document)
        assert {False} == {each.is_usual for each in silences(store, [NamespacedName("default", "web")])}


def test_service_yields_rules_if_it_has_an_address_and_a_port() -> None:
    (without,) = store_of(service("ports: [{port: 80}]")).services.values()
    (with_both,) = store_of(service()).services.values()
    assert not yields_rules(without)
    assert yields_rules(with_both)


def test_thousands_of_silent_services_are_told_in_linear_time() -> None:
    names = range(3000)
    store = store_of(
        *(
            service()
            .replace("name: web", f"name: web-{at}")
            .replace("10.96.0.10", f"10.{at >> 8}.{at & 255}.1")
            for at in names
        ),
        *(piece(service=f"gone-{at}").replace("web-1", f"s-{at}") for at in names),
    )
    keys = sorted({*store.services, *store.services_of_slices()})
    assert 6000 == sum(1 for _ in silences(store, keys))
