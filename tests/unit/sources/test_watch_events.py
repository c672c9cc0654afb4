"""Events of a watch: an event about another kind than the requested kind changes no object."""

import json
from typing import Any

import pytest

from kproxy.errors import Malformed
from kproxy.sources.kube import SERVICES
from kproxy.sources.watch_events import to_event
from kproxy.state.encodings import JSON, PROTOBUF, Encoding
from kproxy.state.events import Changed, Deleted
from stubapi import protobuf
from stubapi.manifests import service


def framed(encoding: Encoding, event_type: str, manifest: dict[str, Any]) -> bytes:
    if encoding is JSON:
        return json.dumps({"type": event_type, "object": manifest}).encode()
    return protobuf.frame(event_type, manifest)[4:]


def told(encoding: Encoding, event_type: str, manifest: dict[str, Any]) -> object:
    event = encoding.event(framed(encoding, event_type, manifest))
    return to_event(SERVICES, encoding, event, encoding.meta(event.object))


@pytest.mark.parametrize("encoding", [JSON, PROTOBUF], ids=["json", "protobuf"])
@pytest.mark.parametrize("event_type", ["ADDED", "MODIFIED", "DELETED"])
def test_event_about_another_kind_is_refused(encoding: Encoding, event_type: str) -> None:
    node = {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "web", "namespace": "default"}}
    with pytest.raises(Malformed, match="an object of the kind 'Node'"):
        told(encoding, event_type, node)


@pytest.mark.parametrize("encoding", [JSON, PROTOBUF], ids=["json", "protobuf"])
def test_event_about_our_kind_is_returned(encoding: Encoding) -> None:
    web = {"kind": "Service", "apiVersion": "v1", **service("web")}
    assert isinstance(told(encoding, "ADDED", web), Changed)
    assert isinstance(told(encoding, "DELETED", web), Deleted)


@pytest.mark.parametrize("kind", [None, "", 7])
def test_event_in_json_without_a_kind_is_accepted(kind: object) -> None:
    assert isinstance(told(JSON, "DELETED", {**service("web"), "kind": kind}), Deleted)
