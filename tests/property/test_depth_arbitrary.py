"""However deep something is nested, and wherever: it is read without that, or refused in one sentence; nothing runs out of stack."""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from kproxy.client.connection import connect
from kproxy.errors import KproxyError
from kproxy.sources.manifests import read
from kproxy.sources.yaml import load_documents
from kproxy.state.decode import decode, identify
from kproxy.state.encodings.as_json import JSON
from kproxy.state.objects import Kind
from kproxy.values import Family, NamespacedName
from statemachine.cluster import (
    NodeFacts,
    Pod,
    Shape,
    SliceKey,
    node_manifest,
    service_manifest,
    slice_manifest,
)
from stubapi.manifests import service_cidr

DEEPEST = 20_000
"""Deeper than an API server takes; a file may be deeper than that."""

DEEP_FOR_YAML = 2_000
"""The parser takes time that grows with the square of it."""

DEEP_HERE = "d33p"

OBJECTS = {
    Kind.SERVICE: service_manifest("web", Shape(slot=0, node_port=True, vip=True, external_ip=True)),
    Kind.ENDPOINT_SLICE: slice_manifest(SliceKey("web", Family.IPV4, "x"), (Pod(number=0),)),
    Kind.NODE: node_manifest(NodeFacts()),
    Kind.SERVICE_CIDR: service_cidr("web", "10.96.0.0/16"),
}
UNUSED = st.sampled_from(["managedFields", "annotations2", "ownerReferences", "zzz", ""])


@st.composite
def depths(draw: st.DrawFn, deepest: int = DEEPEST) -> str:
    """JSON of lists and objects in each other, maybe with signs in its texts that look like more of them."""
    opening = draw(
        st.lists(st.sampled_from(["[", '{"a":', '["]",', '{"}":1,"b":', "[{},"]), min_size=1, max_size=4)
    )
    closing = "".join("]" if each.startswith("[") else "}" for each in reversed(opening))
    levels = draw(st.integers(1, deepest) | st.sampled_from([63, 64, 65, 900, 1_000, 1_024, 1_100]))
    times = max(levels // len(opening), 1)
    core = draw(st.sampled_from(["1", "null", '"[[[{{{"', "[]", '"\\\\"', '"\\"["']))
    return "".join(opening) * times + core + closing * times


def refusal(attempt: Callable[[], object]) -> str:
    """The sentence that refuses, empty if all went well; any other exception is a failure."""
    try:
        attempt()
    except KproxyError as refused:
        event("refused")
        return str(refused)
    return ""


def with_depth(thing: object, deep: str) -> bytes:
    return json.dumps(thing).replace(f'"{DEEP_HERE}"', deep).encode()


@st.composite
def altered(draw: st.DrawFn, thing: object) -> object:
    """The thing with a mark somewhere inside it, or in its place."""
    if isinstance(thing, dict) and thing and draw(st.integers(0, 4)):
        at = draw(st.sampled_from(sorted(thing)))
        return {**thing, at: draw(altered(thing[at]))}
    if isinstance(thing, list) and thing and draw(st.integers(0, 4)):
        at = draw(st.integers(0, len(thing) - 1))
        return [*thing[:at], draw(altered(thing[at])), *thing[at + 1 :]]
    return DEEP_HERE


@given(st.sampled_from(sorted(OBJECTS)), UNUSED, depths(), st.booleans())
def test_object_is_read_as_if_what_nobody_uses_of_it_were_not_deep(
    kind: Kind, field: str, deep: str, in_front: bool
) -> None:
    metadata = OBJECTS[kind]["metadata"]
    deeper = {field: DEEP_HERE, **metadata} if in_front else {**metadata, field: DEEP_HERE}
    raw = with_depth({**OBJECTS[kind], "metadata": deeper}, deep)
    assert decode(kind, json.dumps(OBJECTS[kind]).encode()) == decode(kind, raw)


@given(st.sampled_from(sorted(OBJECTS)), st.data(), depths())
def test_object_that_is_deep_anywhere_is_read_or_refused_by_its_name(
    kind: Kind, data: st.DataObject, deep: str
) -> None:
    metadata = OBJECTS[kind]["metadata"]
    thing = data.draw(altered({name: each for name, each in OBJECTS[kind].items() if name != "metadata"}))
    if thing == DEEP_HERE:
        thing = {"spec": DEEP_HERE}
    raw = with_depth({**thing, "metadata": metadata}, deep)  # type: ignore[dict-item] # altered keeps a dict one
    namespace = "" if kind in {Kind.NODE, Kind.SERVICE_CIDR} else "default"
    assert NamespacedName(namespace, metadata["name"]) == identify(kind, raw)
    assert refusal(lambda: decode(kind, raw)).isprintable()


WIRE: list[tuple[Callable[[bytes], object], object]] = [
    (JSON.page, {"metadata": {"resourceVersion": "7"}, "items": [OBJECTS[Kind.SERVICE]]}),
    (JSON.event, {"type": "ADDED", "object": OBJECTS[Kind.SERVICE]}),
    (JSON.meta, OBJECTS[Kind.NODE]),
    (JSON.status, {"code": 410, "reason": "Gone", "details": {"retryAfterSeconds": 1}}),
]


@pytest.mark.parametrize(("reader", "sound"), WIRE, ids=["page", "event", "meta", "status"])
@given(data=st.data(), deep=depths())
def test_envelope_that_is_deep_anywhere_is_read_or_refused(
    reader: Callable[[bytes], object], sound: object, data: st.DataObject, deep: str
) -> None:
    text = with_depth(data.draw(altered(sound)), deep)
    assert refusal(lambda: reader(text)).isprintable()


@given(st.sampled_from(sorted(OBJECTS)), st.data(), depths(DEEP_FOR_YAML), st.booleans())
def test_deep_object_in_a_file_costs_no_other_file_and_no_stack(
    kind: Kind, data: st.DataObject, deep: str, as_yaml: bool
) -> None:
    text = with_depth(data.draw(altered(OBJECTS[kind])), deep)
    good = json.dumps(service_manifest("good", Shape(slot=1))).encode()
    with TemporaryDirectory() as directory:
        Path(directory, f"a.{'yaml' if as_yaml else 'json'}").write_bytes(
            b"---\n" + text if as_yaml else text
        )
        Path(directory, "b.json").write_bytes(good)
        found = read([Path(directory)])
    assert "good" in [service.key.name for service in found.objects[Kind.SERVICE]]
    assert all(str(rejection).isprintable() for rejection in found.rejections)


@given(depths(DEEP_FOR_YAML))
@example("- " * DEEP_FOR_YAML)
@example("? " * DEEP_FOR_YAML)
@example("{" * DEEP_FOR_YAML)
@example("a: " * DEEP_FOR_YAML)
@example("\n".join(f"{' ' * level}a:" for level in range(2_000)))
def test_deep_yaml_is_read_or_refused(text: str) -> None:
    assert refusal(lambda: load_documents(text.encode())).isprintable()


@settings(max_examples=25)  # each makes a TLS context
@given(st.data(), depths(DEEP_FOR_YAML), st.booleans())
def test_kubeconfig_that_is_deep_anywhere_is_refused_or_leads_to_a_server(
    data: st.DataObject, deep: str, as_yaml: bool
) -> None:
    sound = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    with TemporaryDirectory() as directory:
        path = Path(directory, "kubeconfig")
        path.write_bytes((b"---\n" if as_yaml else b"") + with_depth(data.draw(altered(sound)), deep))
        assert refusal(lambda: connect(path).close()).isprintable()
