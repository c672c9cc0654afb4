"""Faulty protobuf: each object is refused with the field that is wrong, and still has its name."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from kproxy.errors import InputError, InvalidField, Malformed
from kproxy.state.encodings.as_protobuf import PROTOBUF, split_frames
from kproxy.state.encodings.envelopes import Status
from kproxy.state.encodings.protobuf.times import rfc3339
from kproxy.state.objects import EndpointSlice, Kind, Node, Service
from kproxy.values import NamespacedName
from stubapi import manifests, protobuf
from stubapi.messages import message_of


def slice_bytes(*addresses: str, **changed: Any) -> bytes:
    return protobuf.encode({**manifests.endpoint_slice("web-a", "web", *addresses), **changed})


def field(number: int, content: bytes) -> bytes:
    """A field of less than 128 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content


NAMED = field(1, field(1, b"web") + field(3, b"default"))
TOO_LONG = b"\xff" * 9 + b"\x01"


@pytest.mark.parametrize(
    ("raw", "where", "reason"),
    [
        (NAMED + field(2, field(1, b"\x18")), "spec.ports[0]", "is cut off"),
        (
            NAMED + field(2, field(1, b"\x1a\x01a")),
            "spec.ports[0].port",
            "must be a whole number, and is encoded as text",
        ),
        (
            NAMED + field(2, field(1, b"\x1d\x01\x00\x00\x00")),
            "spec.ports[0].port",
            "and is encoded as 4 bytes",
        ),
        (NAMED + field(2, b"\x18\x01"), "spec.clusterIP", "must be text, and is encoded as a number"),
        (NAMED + field(2, field(3, b"\xff")), "spec.clusterIP", "not UTF-8"),
        (NAMED + field(2, field(2, field(1, b"\xc3"))), "spec.selector.key", "not UTF-8"),
        (NAMED + field(2, field(5, b"192.0.2.1") + field(5, b"\xff")), "spec.externalIPs[1]", "not UTF-8"),
        (NAMED + b"\x12\x7f\x00", "", "is cut off"),
        (NAMED + b"\x12" + TOO_LONG, "", "is cut off"),
        (NAMED + b"\x12" + b"\xff" * 11, "", "more than 64 bits"),
        (NAMED + b"\x13\x14", "spec", "must be a message, and is encoded as a group"),
        (NAMED + b"\xa3\x06\xa2\x06\x7f\xa4\x06", "", "is cut off"),
        (NAMED + b"\xa3\x06" * 100_000, "", "is cut off"),
        (NAMED + b"\xa3\x06\xa6\x06\xa4\x06", "", "wire type 6"),
        (NAMED + b"\xa4\x06", "", "wire type 4"),
        (NAMED + b"\x07", "", "wire type 7"),
        (NAMED, "spec", "is missing"),
        (field(2, b""), "metadata", "is missing"),
    ],
)
def test_service_that_cannot_be_read_is_refused_by_its_field(raw: bytes, where: str, reason: str) -> None:
    with pytest.raises(InvalidField, match=reason) as refused:
        PROTOBUF.fact(Kind.SERVICE, raw, [])
    assert where == refused.value.field
    key = None if raw.startswith(b"\x12") else NamespacedName("default", "web")
    assert key == PROTOBUF.key(Kind.SERVICE, raw)


@pytest.mark.parametrize("length", range(1, 200, 7))
def test_slice_that_is_cut_anywhere_is_refused_or_has_fewer_parts(length: int) -> None:
    raw = slice_bytes("10.128.1.5", "10.128.1.6")[:length]
    with suppress(InvalidField):
        PROTOBUF.fact(Kind.ENDPOINT_SLICE, raw, [])
    key = PROTOBUF.key(Kind.ENDPOINT_SLICE, raw)
    assert key in (None, NamespacedName("", "web-a"), NamespacedName("default", "web-a"))


def test_unknown_fields_of_every_wire_type_are_skipped() -> None:
    group = b"\xa3\x06" + b"\xa0\x06\x01\xa2\x06\x01x\xa5\x06\0\0\0\0" + b"\xa3\x06\xa4\x06" + b"\xa4\x06"
    more = group + b"\xa0\x06\x01" + b"\xa1\x06" + b"\0" * 8 + b"\xa2\x06\x01x" + b"\xa5\x06" + b"\0" * 4
    raw = slice_bytes("10.128.1.5")
    plain, extended = (PROTOBUF.fact(Kind.ENDPOINT_SLICE, each, []) for each in (raw, raw + more))
    assert plain == extended


def test_bad_address_affects_only_its_endpoint_as_in_json() -> None:
    flaws: list[InvalidField] = []
    found = PROTOBUF.fact(Kind.ENDPOINT_SLICE, slice_bytes("10.128.1.5", "x", "10.128.1.7"), flaws)
    assert isinstance(found, EndpointSlice)
    assert ["10.128.1.5", "10.128.1.7"] == [each.address for each in found.endpoints]
    assert ["endpoints[1].addresses[0]"] == [each.field for each in flaws]


def test_absent_port_differs_from_an_empty_port() -> None:
    ports = [{"name": "", "port": 80}, {"port": 81}, {"name": "a"}]
    found = PROTOBUF.fact(Kind.ENDPOINT_SLICE, slice_bytes("10.128.1.5", ports=ports), [])
    assert isinstance(found, EndpointSlice)
    assert [("", 80)] == [(each.name, each.port) for each in found.ports]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, (True, True, False)),
        ({"ready": False}, (False, True, False)),
        ({"serving": False, "terminating": True}, (True, False, True)),
    ],
)
def test_absent_condition_differs_from_false(
    conditions: dict[str, bool], expected: tuple[bool, bool, bool]
) -> None:
    endpoint = {"addresses": ["10.128.1.5"], "conditions": conditions, "nodeName": "node-1"}
    found = PROTOBUF.fact(Kind.ENDPOINT_SLICE, slice_bytes(endpoints=[endpoint]), [])
    assert isinstance(found, EndpointSlice)
    (only,) = found.endpoints
    assert expected == (only.ready, only.serving, only.terminating)


def test_negative_port_is_refused_as_in_json() -> None:
    service = manifests.service("web", port=-1)
    with pytest.raises(InvalidField, match="-1 is not a port"):
        PROTOBUF.fact(Kind.SERVICE, protobuf.encode(service), [])


def test_last_value_of_a_field_wins_and_maps_are_joined() -> None:
    raw = NAMED + field(2, field(3, b"10.96.0.1") + field(2, field(1, b"a") + field(2, b"1")))
    again = field(2, field(3, b"10.96.0.2") + field(2, field(2, b"2") + field(1, b"b")))
    found = PROTOBUF.fact(Kind.SERVICE, raw + again, [])
    assert isinstance(found, Service)
    assert (("10.96.0.2",), (("a", "1"), ("b", "2"))) == (found.cluster_ips, found.selector)


def test_message_in_several_parts_has_the_fields_of_all_parts() -> None:
    """gogo/protobuf adds each part to the message that it already has."""
    raw = field(1, field(1, b"web")) + field(2, field(3, b"10.96.0.1") + field(4, b"NodePort"))
    again = field(1, field(3, b"default")) + field(2, field(1, b"\x18\x50"))
    found = PROTOBUF.fact(Kind.SERVICE, raw + again, [])
    assert isinstance(found, Service)
    assert (NamespacedName("default", "web"), ("10.96.0.1",), [80]) == (
        found.key,
        found.cluster_ips,
        [each.port for each in found.ports],
    )
    assert found.key == PROTOBUF.key(Kind.SERVICE, raw + again)


@pytest.mark.timeout(20)
def test_message_in_very_many_parts_takes_time_in_proportion() -> None:
    found = PROTOBUF.meta(field(1, field(1, b"web")) + field(1, field(4, b"y" * 20)) * 300_000)
    assert "web" == found.name


def test_conditions_in_several_parts_have_the_fields_of_all_parts() -> None:
    meta = slice_bytes()
    parts = field(1, b"10.128.1.5") + field(2, b"\x08\x00") + field(2, b"\x18\x01")
    found = PROTOBUF.fact(Kind.ENDPOINT_SLICE, meta + field(2, parts), [])
    assert isinstance(found, EndpointSlice)
    (only,) = found.endpoints
    assert (False, True) == (only.ready, only.terminating)


@pytest.mark.parametrize(
    ("deleted_at", "expected"),
    [(None, False), ("2026-11-27T09:23:04Z", True), ("1969-12-31T23:59:59Z", True)],
)
def test_node_that_is_being_deleted_is_recognized(deleted_at: str | None, expected: bool) -> None:
    node = manifests.node("node-1")
    node["metadata"]["deletionTimestamp"] = deleted_at
    found = PROTOBUF.fact(Kind.NODE, protobuf.encode(node), [])
    assert isinstance(found, Node)
    assert expected is found.being_deleted


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1, "1970-01-01T00:00:01Z"),
        (1_795_771_384, "2026-11-27T09:23:04Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (-1, "1969-12-31T23:59:59Z"),
        (253_402_300_799, "9999-12-31T23:59:59Z"),
        (253_402_300_800, None),
        (-(1 << 63), None),
        (0, None),
    ],
)
def test_time_is_written_as_in_json(seconds: int, text: str | None) -> None:
    assert text == rfc3339(seconds)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"k8s",
        b"k8s\0",
        b'{"kind":"ServiceList"}',
        b"k8s\0\x12\x7f",
        b"k8s\0" + field(1, b"\x12\x7f"),
        protobuf.body({"apiVersion": "v1", "kind": "Status", "message": "busy", "code": 200}),
    ],
)
def test_body_that_is_not_a_list_is_refused(body: bytes) -> None:
    with pytest.raises(Malformed):
        PROTOBUF.page(body)


@pytest.mark.parametrize("read", [PROTOBUF.event, PROTOBUF.meta])
def test_empty_frame_is_refused_as_event_and_as_object(read: Callable[[bytes], object]) -> None:
    with pytest.raises(Malformed):
        read(b"")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"k8s\0",
        b"k8s\0\xff",
        protobuf.body({"apiVersion": "v1", "kind": "ServiceList", "items": []}),
    ],
)
def test_anything_but_a_status_gives_an_empty_status(body: bytes) -> None:
    assert Status() == PROTOBUF.status(body)


def test_status_has_the_pause_that_the_server_asks_for() -> None:
    busy = {"apiVersion": "v1", "kind": "Status", "code": 429, "details": {"retryAfterSeconds": 7}}
    details = PROTOBUF.status(protobuf.body(busy)).details
    assert details is not None
    assert 7 == details.retry_after_seconds


@pytest.mark.parametrize(("value", "expected"), [("true", True), ("false", False), (None, False)])
def test_bookmark_says_whether_the_initial_list_is_complete(value: str | None, expected: bool) -> None:
    annotations = {"k8s.io/initial-events-end": value} if value else {}
    bookmark = {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": "7", "annotations": annotations},
    }
    (frame,) = split_frames([protobuf.frame("BOOKMARK", bookmark)], 1 << 20)
    event = PROTOBUF.event(frame)
    meta = PROTOBUF.meta(event.object)
    assert ("BOOKMARK", "7", None, expected) == (
        event.type,
        meta.resource_version,
        meta.key,
        meta.ends_initial_events,
    )


def test_metadata_of_other_types_are_empty() -> None:
    raw = field(1, b"\x08\x01" + field(3, b"\xff") + field(6, b"7"))
    meta = PROTOBUF.meta(raw)
    assert ("", "", "7") == (meta.name, meta.namespace, meta.resource_version)


@pytest.mark.parametrize("size", [1, 3, 4, 5, 1_000])
def test_frames_are_the_same_wherever_the_chunks_are_cut_and_a_torn_one_is_left_out(size: int) -> None:
    sent = [b"", b"a", b"bc" * 100, b"d"]
    stream = b"".join(map(protobuf.framed, sent)) + protobuf.framed(b"torn")[:-1]
    chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert sent == list(split_frames(chunks, 1 << 10))


def test_frame_is_yielded_before_the_next_chunk_is_read() -> None:
    chunks = iter([protobuf.framed(b"one") + protobuf.framed(b"two")[:3], protobuf.framed(b"two")[3:]])
    frames = split_frames(chunks, 1 << 10)
    assert b"one" == next(frames)
    assert protobuf.framed(b"two")[3:] == next(chunks)


def test_frame_longer_than_the_bound_is_refused_at_once() -> None:
    def endless() -> Any:
        yield b"\xff\xff\xff\xff"
        pytest.fail("nothing more is asked for")

    with pytest.raises(InputError, match="longer than 1 MB"):
        next(split_frames(endless(), 1 << 20))


def test_message_of_a_megabyte_in_small_chunks_costs_no_more_than_its_size() -> None:
    large = protobuf.framed(b"x" * (8 << 20))
    chunks = [large[at : at + 1_000] for at in range(0, len(large), 1_000)]
    assert [8 << 20] == [len(each) for each in split_frames(chunks, 32 << 20)]


def test_page_leaves_its_items_undecoded() -> None:
    page = message_of("ServiceList")
    page.metadata.resourceVersion = "9"
    raw = page.SerializeToString() + field(2, NAMED + b"\xff") + field(2, NAMED)
    unknown = message_of("Unknown")
    unknown.typeMeta.kind = "ServiceList"
    unknown.raw = raw
    found = PROTOBUF.page(b"k8s\0" + unknown.SerializeToString())
    assert ("9", [NAMED + b"\xff", NAMED]) == (found.resource_version, list(found.items))
