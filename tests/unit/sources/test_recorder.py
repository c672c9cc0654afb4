"""Events are posted in the background: not too many, none twice, and no caller waits for them."""

import json
import time
from collections.abc import Callable

import pytest

from kproxy.errors import ApiFailed
from kproxy.sources.recorder import ClusterEvent, EventRecorder
from kproxy.values import NamespacedName

BOUND_S = 10.0
WEB = NamespacedName("default", "web")


class Server:
    """Takes posts, as a Connection does. If `refusal` is set, it is raised instead."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, dict[str, object]]] = []
        self.refusal: Exception | None = None
        self.asked = 0

    def post(self, path: str, body: bytes, *, read_timeout_s: float) -> None:
        del read_timeout_s
        self.asked += 1
        if self.refusal:
            raise self.refusal
        self.taken.append((path, json.loads(body)))

    def close(self) -> None:
        """A test server has nothing to close."""


@pytest.fixture
def server() -> Server:
    return Server()


def recorder(server: Server, clock: Callable[[], float] = time.monotonic) -> EventRecorder:
    connect: Callable[[], object] = lambda: server  # noqa: E731 # only the used part of a connection
    return EventRecorder(connect, "node-1", clock=clock, pause_s=0.0)  # type: ignore[arg-type]


def reasons(server: Server) -> list[object]:
    return [event["reason"] for _, event in server.taken]


def test_event_is_posted_to_the_namespace_of_its_object(server: Server) -> None:
    recording = recorder(server)
    recording.start()
    recording.record(ClusterEvent("Starting", "StartKubeProxy", warning=False))
    recording.record(ClusterEvent("Failed", "Listen", "x" * 2000, NamespacedName("shop", "web")))
    recording.stop(BOUND_S)
    assert [
        "/apis/events.k8s.io/v1/namespaces/default/events",
        "/apis/events.k8s.io/v1/namespaces/shop/events",
    ] == [path for path, _ in server.taken]
    assert 1024 == len(str(server.taken[1][1]["note"]))


def test_equal_event_is_posted_again_only_after_five_minutes(server: Server) -> None:
    now = [0.0]
    recording = recorder(server, lambda: now[0])
    for at_s in (0.0, 299.0, 300.0):
        recording.record(ClusterEvent("Failed", "Listen", about=WEB))
        recording.record(ClusterEvent("Failed", "Listen", about=NamespacedName("default", f"other-{at_s}")))
        now[0] = at_s
        while recording.has_waiting:
            recording.post_next()
    assert 2 + 3 == len(server.taken)


def test_event_behind_too_many_others_is_dropped_and_never_blocks(server: Server) -> None:
    recording = recorder(server)
    for number in range(1000):
        recording.record(ClusterEvent("Failed", "Listen", about=NamespacedName("default", f"s{number}")))
    recording.start()
    recording.stop(BOUND_S)
    assert 1 <= len(server.taken) <= 64


@pytest.mark.parametrize(("status", "tries"), [(0, 3), (500, 3), (403, 1)])
def test_event_that_cannot_be_posted_is_abandoned(server: Server, status: int, tries: int) -> None:
    server.refusal = ApiFailed("refused", status=status)
    recording = recorder(server)
    recording.record(ClusterEvent("Starting", "StartKubeProxy"))
    recording.post_next()
    assert (tries, []) == (server.asked, server.taken)


def test_defect_loses_one_event_and_not_the_next_ones(server: Server) -> None:
    server.refusal = ValueError("a defect")
    recording = recorder(server)
    recording.start()
    recording.record(ClusterEvent("Starting", "StartKubeProxy"))
    deadline = time.monotonic() + BOUND_S
    while not server.asked and time.monotonic() < deadline:
        time.sleep(0.001)
    server.refusal = None
    recording.record(ClusterEvent("Failed", "Listen"))
    recording.stop(BOUND_S)
    assert ["Failed"] == reasons(server)
