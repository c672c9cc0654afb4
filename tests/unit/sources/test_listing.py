"""Lists: a bad item affects only itself, a page that is too large is fetched in parts, and memory is bounded."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from answers import answer
from kproxy.client.answer import Answer, AnswerTooLarge
from kproxy.errors import ApiFailed, InputError
from kproxy.sources import listing
from kproxy.sources.kube import ENDPOINT_SLICES, SERVICES
from kproxy.sources.listing import list_resource
from kproxy.state.encodings.as_json import split_lines
from kproxy.state.events import Cost
from stubapi.manifests import endpoint_slice, service


def page(items: list[Any], **metadata: object) -> bytes:
    return json.dumps({"metadata": {"resourceVersion": "7", **metadata}, "items": items}).encode()


def test_bad_items_are_left_out_alone_each_with_its_reason() -> None:
    flawed = service("flawed")
    flawed["spec"]["externalIPs"] = ["x"]
    items = [service("web"), service("bad", port=0), 7, flawed, {"metadata": {"name": {}}}, None]
    listed, version = list_resource(lambda _: answer(page(items)), SERVICES, 500)
    assert ["web", "flawed"] == [thing.key.name for thing in listed.objects]
    assert [
        ("default/bad", "/api/v1/services", Cost.OBJECT),
        ("", "/api/v1/services, object 3 of the list", Cost.OBJECT),
        ("default/flawed", "/api/v1/services", Cost.FIELD),
        ("", "/api/v1/services, object 5 of the list", Cost.OBJECT),
        ("", "/api/v1/services, object 6 of the list", Cost.OBJECT),
    ] == [(each.name, each.place, each.cost) for each in listed.rejections]
    assert "7" == version


def test_slices_that_no_service_can_use_are_ignored_silently() -> None:
    names = {**endpoint_slice("names", "web", "example.org"), "addressType": "FQDN"}
    nobodys = endpoint_slice("nobodys", "web", "10.128.1.5")
    nobodys["metadata"]["labels"] = None
    items = [names, nobodys, endpoint_slice("web-a", "web", "10.128.1.5")]
    listed, _ = list_resource(lambda _: answer(page(items)), ENDPOINT_SLICES, 500)
    assert (["web-a"], ()) == ([thing.key.name for thing in listed.objects], listed.rejections)


@pytest.mark.parametrize("version", [None, 7, {}, [], ""])
def test_list_without_a_resource_version_is_still_used(version: object) -> None:
    listed, found = list_resource(
        lambda _: answer(page([service("web")], resourceVersion=version)), SERVICES, 500
    )
    assert (1, "") == (len(listed.objects), found)


NO_LISTS: list[dict[str, Any]] = [
    {"kind": "Status", "metadata": {}, "status": "Failure", "code": 403},
    {**service("web"), "kind": "Service"},
    {"kind": "PodList", "metadata": {"resourceVersion": "7"}, "items": []},
    {"kind": "PartialObjectMetadataList", "metadata": {"resourceVersion": "7"}, "items": [{"metadata": {}}]},
    {"kind": "Table", "metadata": {"resourceVersion": "7"}, "rows": []},
    {"metadata": {"resourceVersion": "7"}},
    {"kind": ["ServiceList"], "metadata": {"resourceVersion": "7"}, "items": []},
]


@pytest.mark.parametrize("body", NO_LISTS, ids=lambda body: str(body.get("kind")))
def test_answer_that_is_not_a_list_of_the_kind_is_refused(body: dict[str, Any]) -> None:
    """Otherwise all Services would disappear from the node."""
    with pytest.raises(ApiFailed, match="the list of services cannot be understood"):
        list_resource(lambda _: answer(json.dumps(body).encode()), SERVICES, 500)


@pytest.mark.parametrize("items", [None, []])
@pytest.mark.parametrize("kind", [None, "", "ServiceList"])
def test_list_may_be_empty_and_leave_out_its_kind(kind: str | None, items: list[object] | None) -> None:
    body = {"kind": kind, "metadata": {"resourceVersion": "7"}, "items": items}
    listed, version = list_resource(lambda _: answer(json.dumps(body).encode()), SERVICES, 500)
    assert ((), "7") == (listed.objects, version)


def test_list_with_an_unreadable_continue_token_is_refused() -> None:
    body = page([service("web")], **{"continue": 7})
    with pytest.raises(ApiFailed, match="the list of services cannot be understood"):
        list_resource(lambda _: answer(body), SERVICES, 500)


def test_page_that_is_too_large_is_fetched_in_smaller_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MOST_BYTES", 4_000)
    things = [service(f"web-{number:02}") for number in range(40)]
    asked: list[str] = []

    def get(query: Mapping[str, str]) -> Answer:
        asked.append(query["limit"])
        start, limit = int(query.get("continue", "0")), int(query["limit"])
        more = {"continue": str(start + limit)} if start + limit < len(things) else {}
        return answer(page(things[start : start + limit], **more))

    listed, _ = list_resource(get, SERVICES, 100)
    assert 40 == len(listed.objects)
    assert ["100", *["5"] * 8] == asked


def test_object_larger_than_the_bound_does_not_cause_endless_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listing, "MOST_BYTES", 100)
    asked: list[str] = []

    def get(query: Mapping[str, str]) -> Answer:
        asked.append(query["limit"])
        return answer(page([service("web")]))

    with pytest.raises(AnswerTooLarge, match="larger than 0 MB"):
        list_resource(get, SERVICES, 500)
    assert ["500", "25", "1"] == asked


def test_watch_line_that_never_ends_is_not_held() -> None:
    def endless() -> Any:
        while True:
            yield b"x" * 1_000

    with pytest.raises(InputError, match="longer than 0 MB"):
        next(split_lines(endless(), 10_000))
    assert [b"a" * 10_000] == list(split_lines([b"a" * 10_000 + b"\n"], 10_000))
