"""The stub answers as the recorded API server does: status, framing, headers, keys and event types."""

import base64
import io
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from stubapi import StubApi

RECORDED = Path(__file__).with_name("recorded")
KINDS = {
    "Service": "services-list-page1-rv0",
    "EndpointSlice": "endpointslices-list",
    "Node": "nodes-list-one",
    "ServiceCIDR": "servicecidrs-list",
}
TIMEOUT_S = 20.0


class Replayed:
    """As much of a socket as `http.client` needs to read an answer out of a recording."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    def makefile(self, *_: object) -> Any:
        return io.BytesIO(self._text)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def framing(self) -> str:
        return self.headers.get(
            "Transfer-Encoding", "by length" if "Content-Length" in self.headers else "none"
        )

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]


def recorded(name: str) -> tuple[bytes, Answer]:
    request, _, answer = (RECORDED / f"{name}.http").read_bytes().partition(b"\n----- response -----\n")
    return request, read(Replayed(answer))


def read(source: Any) -> Answer:
    response = HTTPResponse(source)
    response.begin()
    return Answer(response.status, dict(response.getheaders()), response.read())


def ask(api: StubApi, request: bytes, **changed: str) -> Answer:
    """Send a recorded request with the stub's token and some of its query changed."""
    head, _, rest = request.partition(b" HTTP/1.1")
    url = urlsplit(head.removeprefix(b"GET ").decode())
    query = {**dict(parse_qsl(url.query)), **changed}
    target = f"GET {url.path}?{urlencode(query)}".encode() if query else head
    context = ssl.create_default_context(cadata=api.authority.decode())
    with (
        socket.create_connection(api.address, TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=api.address[0]) as connection,
    ):
        connection.sendall((target + b" HTTP/1.1" + rest).replace(b"TOKEN", api.token.encode()))
        return read(connection)


def shape(value: Any) -> Any:
    """The keys of an object and of its metadata; of a list, the shapes that occur in it."""
    if isinstance(value, list):
        return sorted({json.dumps(shape(each)) for each in value})
    if not isinstance(value, dict):
        return type(value).__name__
    return {
        key: shape(inner) if key in ("metadata", "items", "object") else "" for key, inner in value.items()
    }


def assert_alike(expected: Answer, answer: Answer) -> None:
    assert expected.status == answer.status
    assert expected.framing == answer.framing
    assert set(expected.headers) == set(answer.headers)
    assert [shape(line) for line in expected.lines] == [shape(line) for line in answer.lines]
    assert [line.get("type") for line in expected.lines] == [line.get("type") for line in answer.lines]


@pytest.fixture
def api() -> Iterator[StubApi]:
    """Holds the objects that the recorded server held."""
    with StubApi() as stub:
        for kind, name in KINDS.items():
            for item in recorded(name)[1].lines[0]["items"]:
                stub.put(kind, item)
        yield stub


@pytest.mark.parametrize(
    "name",
    [
        "services-list-page1",
        "services-list-page1-rv0",
        "services-list-bad-continue",
        "endpointslices-list",
        "nodes-list-one",
        "servicecidrs-list",
        "forbidden-anonymous",
        "not-found",
        "services-watchlist",
    ],
)
def test_request_is_answered_as_recorded(api: StubApi, name: str) -> None:
    request, expected = recorded(name)
    assert_alike(expected, ask(api, request))


def test_second_page_is_answered_as_recorded(api: StubApi) -> None:
    (first,) = ask(api, recorded("services-list-page1")[0]).lines
    request, expected = recorded("services-list-page2")
    answer = ask(api, request, **{"continue": first["metadata"]["continue"]})
    assert_alike(expected, answer)
    assert names(expected) == names(answer)


def names(answer: Answer) -> list[str]:
    return [item["metadata"]["name"] for item in answer.lines[0]["items"]]


def test_continue_token_is_the_recorded_one_but_for_its_version(api: StubApi) -> None:
    (expected,), (found,) = (
        each.lines
        for each in (recorded("services-list-page1")[1], ask(api, recorded("services-list-page1")[0]))
    )
    versions = {expected["metadata"]["resourceVersion"], found["metadata"]["resourceVersion"]}
    decoded = [decoded_token(each["metadata"]["continue"]) for each in (expected, found)]
    assert versions == {str(each.pop("rv")) for each in decoded}
    assert decoded[0] == decoded[1]


def decoded_token(token: str) -> dict[str, Any]:
    decoded = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    assert isinstance(decoded, dict)
    return decoded


def test_unauthorized_is_answered_as_recorded(api: StubApi) -> None:
    request, expected = recorded("unauthorized")
    assert_alike(expected, ask(api, request.replace(b"TOKEN", b"stale")))


def test_readyz_and_version_are_answered_as_recorded(api: StubApi) -> None:
    for name, body in (("readyz", bytes), ("version", json.loads)):
        request, expected = recorded(name)
        answer = ask(api, request)
        assert (expected.status, set(expected.headers)) == (answer.status, set(answer.headers))
        keys: Callable[[Any], list[Any]] = list
        assert keys(body(expected.body)) == keys(body(answer.body))


def test_watch_is_answered_as_recorded(api: StubApi) -> None:
    request, expected = recorded("services-watch")
    added, modified, _, _ = (line["object"] for line in expected.lines)

    def write() -> None:
        api.wait_for_streams("Service", 1)
        api.put("Service", added)
        api.put("Service", modified)
        api.delete("Service", "default", "added")

    writer = threading.Thread(target=write)
    writer.start()
    answer = ask(api, request, resourceVersion=str(api.storage.resource_version), timeoutSeconds="2")
    writer.join()
    assert_alike(expected, answer)


@pytest.mark.parametrize("name", ["services-watch-future", "endpointslices-watch-bookmark-75s"])
def test_watch_without_changes_ends_without_a_word_as_recorded(api: StubApi, name: str) -> None:
    request, expected = recorded(name)
    api.compact()
    changed = {"timeoutSeconds": "1"}
    if name.startswith("endpointslices"):
        changed["resourceVersion"] = str(api.storage.resource_version)
    assert_alike(expected, ask(api, request, **changed))


def test_watch_from_before_a_compaction_is_answered_as_recorded(api: StubApi) -> None:
    api.compact()
    request, expected = recorded("services-watch-too-old")
    answer = ask(api, request)
    assert_alike(expected, answer)
    assert (410, "Expired") == (answer.lines[0]["object"]["code"], answer.lines[0]["object"]["reason"])
