"""The JSON and the protobuf of a real API server give equal facts."""

import pytest

from kproxy.errors import InvalidField
from kproxy.state.encodings import encoding_of
from kproxy.state.encodings.envelopes import Meta, Page, Status, StatusDetails
from kproxy.state.objects import Kind, Object
from stubapi.recordings import recorded

LONGEST = 1 << 20
LISTS = {
    "services-list": Kind.SERVICE,
    "endpointslices-list": Kind.ENDPOINT_SLICE,
    "nodes-list": Kind.NODE,
    "servicecidrs-list": Kind.SERVICE_CIDR,
}


def page_of(name: str) -> Page:
    answer = recorded(name)
    return encoding_of(answer.content_type).page(answer.body)


def facts_of(name: str, kind: Kind) -> list[tuple[Object | str, list[str], Meta]]:
    """For each object: the fact or the reason why there is none, its flaws, and its metadata."""
    encoding = encoding_of(recorded(name).content_type)
    found = []
    for raw in page_of(name).items:
        flaws: list[InvalidField] = []
        fact: Object | str
        try:
            fact = encoding.fact(kind, raw, flaws)
        except InvalidField as wrong:
            fact = str(wrong)
        found.append((fact, [str(each) for each in flaws], encoding.meta(raw)))
    return found


@pytest.mark.parametrize(("name", "kind"), LISTS.items())
def test_list_gives_equal_facts_in_both_encodings(name: str, kind: Kind) -> None:
    in_json, in_protobuf = (facts_of(f"{name}-{each}", kind) for each in ("json", "protobuf"))
    assert in_json
    assert in_json == in_protobuf


@pytest.mark.parametrize("name", LISTS)
def test_list_gives_equal_resource_versions_in_both_encodings(name: str) -> None:
    in_json, in_protobuf = (page_of(f"{name}-{each}") for each in ("json", "protobuf"))
    assert ("1054", "") == (in_json.resource_version, in_json.continue_token)
    assert ("1054", "") == (in_protobuf.resource_version, in_protobuf.continue_token)


def test_page_that_is_not_the_last_has_the_token_of_the_next() -> None:
    page = page_of("services-list-page1-protobuf")
    assert 2 == len(page.items)
    assert "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MTA1NCwic3RhcnQiOiJoZWFkXHUwMDAwIn0" == page.continue_token


def events_of(name: str) -> list[tuple[str, Meta, Object | str]]:
    answer = recorded(name)
    encoding = encoding_of(answer.content_type)
    found = []
    for frame in encoding.frames([answer.body], LONGEST):
        event = encoding.event(frame)
        fact: Object | str
        try:
            fact = encoding.fact(Kind.SERVICE, event.object, [])
        except InvalidField as wrong:
            fact = str(wrong)
        found.append((event.type, encoding.meta(event.object), fact))
    return found


def test_watch_gives_equal_events_in_both_encodings() -> None:
    in_json, in_protobuf = events_of("services-watch-json"), events_of("services-watch-protobuf")
    assert [each for each, _, _ in in_json] == [each for each, _, _ in in_protobuf]
    for (event, json_meta, json_fact), (_, meta, fact) in zip(in_json, in_protobuf, strict=True):
        assert (json_meta.key, json_meta.ends_initial_events) == (meta.key, meta.ends_initial_events)
        assert type(json_fact) is type(fact), event


def test_refusal_in_protobuf_is_understood() -> None:
    answer = recorded("not-found-protobuf")
    status = encoding_of(answer.content_type).status(answer.body)
    assert Status('services "nope" not found', "NotFound", 404, StatusDetails()) == status


@pytest.mark.parametrize("name", ["services-watchlist-json", "services-watchlist-protobuf"])
def test_error_event_carries_its_status(name: str) -> None:
    answer = recorded(name)
    encoding = encoding_of(answer.content_type)
    (frame,) = encoding.frames([answer.body], LONGEST)
    event = encoding.event(frame)
    status = encoding.status(event.object)
    assert "ERROR" == event.type
    assert (500, "InternalError") == (status.code, status.reason)
    assert "RequestWatchProgress is disabled" in status.message
