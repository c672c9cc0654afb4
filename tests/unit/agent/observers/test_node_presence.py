"""A Node that does not exist is told once, with the names that may have been meant."""

import time
from collections.abc import Callable, Collection

import pytest

from facts import a_node
from kproxy.agent.observers.node_presence import Presence
from kproxy.errors import ApiFailed
from kproxy.state.events import Changed, Deleted, Event, Listed, Refused, Rejection
from kproxy.state.objects import Kind, Node
from kproxy.values import NamespacedName

BOUND_S = 10.0
NAME = "node-1"
KEY = NamespacedName("", NAME)
REFUSED = Rejection("nodes", "Node", NAME, "spec", "is wrong", KEY)


class World:
    """A Presence and what it complained about; `others` None stands for a directory."""

    def __init__(self, others: Callable[[], Collection[str]] | None) -> None:
        self.complaints: list[str] = []
        self.presence = Presence(NAME, self.complaints.append, others)

    def complaint(self) -> str:
        deadline = time.monotonic() + BOUND_S
        while not self.complaints and time.monotonic() < deadline:
            time.sleep(0.001)
        (complaint,) = self.complaints
        assert (complaint,) == self.presence.missing()
        return complaint


def nodes(*names: str) -> Listed:
    return Listed(Kind.NODE, tuple(Node(key=NamespacedName("", name)) for name in names))


@pytest.mark.parametrize(
    ("others", "hint"),
    [
        (["node-2", "master"], ", but 'node-2' does;"),
        (["node-2", "node-3", "node-1.example.internal"], ", but 'node-1.example.internal' does;"),
        (["node-11", "node-10"], ", but 'node-11' and 'node-10' do;"),
        (["alpha", "beta", "gamma", "delta", "zeta"], "; there are 'alpha', 'beta', 'delta' and 2 more;"),
        ([], ";"),
    ],
)
def test_missing_node_is_told_with_a_near_name(others: list[str], hint: str) -> None:
    worlds = [(World(lambda: others), nodes())]
    if others:
        worlds.append((World(None), nodes(*others)))
    for world, event in worlds:
        world.presence.stored(event)
        said = world.complaint().replace("; every endpoint", ";; every endpoint")
        assert f"the Node '{NAME}' does not exist{hint}" in said
        assert "--hostname-override" in said


def test_directory_without_any_node_misses_none() -> None:
    world = World(None)
    world.presence.stored(nodes())
    assert ((), []) == (world.presence.missing(), world.complaints)


def test_server_that_does_not_tell_other_names_is_no_reason_to_say_nothing() -> None:
    def refuse() -> Collection[str]:
        raise ApiFailed("we may not list nodes", status=403)

    world = World(refuse)
    world.presence.stored(nodes())
    assert "does not exist; every endpoint" in world.complaint()


@pytest.mark.parametrize(
    "event", [Changed(a_node()), nodes(NAME), Listed(Kind.NODE, (), (REFUSED,)), Refused(Kind.NODE, REFUSED)]
)
def test_node_that_comes_or_is_only_refused_is_there(event: Event) -> None:
    world = World(lambda: ())
    world.presence.stored(nodes())
    world.complaint()
    world.presence.stored(event)
    assert () == world.presence.missing()


def test_node_that_stays_away_is_told_once_and_one_that_goes_again() -> None:
    world = World(lambda: ())
    for _ in range(3):
        world.presence.stored(nodes())
    world.complaint()
    world.presence.stored(nodes(NAME))
    world.presence.stored(Deleted(Kind.NODE, KEY))
    deadline = time.monotonic() + BOUND_S
    while len(world.complaints) < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert 2 == len(world.complaints)


def test_changes_of_other_kinds_say_nothing_of_the_node() -> None:
    world = World(lambda: ())
    world.presence.stored(Listed(Kind.SERVICE, ()))
    world.presence.stored(Deleted(Kind.NODE, NamespacedName("", "node-2")))
    assert () == world.presence.missing()
