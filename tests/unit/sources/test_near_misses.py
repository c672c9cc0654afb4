"""Misspelled fields, kinds, versions and labels in files are reported with their place and a suggestion."""

from pathlib import Path

import msgspec
import pytest

from kproxy.sources.manifests import read
from kproxy.sources.yaml import load_documents
from recordings import CLUSTERS


def sentences(text: str) -> list[str]:
    return read([], stdin=text.encode()).sentences()


def service(fields: str) -> str:
    return f"{{apiVersion: v1, kind: Service, metadata: {{name: web}}, {fields}}}"


FIELDS = [
    ("spec: {externalIP: [192.0.2.1]}", "spec.externalIP", "externalIPs"),
    ("spec: {externalIps: [192.0.2.1]}", "spec.externalIps", "externalIPs"),
    ("spec: {clusterIp: 10.96.0.1}", "spec.clusterIp", "clusterIP"),
    ("spec: {ClusterIP: 10.96.0.1}", "spec.ClusterIP", "clusterIP"),
    ("spec: {sessionAffinty: ClientIP}", "spec.sessionAffinty", "sessionAffinity"),
    ("spec: {nodePort: 30080}", "spec.nodePort", "spec.ports[].nodePort"),
    ("spec: {port: 80}", "spec.port", "spec.ports[].port"),
    ("spec: {ports: [{port: 80}, {port: 81, targetport: 80}]}", "spec.ports[1].targetport", "targetPort"),
    ("spec: {ports: [{port: 80, nodePorts: 30080}]}", "spec.ports[0].nodePorts", "nodePort"),
    ("spec: {}, nodePorts: 30080", "nodePorts", "spec.ports[].nodePort"),
    ("spec: {}, selector: {a: b}", "selector", "spec.selector"),
    ("spec: {}, labels: {a: b}", "labels", "metadata.labels"),
    (
        "spec: {}, status: {loadBalancer: {ip: 192.0.2.1}}",
        "status.loadBalancer.ip",
        "status.loadBalancer.ingress[].ip",
    ),
    ("spec: {affinity: ClientIP}", "spec.affinity", "sessionAffinity"),
    (
        "spec: {sessionAffinityConfig: {clientIP: {timeout: 5}}}",
        "spec.sessionAffinityConfig.clientIP.timeout",
        "timeoutSeconds",
    ),
    ("spec: {}, zzz: 1", "zzz", ""),
]


@pytest.mark.parametrize(("fields", "path", "meant"), FIELDS)
def test_unknown_field_is_reported_with_the_field_that_may_be_meant(
    fields: str, path: str, meant: str
) -> None:
    hint = f"; did you mean {meant}?" if meant else ""
    told = f"Service default/web: {path}: there is no such field, so it is ignored{hint}"
    assert [f"stdin, document 1: {told}"] == sentences(service(fields))
    as_json = msgspec.json.encode(load_documents(service(fields).encode())[0].data).decode()
    assert [f"stdin: {told}"] == sentences(as_json)
    listed = f'{{"apiVersion": "v1", "kind": "List", "items": [{as_json}]}}'
    assert [f"stdin, items[0]: {told}"] == sentences(listed)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            (
                "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a, labels: {kubernetes.io/service-name: web}}, "
                "addressType: IPv4, endpoints: [{addresses: [10.0.0.1], ready: true}]}"
            ),
            (
                "EndpointSlice default/a: endpoints[0].ready: there is no such field, so it is ignored; "
                "did you mean endpoints[].conditions.ready?"
            ),
        ),
        (
            "{apiVersion: v1, kind: Endpoints, metadata: {name: web}, subsets: [{adresses: [{ip: 10.0.0.1}]}]}",
            "Endpoints default/web: subsets[0].adresses: there is no such field, so it is ignored; did you mean addresses?",
        ),
        (
            "{apiVersion: v1, kind: Node, metadata: {name: n}, spec: {podCidr: 10.0.0.0/24}}",
            "Node n: spec.podCidr: there is no such field, so it is ignored; did you mean podCIDR?",
        ),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: p, lables: {a: b}}}",
            "Pod default/p: metadata.lables: there is no such field, so it is ignored; did you mean labels?",
        ),
    ],
)
def test_misspelled_field_of_any_kind_is_reported(text: str, told: str) -> None:
    assert [f"stdin, document 1: {told}"] == sentences(text)


@pytest.mark.parametrize("cluster", CLUSTERS, ids=lambda cluster: f"{cluster.parent.name}/{cluster.name}")
def test_output_of_api_servers_and_tools_has_no_unknown_field(cluster: Path) -> None:
    assert [] == read([cluster / "objects.json"]).sentences()


def test_unknown_fields_of_a_rejected_object_are_reported_too() -> None:
    found = read([], stdin=service("spec: {clusterIp: 10.96.0.1, ports: [{port: 0}]}").encode())
    assert ["spec.ports[0].port"] == [rejection.field for rejection in found.rejections]
    assert ["there is no such field" in sentence for sentence in found.sentences()]


def test_thousands_of_unknown_fields_are_counted() -> None:
    told = sentences(service("spec: {" + ", ".join(f"zzz{at}: 1" for at in range(5000)) + "}"))
    assert 11 == len(told)
    assert (
        "stdin, document 1: Service default/web: 4990 more of its fields do not exist and are ignored"
        == told[-1]
    )


def test_field_with_control_characters_is_escaped() -> None:
    (told,) = sentences(
        '{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "x\\u001b[31m": 1}, "spec": {}}'
    )
    assert told.isprintable()


@pytest.mark.parametrize(
    ("head", "kind", "meant"),
    [
        ("apiVersion: v1, kind: Servce", "Servce", "Service"),
        ("apiVersion: v1, kind: service", "service", "Service"),
        ("apiVersion: v1, kind: Services", "Services", "Service"),
        ("apiVersion: v1, kind: svc", "svc", "Service"),
        ("kind: Endpoint", "Endpoint", "Endpoints"),
        (
            "apiVersion: discovery.k8s.io/v1, kind: Endpointslice",
            "Endpointslice.discovery.k8s.io",
            "EndpointSlice",
        ),
        (
            "apiVersion: discovery.k8s/v1, kind: EndpointSlice",
            "EndpointSlice.discovery.k8s",
            "the group discovery.k8s.io",
        ),
        ("apiVersion: apps/v1, kind: Service", "Service.apps", "apiVersion: v1"),
        ("apiVersion: core/v1, kind: Node", "Node.core", "apiVersion: v1"),
    ],
)
def test_misspelled_kind_or_group_is_reported_with_its_place(head: str, kind: str, meant: str) -> None:
    told = f"kind {kind} decides no rule, so the object is ignored; did you mean {meant}?"
    assert [f"stdin, document 1: {told}"] == sentences(f"{{{head}, metadata: {{name: web}}}}")


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        ("apiVersion: v1, kind: ServiceAccount", "ServiceAccount"),
        ("apiVersion: apps/v1, kind: Deployment", "Deployment.apps"),
        ("apiVersion: serving.knative.dev/v1, kind: Service", "Service.serving.knative.dev"),
        ("apiVersion: v1, kind: PodTemplate", "PodTemplate"),
        ("apiVersion: metrics.k8s.io/v1, kind: NodeMetrics", "NodeMetrics.metrics.k8s.io"),
    ],
)
def test_other_kind_is_ignored_with_its_first_place(head: str, kind: str) -> None:
    told = f"2 of kind {kind} ignored: they decide no rule; the first is stdin, document 1"
    assert [told] == sentences(f"{{{head}}}\n---\n{{{head}}}\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "{Kind: Service, apiVersion: v1}",
            "stdin, document 1 is left out: kind: is missing; write kind instead of Kind",
        ),
        (
            "{kind: Service, apiversion: v1}",
            "stdin, document 1: Service is left out: apiVersion: is missing, and apiversion is no field; write v1",
        ),
    ],
)
def test_misspelled_kind_or_api_version_field_is_reported(text: str, told: str) -> None:
    assert [told] == [str(rejection) for rejection in read([], stdin=text.encode()).rejections]


@pytest.mark.parametrize("label", ["service-name", "kubernetes.io/servicename", "k8s.io/service-name"])
def test_slice_with_a_misspelled_service_label_is_reported(label: str) -> None:
    text = (
        f"{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: a, labels: {{{label}: web}}}}, "
        "addressType: IPv4}"
    )
    missing = "metadata.labels: the label kubernetes.io/service-name, which names the Service, is missing"
    told = f"EndpointSlice default/a decides no rule: {missing}; did you mean it by {label}?"
    assert [f"stdin, document 1: {told}"] == sentences(text)
