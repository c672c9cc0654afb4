"""A list as a stream: changes while it arrives, bad objects in it, and the reasons to abandon it."""

import json
from typing import Any

import pytest

from kproxy.errors import ApiFailed
from kproxy.sources import listing, streamed
from kproxy.sources.kube import ENDPOINT_SLICES, SERVICES
from kproxy.sources.listing import Resource
from kproxy.sources.streamed import (
    InitialEvents,
    NoStream,
    is_about_streams,
    lists_are_streamed,
    says_no_streams,
)
from kproxy.state.encodings.as_json import JSON
from kproxy.state.events import Cost
from stubapi.manifests import endpoint_slice, service

IDLE_S = 20.0
END: dict[str, Any] = {
    "metadata": {"resourceVersion": "7", "annotations": {"k8s.io/initial-events-end": "true"}}
}


def frame(kind: str, thing: Any) -> bytes:
    return json.dumps({"type": kind, "object": thing}).encode()


class Stream:
    def __init__(self, resource: Resource = SERVICES) -> None:
        self.now = 0.0
        self.initial = InitialEvents(resource, lambda: self.now, IDLE_S)

    def take(self, kind: str, thing: Any) -> str | None:
        end = self.initial.take(JSON, frame(kind, thing), lambda raw: ApiFailed(JSON.status(raw).message))
        return end.resource_version if end else None

    @property
    def names(self) -> list[str]:
        return [each.key.name for each in self.initial.listed().objects]


def test_list_is_complete_with_its_final_bookmark() -> None:
    stream = Stream()
    assert [None, None] == [stream.take("ADDED", service(name)) for name in ("a", "b")]
    assert "7" == stream.take("BOOKMARK", END)
    assert ["a", "b"] == stream.names


def test_change_during_the_list_is_applied() -> None:
    stream = Stream()
    for name in ("a", "b", "c"):
        stream.take("ADDED", service(name))
    stream.take("MODIFIED", service("a", port=81))
    stream.take("DELETED", service("b"))
    stream.take("ADDED", service("d"))
    assert ["c", "a", "d"] == stream.names
    assert 81 == next(each.ports[0].port for each in stream.initial.listed().objects if each.key.name == "a")  # type: ignore[union-attr]


def test_object_that_becomes_irrelevant_during_the_list_is_removed() -> None:
    stream = Stream(ENDPOINT_SLICES)
    stream.take("ADDED", endpoint_slice("web-a", "web", "10.128.1.5"))
    names = {**endpoint_slice("web-a", "web", "example.org"), "addressType": "FQDN"}
    stream.take("MODIFIED", names)
    assert ([], ()) == (stream.names, stream.initial.listed().rejections)


def test_bad_objects_are_left_out_alone_each_with_its_reason() -> None:
    stream = Stream()
    flawed = service("flawed")
    flawed["spec"]["externalIPs"] = ["x"]
    things: list[Any] = [service("web"), service("bad", port=0), 7, flawed, {"metadata": {"name": {}}}, None]
    for thing in things:
        stream.take("ADDED", thing)
    assert ["web", "flawed"] == stream.names
    assert [
        ("default/bad", "/api/v1/services", Cost.OBJECT),
        ("", "/api/v1/services, object 3 of the list", Cost.OBJECT),
        ("default/flawed", "/api/v1/services", Cost.FIELD),
        ("", "/api/v1/services, object 5 of the list", Cost.OBJECT),
        ("", "/api/v1/services, object 6 of the list", Cost.OBJECT),
    ] == [(each.name, each.place, each.cost) for each in stream.initial.listed().rejections]


def test_bad_object_that_is_repaired_or_deleted_meanwhile_is_not_reported() -> None:
    stream = Stream()
    for name in ("a", "b"):
        stream.take("ADDED", service(name, port=0))
    stream.take("MODIFIED", service("a"))
    stream.take("DELETED", service("b", port=0))
    assert (["a"], ()) == (stream.names, stream.initial.listed().rejections)


@pytest.mark.parametrize(
    ("kind", "thing"),
    [
        ("BOOKMARK", {"metadata": {"resourceVersion": "7"}}),
        (
            "BOOKMARK",
            {"metadata": {"resourceVersion": "7", "annotations": {"k8s.io/initial-events-end": "false"}}},
        ),
        (
            "BOOKMARK",
            {"metadata": {"resourceVersion": "7", "annotations": {"k8s.io/initial-events-end": True}}},
        ),
        ("BOOKMARK", {"metadata": {"resourceVersion": "7", "annotations": ["k8s.io/initial-events-end"]}}),
        ("BOOKMARK", 7),
        ("MODIFIED", 7),
        ("\x1b[2J", service("a")),
    ],
)
def test_event_that_is_not_allowed_in_a_stream_abandons_it(kind: str, thing: Any) -> None:
    stream = Stream()
    stream.take("ADDED", service("a"))
    with pytest.raises(NoStream) as caught:
        stream.take(kind, thing)
    assert str(caught.value).isprintable()


def test_frame_that_is_not_an_event_abandons_the_stream() -> None:
    with pytest.raises(NoStream, match="cannot be understood"):
        Stream().initial.take(JSON, b"{", lambda _: ApiFailed("x"))


def test_error_event_raises_the_callers_error() -> None:
    with pytest.raises(ApiFailed, match=r"^too old$"):
        Stream().take("ERROR", {"kind": "Status", "message": "too old", "code": 410})


def test_stream_without_end_is_abandoned_for_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "MOST_BYTES", 2_000)
    stream = Stream()
    for number in range(len(frame("ADDED", service("s0"))), 2_000, 400):
        stream.take("ADDED", service(f"s{number}"))
    with pytest.raises(NoStream, match="the stream of services has no end after 0 MB"):
        stream.take("ADDED", service("last", annotations={"note": "n" * 2_000}))


def test_stream_without_end_is_abandoned_for_its_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MOST_OBJECTS", 3)
    stream = Stream()
    for thing in (service("a"), 7, service("b")):
        stream.take("ADDED", thing)
    with pytest.raises(ApiFailed, match="the list of services has no end after 3 objects"):
        stream.take("ADDED", service("c"))


def test_stream_without_end_is_abandoned_for_its_time() -> None:
    stream = Stream()
    while stream.now + IDLE_S <= streamed.LONGEST_S:
        stream.now += IDLE_S
        stream.take("ADDED", service("a"))
    stream.now += IDLE_S
    with pytest.raises(NoStream, match="has no end"):
        stream.take("ADDED", service("a"))


def test_stream_of_only_changes_is_abandoned() -> None:
    """A server that answers with an ordinary watch sends changes, and never the end of the list."""
    stream = Stream()
    stream.take("ADDED", service("a"))
    stream.now = IDLE_S
    stream.take("MODIFIED", service("a"))
    stream.now = IDLE_S + 1.0
    with pytest.raises(NoStream, match="has no end"):
        stream.take("MODIFIED", service("a"))


@pytest.mark.parametrize(
    ("status", "begun", "at_once", "next_time"),
    [
        # no answer: before the stream began, nothing is known about the cause; a stream that breaks off may do so again
        (0, False, False, False),
        (0, True, False, True),
        (400, False, True, True),
        (422, False, True, True),
        (403, False, False, True),
        (500, False, False, True),
        (500, True, True, True),
        (401, False, False, False),
        (404, False, False, False),
        (410, True, True, True),
        (410, False, False, True),
        (429, True, False, False),
        (429, False, False, False),
        (502, False, False, False),
        (503, False, False, False),
        (504, False, False, False),
    ],
)
def test_refusal_leads_to_an_ordinary_list(
    status: int, *, begun: bool, at_once: bool, next_time: bool
) -> None:
    failure = ApiFailed("x", status=status)
    assert at_once == says_no_streams(failure, begun=begun)
    assert next_time == is_about_streams(failure, begun=begun)


@pytest.mark.parametrize("status", [400, 403, 422, 500])
def test_refusal_with_kubernetes_phrases_is_recognized_with_any_status(status: int) -> None:
    failure = ApiFailed("answers 403 (sendInitialEvents is forbidden for watch)", status=status)
    assert says_no_streams(failure, begun=False)


@pytest.mark.parametrize(
    ("said", "streamed_then"),
    [
        (None, True),
        ("", True),
        *((word, True) for word in ("1", "t", "T", "TRUE", "true", "True")),
        *((word, False) for word in ("0", "f", "F", "FALSE", "false", "False")),
    ],
)
def test_environment_decides_as_in_client_go(said: str | None, *, streamed_then: bool) -> None:
    environment = {} if said is None else {streamed.GATE: said}
    assert streamed_then == lists_are_streamed(environment)


@pytest.mark.parametrize("said", ["true", "false", ""])
@pytest.mark.parametrize("gate", [True, False])
def test_gate_of_the_configuration_decides_before_the_environment(said: str, *, gate: bool) -> None:
    assert gate == lists_are_streamed({streamed.GATE: said}, gate)


@pytest.mark.parametrize("said", ["no", "fAlse", " false", "2", "off"])
def test_value_that_go_does_not_know_is_named_and_ignored(
    said: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert lists_are_streamed({streamed.GATE: said})
    assert f"KUBE_FEATURE_WatchListClient={said!r} is neither true nor false" in caplog.text
