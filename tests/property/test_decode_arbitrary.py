"""Whatever comes in: it is refused as input, or it yields facts that can stand in a rule."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kproxy.errors import InputError
from kproxy.sources.manifests import read
from kproxy.sources.yaml import load_documents
from kproxy.state.decode import convert, decode, identify
from kproxy.state.objects import Endpoints, EndpointSlice, Kind, Node, Object, Pod, Service

FIT_FOR_A_RULE = re.compile(r"[A-Za-z0-9._:/][A-Za-z0-9._:/-]*")

OPTIONS = [
    "-j",
    "--comment",
    "web -j ACCEPT",
    'web" -j ACCEPT',
    "10.0.0.1 -j DROP",
    "10.0.0.0/8\n-A",
    "fe80::1%-j",
]
SIGNS = [
    "",
    " ",
    "\n",
    '"',
    "'",
    "a b",
    "a\nb",
    "a\x00",
    "é",
    "a\u2028b",
    "٣",
    "a-",
    "-a",
    "10.0.0.1\n",
    "::1%\n",
]
VALID = [
    "0.0.0.0/0",
    "10.0.0.0/8 ",
    "::/0",
    "web",
    "10.96.0.1",
    "fd00::1",
    "None",
    "TCP",
    "80",
    "10.0.0.0/+8",
]
NASTY = st.sampled_from([*OPTIONS, *SIGNS, *VALID])
TEXTS = NASTY | st.text()
BYTES = st.binary() | TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass"))
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
DATA = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4)
)


def or_plain(plain: object) -> st.SearchStrategy[Any]:
    """Mostly what is valid, so that arbitrary text in one field is not hidden behind another's refusal."""
    return st.just(plain) | st.just(plain) | st.just(plain) | TEXTS


METADATA = st.fixed_dictionaries(
    {"name": or_plain("web"), "namespace": or_plain("default")},
    optional={
        "labels": st.fixed_dictionaries(
            {"kubernetes.io/service-name": or_plain("web"), "topology.kubernetes.io/zone": or_plain("zone-a")}
        )
    },
)
PORTS = st.lists(
    st.fixed_dictionaries(
        {"name": or_plain("http"), "protocol": or_plain("TCP"), "port": st.just(80) | st.integers()},
        optional={"nodePort": st.integers()},
    ),
    max_size=2,
)
SERVICES = st.fixed_dictionaries(
    {
        "metadata": METADATA,
        "spec": st.fixed_dictionaries(
            {"clusterIP": or_plain("10.96.0.1"), "type": or_plain("LoadBalancer"), "ports": PORTS},
            optional={
                "clusterIPs": st.lists(or_plain("10.96.0.1"), max_size=2),
                "externalIPs": st.lists(or_plain("192.0.2.1"), max_size=2),
                "loadBalancerSourceRanges": st.lists(or_plain("10.0.0.0/8"), max_size=2),
                "sessionAffinity": or_plain("ClientIP"),
                "internalTrafficPolicy": or_plain("Local"),
                "externalTrafficPolicy": or_plain("Local"),
            },
        ),
        "status": st.fixed_dictionaries(
            {
                "loadBalancer": st.fixed_dictionaries(
                    {"ingress": st.lists(st.fixed_dictionaries({"ip": or_plain("192.0.2.9")}), max_size=2)}
                )
            }
        ),
    }
)
SLICES = st.fixed_dictionaries(
    {
        "metadata": METADATA.map(
            lambda metadata: {"labels": {"kubernetes.io/service-name": "web"}, **metadata}
        ),
        "addressType": or_plain("IPv4"),
        "ports": PORTS,
        "endpoints": st.lists(
            st.fixed_dictionaries(
                {"addresses": st.lists(or_plain("10.128.0.1"), max_size=2)},
                optional={
                    "nodeName": or_plain("node-1"),
                    "hints": st.fixed_dictionaries(
                        {"forZones": st.lists(st.fixed_dictionaries({"name": TEXTS}))}
                    ),
                    "targetRef": st.fixed_dictionaries({"kind": or_plain("Pod"), "name": or_plain("web-1")}),
                },
            ),
            max_size=3,
        ),
    }
)


def words_for_rules(thing: Object) -> Iterator[str]:
    """Each string of a fact that a rule or its comment may hold; empty ones are left out."""
    yield from filter(None, thing.key)
    match thing:
        case Service():
            yield from (
                *thing.cluster_ips,
                *thing.external_ips,
                *thing.load_balancer_vips,
                *thing.source_ranges,
            )
            yield from (word for port in thing.ports for word in (port.name, port.protocol) if word)
        case EndpointSlice():
            yield from thing.service
            yield from (end.address for end in thing.endpoints)
            yield from (word for port in thing.ports for word in (port.name, port.protocol) if word)
            yield from (end.node for end in thing.endpoints if end.node)
        case Endpoints(slices=slices):
            yield from (word for piece in slices for word in words_for_rules(piece))
        case Node() | Pod():
            yield from thing.addresses


def numbers_for_rules(thing: Object) -> Iterator[int]:
    if isinstance(thing, Service):
        yield from (number for port in thing.ports for number in (port.port, port.node_port))
    if isinstance(thing, EndpointSlice):
        yield from (port.port for port in thing.ports)


def refusal(attempt: Callable[[], object]) -> str:
    """The sentence of an InputError, empty if all went well; any other exception is a failure."""
    try:
        attempt()
    except InputError as refused:
        return str(refused)
    return ""


def refused_or_fit(kind: Kind, manifest: object) -> None:
    told = refusal(lambda: convert(kind, manifest))
    assert told.isprintable()
    if not told:
        thing = convert(kind, manifest)
        assert [] == [word for word in words_for_rules(thing) if not FIT_FOR_A_RULE.fullmatch(word)]
        assert [] == [number for number in numbers_for_rules(thing) if not 0 <= number <= 65535]


@given(SERVICES)
def test_arbitrary_text_in_a_service_is_refused_or_fit_for_a_rule(manifest: object) -> None:
    refused_or_fit(Kind.SERVICE, manifest)


@given(SLICES)
def test_arbitrary_text_in_a_slice_is_refused_or_fit_for_a_rule(manifest: object) -> None:
    refused_or_fit(Kind.ENDPOINT_SLICE, manifest)


@given(st.sampled_from(Kind), DATA)
def test_arbitrary_data_is_refused_or_fit_for_a_rule(kind: Kind, data: object) -> None:
    refused_or_fit(kind, data)


@given(st.sampled_from(Kind), BYTES)
def test_arbitrary_bytes_are_refused_as_input(kind: Kind, raw: bytes) -> None:
    assert refusal(lambda: decode(kind, raw)).isprintable()


@given(st.sampled_from(Kind), BYTES | DATA | st.fixed_dictionaries({"metadata": METADATA | DATA}))
def test_arbitrary_things_have_a_key_or_none(kind: Kind, thing: object) -> None:
    key = identify(kind, thing, namespace="default")
    cluster_wide = kind in {Kind.NODE, Kind.SERVICE_CIDR}
    assert key is None or (key.name and bool(key.namespace) is not cluster_wide)


@given(st.sampled_from(Kind), SERVICES | SLICES, st.data())
def test_damaged_json_is_refused_as_input_or_decodes(
    kind: Kind, manifest: object, data: st.DataObject
) -> None:
    raw = bytearray(msgspec.json.encode(manifest))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    assert refusal(lambda: decode(kind, bytes(raw))).isprintable()


@given(BYTES)
def test_arbitrary_bytes_as_yaml_are_refused_as_input_or_read(raw: bytes) -> None:
    assert refusal(lambda: load_documents(raw)).isprintable()


@given(st.text(alphabet="ab:-[]{}&*!|>?'\"#,%@ \n\t<0.~"))
def test_text_of_yaml_signs_is_refused_as_input_or_read(text: str) -> None:
    found = read([], stdin=text.encode())
    assert all(str(rejection).isprintable() for rejection in found.rejections)


@given(
    st.recursive(TEXTS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4))
)
def test_data_written_as_yaml_is_read_back_equal(data: object) -> None:
    quoted = yaml.safe_dump(data, default_style='"', allow_unicode=False).replace("!!str", "")
    if data not in ("", None):
        assert [data] == [document.data for document in load_documents(quoted.encode())]


@given(st.sampled_from(["Service", "Node", "List", "ServiceList", "EndpointSlice"]), DATA, st.booleans())
def test_arbitrary_objects_of_known_kinds_never_break_reading(kind: str, data: object, as_json: bool) -> None:
    version = "discovery.k8s.io/v1" if kind == "EndpointSlice" else "v1"
    text = msgspec.json.encode(
        {"apiVersion": version, "kind": kind, "metadata": data, "spec": data, "items": data}
    )
    found = read([], stdin=text if as_json else b"---\n" + text)
    assert all(str(rejection).isprintable() for rejection in found.rejections)
