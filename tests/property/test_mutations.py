"""Any JSON value in any place of one object of a recorded list or watch: all other objects are programmed, in both modes."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple, cast

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from answers import answer
from facts import a_view
from kproxy.errors import ApiFailed
from kproxy.model.settings import Settings
from kproxy.render.templates import rule_templates
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.inputs import Circumstances
from kproxy.ruleset.iptables.chains import DISPATCH
from kproxy.ruleset.iptables.desired import DesiredRuleset
from kproxy.ruleset.nftables.desired import DesiredTable
from kproxy.ruleset.nftables.table import Block, Body, Element
from kproxy.sources.kube import ENDPOINT_SLICES, SERVICE_CIDRS, SERVICES, node
from kproxy.sources.listing import Resource, list_resource
from kproxy.sources.listwatch import ListWatch
from kproxy.sources.position import Next
from kproxy.sources.timing import Timing
from kproxy.state.events import Deleted, Listed
from kproxy.state.objects import Kind
from kproxy.state.store import Store
from kproxy.values import NamespacedName
from recordings import DIRECTORY
from stubapi.manifests import service_cidr

RENDER = rule_templates()
CIRCUMSTANCES = Circumstances(a_view(), Settings())
DEEPEST = 5_000
LONGEST_SHOWN = 300

_TEXTS = st.text(max_size=6) | st.sampled_from(
    [
        "10.96.0.010",
        "::ffff:10.0.0.1",
        "fe80::1%eth0",
        "10.0.0.0/33",
        "None",
        "FQDN",
        "UDP",
        "Local",
        "x" * 300,
        "a\nb",
    ]
)
_PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXTS
    | st.sampled_from([0, -1, 70_000, 1 << 70])
)
_VALUES = st.recursive(
    _PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=6,
)
_DEPTHS = st.integers(1, DEEPEST) | st.sampled_from([950, 990, 1_000, DEEPEST])


@st.composite
def json_values(draw: st.DrawFn) -> bytes:
    """A value as JSON text; every third one is nested deeply."""
    text = json.dumps(draw(_VALUES)).encode()
    if draw(st.integers(0, 2)):
        return text
    levels, (opened, closed) = draw(_DEPTHS), draw(st.sampled_from([(b"[", b"]"), (b'{"f:a":', b"}")]))
    return opened * levels + text + closed * levels


def places(thing: Any, *above: str | int) -> Iterator[tuple[str | int, ...]]:
    """Where a value stands in an object, the object itself first."""
    yield above
    inside = thing.items() if isinstance(thing, dict) else enumerate(thing) if isinstance(thing, list) else ()
    for key, inner in inside:
        yield from places(inner, *above, key)


_MARK = "the value goes here"


def mutated(thing: Any, place: tuple[str | int, ...], value: bytes) -> bytes:
    """The JSON of the object with this value in that place."""
    changed = json.loads(json.dumps({"": thing}))
    *way, last = ("", *place)
    inner = changed
    for key in way:
        inner = inner[key]
    inner[last] = _MARK
    whole = json.dumps(changed).encode()
    return whole[len(b'{"": ') : -1].replace(json.dumps(_MARK).encode(), value)


_CLUSTER = json.loads((DIRECTORY / "random" / "random-0005" / "objects.json").read_bytes())["items"]
RECORDED: Mapping[Resource, list[Any]] = {
    **{
        resource: [thing for thing in _CLUSTER if thing["kind"] == resource.kind]
        for resource in (SERVICES, ENDPOINT_SLICES, node("node-1"))
    },
    SERVICE_CIDRS: [service_cidr("kubernetes", "10.96.0.0/12", "fd00:96::/112")],
}
"""As an API server returned them."""


class Mutation:
    """An object of a list, by its place, and its JSON with one value changed."""

    def __init__(self, resource: Resource, at: int, raw: bytes) -> None:
        self.resource = resource
        self.at = at
        self.raw = raw

    def __repr__(self) -> str:
        shown = self.raw if len(self.raw) < LONGEST_SHOWN else self.raw[:LONGEST_SHOWN] + b"..."
        return f"Mutation({self.resource.name}, {self.at}, {len(self.raw)} bytes: {shown!r})"

    @property
    def touched(self) -> set[NamespacedName]:
        """The Services whose rules may rest on the object, as it was and as it is.

        A mutated name may be that of another object, and then this is the newest version of that object.
        """
        owners = _owners(self.resource, RECORDED[self.resource][self.at])
        try:
            return owners | _owners(self.resource, json.loads(self.raw))
        except (RecursionError, LookupError, TypeError, AttributeError):
            return owners


def _owners(resource: Resource, thing: Any) -> set[NamespacedName]:
    metadata = thing["metadata"]
    by_label = resource is ENDPOINT_SLICES
    name = metadata["labels"]["kubernetes.io/service-name"] if by_label else metadata["name"]
    return {NamespacedName(metadata.get("namespace", ""), name)}


@st.composite
def mutations(draw: st.DrawFn) -> Mutation:
    resource = draw(st.sampled_from(list(RECORDED)))
    at = draw(st.integers(0, len(RECORDED[resource]) - 1))
    thing = RECORDED[resource][at]
    place = draw(st.sampled_from(list(places(thing))))
    if place and isinstance(place[-1], str) and draw(st.booleans()):
        place = (*place[:-1], draw(st.sampled_from(["managedFields", "labels", "spec", "hints", "nodePort"])))
    return Mutation(resource, at, mutated(thing, place, draw(json_values())))


def listed(resource: Resource, items: list[bytes]) -> Listed:
    kind = f"{resource.kind}List".encode()
    page = b'{"kind":"' + kind + b'","metadata":{"resourceVersion":"9"},"items":[' + b",".join(items) + b"]}"
    found, version = list_resource(lambda _: answer(page), resource, 500)
    assert "9" == version
    return found


@cache
def as_recorded(resource: Resource) -> tuple[bytes, ...]:
    return tuple(json.dumps(item).encode() for item in RECORDED[resource])


@cache
def listed_without(resource: Resource, left_out: int | None) -> Listed:
    """The recorded list, without the object in that place of it."""
    return listed(resource, [item for place, item in enumerate(as_recorded(resource)) if place != left_out])


def without(resource: Resource, at: int) -> Store:
    """The known state if an object is not there."""
    others = Store()
    for each in RECORDED:
        others.apply(listed_without(each, at if each is resource else None))
    return others


class Programmed(NamedTuple):
    """The rules of both modes for a known state."""

    chains: Mapping[Chain, str]
    elements: frozenset[Element]
    blocks: Mapping[Block, Body]


def programmed(store: Store, keys: Iterable[NamespacedName]) -> Programmed:
    ruleset, table = DesiredRuleset(RENDER), DesiredTable(RENDER, CIRCUMSTANCES)
    ruleset.update(store, keys, CIRCUMSTANCES)
    table.update(store, keys, CIRCUMSTANCES)
    return Programmed(ruleset.chains, frozenset(table.elements()), table.blocks)


@cache
def programmed_without(resource: Resource, at: int, apart: frozenset[NamespacedName]) -> Programmed:
    """The rules of these Services alone, if an object is not there."""
    others = without(resource, at)
    for key in others.services.keys() - apart:
        others.apply(Deleted(Kind.SERVICE, key))
    return programmed(others, apart)


def assert_others_are_programmed(store: Store, mutation: Mutation) -> None:
    """Each rule that the others alone would have is there, in both modes."""
    others = without(mutation.resource, mutation.at)
    keys = others.services.keys() - mutation.touched
    for key in keys:
        assert others.services[key] == store.services[key]
        assert others.slices_of(key) == tuple(
            each for each in store.slices_of(key) if each in others.slices_of(key)
        )
    apart = frozenset(key for key in keys if others.slices_of(key) == store.slices_of(key))
    assert len(keys) - 1 <= len(apart)  # the mutated slice may have moved to one other Service
    wanted = programmed_without(mutation.resource, mutation.at, apart)
    found = programmed(store, store.services)
    for chain, rules in wanted.chains.items():
        if chain in DISPATCH:
            assert set(rules.splitlines()) <= set(found.chains[chain].splitlines())
        else:
            assert rules == found.chains[chain]
    assert wanted.elements <= found.elements
    assert wanted.blocks.items() <= found.blocks.items()


DEEP = b'{"metadata":{"name":"deep","managedFields":' + b"[" * DEEPEST + b"]" * DEEPEST + b"}}"


@pytest.mark.long
@settings(max_examples=1_000)
@given(mutations())
@example(Mutation(SERVICES, 0, DEEP))
@example(Mutation(ENDPOINT_SLICES, 0, DEEP))
@example(Mutation(SERVICES, 0, b"[" * DEEPEST + b"]" * DEEPEST))
def test_one_bad_object_of_a_list_costs_only_itself(mutation: Mutation) -> None:
    store = Store()
    for each in RECORDED:
        if each is mutation.resource:
            items = [*as_recorded(each)]
            items[mutation.at] = mutation.raw
            store.apply(listed(each, items))
        else:
            store.apply(listed_without(each, None))
    event(f"{mutation.resource.name}: {len(store.rejections)} in quarantine")
    assert_others_are_programmed(store, mutation)


class Watched:
    """A watch whose lines are handed to the loop one by one."""

    def __init__(self, resource: Resource, store: Store) -> None:
        self.relists = 0
        self.loop = ListWatch(
            resource, lambda: cast("Any", self), store.apply, Timing(uniform=lambda low, _: low)
        )

    def take(self, line: bytes) -> None:
        answers = iter([line])
        self.loop._asker.get = lambda *_: answer(b"".join(answers) + b"\n")  # type: ignore[method-assign] # noqa: SLF001
        self.loop._position.listed("9")  # noqa: SLF001
        with suppress(ApiFailed):
            self.loop._watch()  # noqa: SLF001
        self.relists += self.loop._position.next is not Next.WATCH  # noqa: SLF001


@pytest.mark.long
@settings(max_examples=1_000)
@given(mutations(), st.sampled_from([b"ADDED", b"MODIFIED", b"DELETED", b"BOOKMARK"]))
@example(Mutation(SERVICES, 0, DEEP), b"MODIFIED")
@example(Mutation(ENDPOINT_SLICES, 0, DEEP), b"ADDED")
def test_one_bad_watch_event_costs_only_its_object(mutation: Mutation, verb: bytes) -> None:
    store = Store()
    for each in RECORDED:
        store.apply(listed_without(each, None))
    watched = Watched(mutation.resource, store)
    watched.take(b'{"type":"%s","object":%s}' % (verb, mutation.raw))
    event(f"{mutation.resource.name}: {'listed again' if watched.relists else 'watched on'}")
    assert_others_are_programmed(store, mutation)


def test_recorded_lists_hold_others_to_be_programmed() -> None:
    store = without(SERVICES, 0)
    assert 4 <= len(store.services)
    assert [] == store.rejections
    assert any(store.slices_of(key) for key in store.services)
