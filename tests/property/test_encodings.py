"""JSON and protobuf say the same; and whatever is broken in protobuf costs no more than the object that it stands in."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from answers import answer
from kproxy.errors import ApiFailed, InputError, InvalidField, Malformed
from kproxy.sources.kube import ENDPOINT_SLICES, SERVICE_CIDRS, SERVICES, node
from kproxy.sources.listing import Resource, list_resource
from kproxy.sources.listwatch import ListWatch
from kproxy.sources.timing import Timing
from kproxy.state.encodings import JSON, PROTOBUF, Encoding
from kproxy.state.encodings.as_protobuf import split_frames
from kproxy.state.encodings.protobuf.endpoints import shortcut
from kproxy.state.encodings.protobuf.messages import ENDPOINT
from kproxy.state.encodings.protobuf.reading import read
from kproxy.state.encodings.protobuf.types import ENTRY, entry
from kproxy.state.endpoint_facts import endpoint_fact
from kproxy.state.events import Listed
from kproxy.state.objects import Endpoint, Kind, Object
from kproxy.state.store import Store
from kproxy.values import Family
from recordings import CLUSTERS, objects_of
from scenarios import Scenario
from strategies import scenarios
from stubapi import protobuf
from stubapi.messages import message_of
from stubapi.recordings import recorded

LONGEST = 1 << 20
KINDS = (Kind.SERVICE, Kind.ENDPOINT_SLICE, Kind.NODE, Kind.SERVICE_CIDR)
RESOURCES = {each.kind: each for each in (SERVICES, ENDPOINT_SLICES, SERVICE_CIDRS, node("node-1"))}
CONTENT_TYPE = PROTOBUF.media_type


def said(encoding: Encoding, kind: Kind, raw: bytes) -> tuple[Object | str, list[str]]:
    """The fact or the refusal, and the fields that are left out alone."""
    flaws: list[InvalidField] = []
    fact: Object | str
    try:
        fact = encoding.fact(kind, raw, flaws)
    except InvalidField as refused:
        fact = str(refused)
    return fact, [str(each) for each in flaws]


def assert_same_in_both(thing: dict[str, Any]) -> None:
    kind = Kind(thing["kind"])
    as_json, as_protobuf = json.dumps(thing).encode(), protobuf.encode(thing)
    assert said(JSON, kind, as_json) == said(PROTOBUF, kind, as_protobuf)
    assert kind == JSON.meta(as_json).kind
    assert replace(JSON.meta(as_json), kind="") == PROTOBUF.meta(as_protobuf)
    assert JSON.key(kind, as_json) == PROTOBUF.key(kind, as_protobuf)


@given(scenarios())
def test_objects_of_any_cluster_are_the_same_in_both_encodings(scenario: Scenario) -> None:
    for thing in scenario.objects:
        assert_same_in_both(thing)


@pytest.mark.parametrize("cluster", CLUSTERS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_recorded_objects_are_the_same_in_both_encodings(cluster: Any) -> None:
    for thing in objects_of(cluster):
        if thing["kind"] in KINDS:
            assert_same_in_both(thing)


TEXTS = st.sampled_from(
    [
        "",
        "web",
        "10.96.0.10",
        "010.1.2.3",
        "::1",
        "None",
        "Local",
        "UDP",
        "x y",
        "a\nb",
        "é",
        "10.0.0.0/8",
        "VIP",
        "x" * 300,
    ]
)
NUMBERS = st.sampled_from([0, 1, 80, 65_535, 65_536, -1, 2**31 - 1, -(2**31)])
MAPS = st.dictionaries(TEXTS, TEXTS, max_size=3)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


def lists(items: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(items, max_size=3)


METADATA = some(
    name=TEXTS,
    namespace=TEXTS,
    resourceVersion=TEXTS,
    labels=MAPS | MAPS.map(lambda labels: labels | {"kubernetes.io/service-name": "web"}),
    annotations=MAPS | st.just({"endpoints.kubernetes.io/last-change-trigger-time": "2026-11-27T09:23:04Z"}),
    deletionTimestamp=st.just("2026-11-27T09:23:04Z"),
)
ODD_SERVICES = st.fixed_dictionaries(
    {
        "kind": st.just("Service"),
        "metadata": METADATA,
        "spec": some(
            type=TEXTS,
            clusterIP=TEXTS,
            clusterIPs=lists(TEXTS),
            ports=lists(some(name=TEXTS, protocol=TEXTS, port=NUMBERS, nodePort=NUMBERS)),
            externalIPs=lists(TEXTS),
            loadBalancerSourceRanges=lists(TEXTS),
            internalTrafficPolicy=TEXTS,
            externalTrafficPolicy=TEXTS,
            sessionAffinity=TEXTS | st.just("ClientIP"),
            sessionAffinityConfig=some(clientIP=some(timeoutSeconds=NUMBERS)),
            healthCheckNodePort=NUMBERS,
            publishNotReadyAddresses=st.booleans(),
            selector=MAPS,
        ),
        "status": some(loadBalancer=some(ingress=lists(some(ip=TEXTS, ipMode=TEXTS)))),
    }
)
ODD_SLICES = st.fixed_dictionaries(
    {
        "kind": st.just("EndpointSlice"),
        "metadata": METADATA,
        "addressType": st.sampled_from(["IPv4", "IPv6", "FQDN", ""]),
        "ports": lists(some(name=TEXTS, protocol=TEXTS, port=NUMBERS)),
        "endpoints": lists(
            some(
                addresses=lists(TEXTS),
                conditions=some(ready=st.booleans(), serving=st.booleans(), terminating=st.booleans()),
                nodeName=TEXTS,
                zone=TEXTS,
                hostname=TEXTS,
                targetRef=some(name=TEXTS, uid=TEXTS),
                hints=some(forZones=lists(some(name=TEXTS)), forNodes=lists(some(name=TEXTS))),
            )
        ),
    }
)
ODD_NODES = st.fixed_dictionaries(
    {
        "kind": st.just("Node"),
        "metadata": METADATA,
        "spec": some(podCIDR=TEXTS, podCIDRs=lists(TEXTS), taints=lists(some(key=TEXTS))),
        "status": some(addresses=lists(some(type=TEXTS | st.just("InternalIP"), address=TEXTS))),
    }
)


@given(ODD_SERVICES | ODD_SLICES | ODD_NODES)
def test_odd_objects_are_the_same_in_both_encodings(thing: dict[str, Any]) -> None:
    assert_same_in_both(thing)


BODIES = [
    recorded(f"{name}-protobuf").body for name in ("services-list", "endpointslices-list", "nodes-list")
]
STREAM = recorded("services-watch-protobuf").body


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """With some bytes changed, added, left out, or the end cut off."""
    body = draw(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(body)))
        inserted, skipped = draw(st.binary(max_size=3)), draw(st.integers(0, 3))
        body = body[:at] + inserted + body[at + skipped :]
    return body[: draw(st.integers(0, len(body)))] if draw(st.booleans()) else body


READERS: list[Callable[[bytes], object]] = [
    PROTOBUF.page,
    PROTOBUF.event,
    PROTOBUF.meta,
    PROTOBUF.status,
    *(lambda raw, kind=kind: PROTOBUF.fact(kind, raw, []) for kind in KINDS),
    *(lambda raw, kind=kind: PROTOBUF.key(kind, raw) for kind in KINDS),
]
ITEMS = [item for body in BODIES for item in PROTOBUF.page(body).items]


def refusal(read: Callable[[bytes], object], raw: bytes) -> str:
    """Empty if all went well; any other exception is a failure."""
    try:
        read(raw)
    except (Malformed, InvalidField, ApiFailed) as refused:
        event(type(refused).__name__)
        return str(refused)
    return ""


@given(st.binary() | damaged(st.sampled_from([*BODIES, STREAM, STREAM[4:], *map(bytes, ITEMS)])))
@example(b"k8s\0" + b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
@example(b"\x0b" * 100_000)
@example(b"\n" * 100_000)
def test_arbitrary_bytes_are_read_or_refused_as_input(raw: bytes) -> None:
    for reader in READERS:
        assert refusal(reader, raw).isprintable()


@given(damaged(st.just(STREAM)), st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_damaged_stream_gives_events_or_is_refused_as_input(stream: bytes, cuts: list[int]) -> None:
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    chunks = [stream[start:end] for start, end in pairwise(edges)]
    try:
        for frame in split_frames(chunks, LONGEST):
            found = PROTOBUF.event(frame)
            PROTOBUF.meta(found.object)
    except InputError as refused:
        event(type(refused).__name__)


def endpoint_bytes(thing: dict[str, Any]) -> bytes:
    """The first Endpoint of a slice."""
    message = message_of("EndpointSlice")
    message.ParseFromString(protobuf.encode(thing))
    made: bytes = message.endpoints[0].SerializeToString()
    return made


BY_SHORTCUT = shortcut(ENDPOINT)
ENDPOINTS = ODD_SLICES.filter(lambda thing: bool(thing["endpoints"])).map(endpoint_bytes)


def field(number: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return bytes([number << 3 | 2]) + length + content


ADDRESSES = [b"10.128.1.5", b"10.128.1.6", b"fd00::5", b"010.1.1.1", b"10.0.0", b""]
SAID = [b"", b"\x08\x01", b"\x08\x00\x10\x01\x18\x01", b"\x08", b"\x10\x80\x01"]
MORE = [
    b"",
    field(7, b"z"),
    field(8, field(1, field(1, b"z"))),
    field(1, b"10.128.1.9"),
    field(2, b"\x08\x00"),
]
USUAL = st.builds(
    lambda address, said, target, name, more: b"".join(
        [field(1, address), field(2, said), target, field(6, name), *more]
    ),
    st.sampled_from(ADDRESSES) | st.binary(max_size=140),
    st.sampled_from(SAID) | st.binary(max_size=140),
    st.just(b"") | st.binary(max_size=300).map(lambda pod: field(4, pod)),
    st.sampled_from([b"node-1", b"node-2", b"Node"]) | st.binary(max_size=140),
    st.lists(st.sampled_from(MORE) | st.binary(max_size=9), max_size=2),
)


PLAIN = field(1, b"10.128.1.5") + field(2, b"\x08\x01\x10\x01\x18\x00"), field(6, b"node-1") + field(7, b"z")


@pytest.mark.parametrize("target", [b"", field(4, b"pod"), field(4, b"p" * 200)])
def test_shortcut_is_taken_by_what_an_api_server_writes(target: bytes) -> None:
    assert isinstance(BY_SHORTCUT.read(target.join(PLAIN)), Endpoint)


@example(b"".join(PLAIN), Family.IPV4)
@example(b"".join(PLAIN), Family.IPV6)
@given(ENDPOINTS | damaged(ENDPOINTS) | USUAL | damaged(USUAL), st.sampled_from(Family))
def test_shortcut_through_an_endpoint_gives_what_the_table_gives(raw: bytes, family: Family) -> None:
    def outcome(read: Callable[[bytes], Any]) -> object:
        try:
            return endpoint_fact(family, read(raw))
        except InvalidField as refused:
            return str(refused)

    assert outcome(ENDPOINT.read) == outcome(BY_SHORTCUT.read)


@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=3))
def test_entry_of_a_map_is_read_as_the_table_says(key: bytes, value: bytes, more: bytes) -> None:
    raw = field_of_any_size(1, key) + field_of_any_size(2, value) + more

    def outcome(read: Callable[[bytes], tuple[str, str]]) -> object:
        try:
            return read(raw)
        except InvalidField as refused:
            return str(refused)

    def by_the_table(raw: bytes) -> tuple[str, str]:
        values = read(ENTRY, raw)
        return values.get("key", ""), values.get("value", "")

    assert outcome(by_the_table) == outcome(entry)


def field_of_any_size(number: int, content: bytes) -> bytes:
    size, length = len(content), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def listed(resource: Resource, items: list[bytes]) -> Listed:
    message = message_of("Unknown")
    message.typeMeta.kind = f"{resource.kind}List"
    message.raw = field(1, field(2, b"9")) + b"".join(field_of_any_size(2, item) for item in items)
    body = protobuf.MAGIC + message.SerializeToString()
    return list_resource(lambda _: answer(body, CONTENT_TYPE), resource, 500)[0]


SERVICE_ITEMS = [bytes(item) for item in PROTOBUF.page(BODIES[0]).items]
SLICE_ITEMS = [bytes(item) for item in PROTOBUF.page(BODIES[1]).items]


@given(st.sampled_from([SERVICES, ENDPOINT_SLICES]), st.integers(0, 2), st.data())
def test_one_damaged_object_of_a_list_costs_only_itself(
    resource: Resource, at: int, data: st.DataObject
) -> None:
    items = list(SERVICE_ITEMS if resource is SERVICES else SLICE_ITEMS)
    others = listed(resource, items[:at] + items[at + 1 :]).objects
    items[at] = data.draw(damaged(st.just(items[at])))
    found = listed(resource, items)
    event(f"{len(found.rejections)} in quarantine")
    assert all(each in found.objects for each in others)
    assert len(others) + 1 >= len(found.objects) + len(
        [each for each in found.rejections if each.cost == "is left out"]
    )
    assert all(str(each).isprintable() for each in found.rejections)


@given(damaged(st.sampled_from(BODIES)))
def test_damaged_page_is_used_in_part_or_refused_as_a_whole(body: bytes) -> None:
    told = refusal(lambda raw: list_resource(lambda _: answer(raw, CONTENT_TYPE), SERVICES, 500), body)
    assert not told or told.startswith("the list of services ")


class Watched:
    """A watch in protobuf whose frames are handed to the loop one by one."""

    def __init__(self, resource: Resource, store: Store) -> None:
        self.loop = ListWatch(
            resource, lambda: cast("Any", self), store.apply, Timing(uniform=lambda low, _: low)
        )

    def take(self, frame: bytes) -> None:
        self.loop._asker.get = lambda *_: answer(protobuf.framed(frame), STREAMED)  # type: ignore[method-assign] # noqa: SLF001
        self.loop._position.listed("9")  # noqa: SLF001
        with suppress(ApiFailed):
            self.loop._watch()  # noqa: SLF001


STREAMED = f"{CONTENT_TYPE};stream=watch"


@given(st.sampled_from(["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]), st.data())
def test_one_damaged_watch_event_costs_only_its_object(verb: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(SERVICE_ITEMS) - 1))
    damage = data.draw(damaged(st.just(SERVICE_ITEMS[at])))
    store = Store()
    store.apply(listed(SERVICES, SERVICE_ITEMS))
    before = dict(store.services)
    touched = {PROTOBUF.key(Kind.SERVICE, each) for each in (SERVICE_ITEMS[at], damage)}
    unknown, watched = message_of("Unknown"), message_of("WatchEvent")
    unknown.raw, watched.type = damage, verb
    watched.object.raw = protobuf.MAGIC + unknown.SerializeToString()
    Watched(SERVICES, store).take(watched.SerializeToString())
    assert all(store.services.get(key) == thing for key, thing in before.items() if key not in touched)
    assert all(str(each).isprintable() for each in store.rejections)
