"""Each thread of the agent meets one unexpected exception, and then continues its work."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from facts import NODE, WEB, a_node, a_service
from kproxy import threads
from kproxy.agent import loop
from kproxy.agent.configuration_watch import ConfigurationFile, ConfigurationWatch
from kproxy.agent.http import servers
from kproxy.agent.http.page import Page
from kproxy.agent.http.servers import Servers
from kproxy.agent.http.web import WebServer
from kproxy.agent.loop import Agent
from kproxy.agent.observers.health import Health
from kproxy.agent.observers.observer import Observer
from kproxy.agent.observers.udp_flows import FlowCleaner
from kproxy.agent.observers.udp_flows import _Work as Work
from kproxy.agent.proxy import Proxy, SyncReport
from kproxy.agent.schedule import Schedule
from kproxy.configuration.units import HealthzAddress
from kproxy.errors import KproxyError
from kproxy.kernel.programs import lock_wait as lockwait
from kproxy.kernel.programs.lock_wait import LockWait
from kproxy.model.settings import Settings
from kproxy.ruleset.inputs import Circumstances
from kproxy.ruleset.layout import AUTO
from kproxy.sources import contents, manifest_directory, manifest_file
from kproxy.sources.kube import SERVICES
from kproxy.sources.listwatch import ListWatch
from kproxy.sources.manifest_directory import ManifestDirectory
from kproxy.sources.recorder import ClusterEvent, EventRecorder
from kproxy.sources.timing import Timing
from kproxy.state.events import Changed, Event, Listed
from kproxy.state.objects import Kind
from kproxy.state.store import Store
from kproxy.threads import Need, lacking
from kproxy.values import Family, NamespacedName, Network

BOUND_S = 10.0

FAILURES = [MemoryError(), RecursionError(), SystemExit(1)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_SHORTEST_PAUSE_S", 0.01)


def eventually(holds: Callable[[], object]) -> bool:
    deadline = time.monotonic() + BOUND_S
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.002)
    return bool(holds())


class Once:
    """Replaces a function. The next call of it fails."""

    def __init__(self, real: Callable[..., Any], failure: BaseException) -> None:
        self.real = real
        self.failure: BaseException | None = failure
        self.has_failed = threading.Event()

    @property
    def method(self) -> Callable[..., Any]:
        """A method for a class, because a class binds only functions."""

        def stand_in(*arguments: Any, **named: Any) -> Any:
            return self(*arguments, **named)

        return stand_in

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        failure, self.failure = self.failure, None
        if failure:
            self.has_failed.set()
            raise failure
        return self.real(*arguments, **named)


@pytest.fixture(params=FAILURES, ids=repr)
def failure(request: pytest.FixtureRequest) -> BaseException:
    found: BaseException = request.param
    return found


SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec: {{clusterIP: {address}, ports: [{{port: 80}}]}}
"""


def names(events: Sequence[Event]) -> set[str]:
    lists = [one for one in events if isinstance(one, Listed) and one.kind is Kind.SERVICE]
    return {each.key.name for each in lists[-1].objects} if lists else set()


@pytest.mark.parametrize(
    "place",
    [
        (ManifestDirectory, "_signatures"),
        (ManifestDirectory, "_tell"),
        (manifest_file, "text_of"),
        (manifest_file, "contents_of"),
        (manifest_directory, "merged"),
    ],
    ids=lambda place: place[1],
)
def test_manifests_are_still_read_after_a_failure_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[Any, str], failure: BaseException
) -> None:
    monkeypatch.setattr(manifest_file, "_SHORTEST_PAUSE_S", 0.01)
    (tmp_path / "a.yaml").write_text(SERVICE.format(name="a", address="10.96.0.1"))
    events: list[Event] = []
    directory = ManifestDirectory(tmp_path, events.append)
    directory.start()
    try:
        owner, name = place
        once = Once(getattr(owner, name), failure)
        monkeypatch.setattr(owner, name, once.method)
        (tmp_path / "b.yaml").write_text(SERVICE.format(name="b", address="10.96.0.2"))
        assert eventually(lambda: {"a", "b"} == names(events))
        assert once.has_failed.is_set()
        (tmp_path / "c.yaml").write_text(SERVICE.format(name="c", address="10.96.0.3"))
        assert eventually(lambda: {"a", "b", "c"} == names(events))
    finally:
        directory.stop()


def test_file_that_fails_each_time_affects_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest_file, "_SHORTEST_PAUSE_S", 0.01)
    real = contents.contents_of

    def contents_of(place: str, text: bytes) -> Any:
        if "bad" in place:
            raise MemoryError
        return real(place, text)

    monkeypatch.setattr(manifest_file, "contents_of", contents_of)
    (tmp_path / "bad.yaml").write_text("{}")
    events: list[Event] = []
    directory = ManifestDirectory(tmp_path, events.append)
    directory.start()
    try:
        (tmp_path / "good.yaml").write_text(SERVICE.format(name="good", address="10.96.0.1"))
        assert eventually(lambda: {"good"} == names(events))
        assert () == lacking(Need.RULES)
        newest = [one for one in events if isinstance(one, Listed) and one.kind is Kind.SERVICE][-1]
        (rejection,) = newest.rejections
        assert "a defect in kproxy: MemoryError" in rejection.reason
    finally:
        directory.stop()


def no_server(*_: object, **__: object) -> None:
    raise KproxyError("no server here")


def test_watch_of_the_cluster_continues_after_a_failure(failure: BaseException) -> None:
    tried: list[None] = []

    def connect() -> Any:
        tried.append(None)
        raise failure if len(tried) == 1 else KproxyError("no server here")

    class Connection:
        get = Once(no_server, failure)

        def close(self) -> None:
            """A test connection has nothing to close."""

    timing = Timing(backoff_base_s=0.001, backoff_cap_s=0.002)
    watch = ListWatch(SERVICES, connect, lambda _: None, timing)
    watch.start(Connection())  # type: ignore[arg-type] # only the used part of a connection
    try:
        assert eventually(lambda: len(tried) > 3)
        assert eventually(lambda: lacking(Need.RULES) == ())
    finally:
        watch.stop()
        watch.join(BOUND_S)


def test_watch_whose_recovery_fails_continues(
    monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    once = Once(ListWatch._recover, failure)  # noqa: SLF001 # the only place without a handler
    monkeypatch.setattr(ListWatch, "_recover", once.method)
    tried: list[None] = []

    def connect() -> Any:
        tried.append(None)
        raise KproxyError("no server here")

    watch = ListWatch(SERVICES, connect, lambda _: None, Timing(backoff_base_s=0.001, backoff_cap_s=0.002))
    watch.start(None)  # type: ignore[arg-type] # the loop asks `connect` for a connection then
    try:
        assert once.has_failed.wait(BOUND_S)
        assert eventually(lambda: len(tried) > 3)
    finally:
        watch.stop()
        watch.join(BOUND_S)


def test_events_are_still_posted_after_a_failure(failure: BaseException) -> None:
    posted: list[str] = []

    class Connection:
        def post(self, path: str, *_: object, **__: object) -> None:
            posted.append(path)

        def close(self) -> None:
            """A test connection has nothing to close."""

    connect = Once(Connection, failure)
    recorder = EventRecorder(connect, NODE, pause_s=0.0)
    recorder.start()
    recorder.record(ClusterEvent("Starting", "StartKubeProxy"))
    assert connect.has_failed.wait(BOUND_S)
    recorder.record(ClusterEvent("Failed", "Listen"))
    assert eventually(lambda: bool(posted))
    recorder.stop(BOUND_S)


def test_flows_are_checked_again_after_a_failure(
    monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    monkeypatch.setattr("kproxy.agent.observers.udp_flows._RETRY_S", 0.01)
    looked: list[Family] = []
    cleaner = FlowCleaner(lambda family, *_: looked.append(family), lambda: ())
    once = Once(lambda *_: 0, failure)
    monkeypatch.setattr(FlowCleaner, "_reconcile", once.method)
    store = Store()
    store.apply(Changed(a_service(ports=())))
    cleaner.start()
    try:
        hand_over = cleaner._hand_over  # noqa: SLF001 # as after a sync that changed frontends
        hand_over(Family.IPV4, Work())
        assert once.has_failed.wait(BOUND_S)
        if isinstance(failure, SystemExit):
            hand_over(Family.IPV4, Work())
        assert eventually(lambda: [Family.IPV4] == looked)
    finally:
        cleaner.stop()


def ask(port: int) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("place", ["_accept", "_cut_late", "_answer_or_keep"])
def test_web_server_still_answers_after_a_failure(
    monkeypatch: pytest.MonkeyPatch, place: str, failure: BaseException
) -> None:
    monkeypatch.setattr("kproxy.agent.http.web._LOOK_EVERY_S", 0.01)
    web = WebServer()
    once = Once(getattr(WebServer, place), failure)
    monkeypatch.setattr(WebServer, place, once.method)
    port = web.listen("127.0.0.1", 0, lambda _: Page("here")).getsockname()[1]
    web.start()
    try:
        with socket.create_connection(("127.0.0.1", port), 10):
            assert once.has_failed.wait(BOUND_S)
            assert 200 == ask(port)
        assert () == lacking(Need.NODE)
    finally:
        web.stop()


def test_page_that_fails_affects_one_client(failure: BaseException) -> None:
    web = WebServer()
    once = Once(lambda _: Page("here"), failure)
    port = web.listen("127.0.0.1", 0, once).getsockname()[1]
    web.start()
    try:
        try:
            assert 500 == ask(port)
        except ConnectionError:
            assert isinstance(failure, SystemExit)
        assert 200 == ask(port)
    finally:
        web.stop()


def test_server_whose_address_was_taken_is_opened_after_a_failure(
    monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    monkeypatch.setattr(servers, "_RETRY_S", 0.01)
    web = WebServer()
    web.start()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        opening = Servers(web, hard_fail=False, complain=lambda *_: None)
        opening.open("health", HealthzAddress(f"127.0.0.1:{port}"), lambda _: Page("here"), failure="Failed")
        once = Once(Servers._listens, failure)  # noqa: SLF001 # the function that the thread calls
        monkeypatch.setattr(Servers, "_listens", once.method)
        assert once.has_failed.wait(BOUND_S)
    try:
        assert eventually(lambda: is_open(port))
    finally:
        opening.stop()
        web.stop()


def is_open(port: int) -> bool:
    try:
        return ask(port) == 200
    except OSError:
        return False


def test_wait_for_the_lock_is_still_measured_after_a_failure(
    monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    once = Once(lambda: (os.getpid(),), failure)
    monkeypatch.setattr("kproxy.process.running", once.method)
    looks = 0

    def is_waiting(_: int) -> bool:
        nonlocal looks
        looks += 1
        return True

    monkeypatch.setattr(lockwait, "_is_waiting", is_waiting)
    wait = LockWait()
    with wait:
        assert once.has_failed.wait(BOUND_S)
        assert eventually(lambda: looks >= 2), "the first one is added up by the second"
    assert wait.waited_s > 0.0


def test_configuration_is_still_watched_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    monkeypatch.setattr("kproxy.agent.configuration_watch._LOOK_EVERY_S", 0.01)
    file = tmp_path / "config.yaml"
    file.write_text("a")
    changed = threading.Event()
    once = Once(ConfigurationWatch._look, failure)  # noqa: SLF001 # the function that the thread calls
    monkeypatch.setattr(ConfigurationWatch, "_look", once.method)
    watch = ConfigurationWatch(ConfigurationFile(file, b"a"), changed.set)
    watch.start()
    assert once.has_failed.wait(BOUND_S)
    file.write_text("b")
    assert changed.wait(BOUND_S)
    watch.stop()


ENDING = """
import sys, time
from kproxy import threads
from kproxy.agent import shutdown as ending
threads._SHORTEST_PAUSE_S = 0.01
ending._PATIENCE_S = ending._LONGEST_S = 0.2
calls = []
def stop():
    calls.append(None)
    if len(calls) == 1:
        raise MemoryError
ending.end_on_signals(stop)
print("ready", flush=True)
time.sleep(60)
"""


def test_process_whose_stop_fails_still_ends() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ENDING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout is not None
            assert "ready\n" == running.stdout.readline()
            running.send_signal(signal.SIGTERM)
            _, complaint = running.communicate(timeout=30)
        finally:
            running.kill()
    assert 1 == running.returncode
    assert "signals ended unexpectedly" in complaint


class Remembering:
    """A proxy that notes the Services of each sync."""

    family = Family.IPV4

    def __init__(self) -> None:
        self.told: list[set[NamespacedName]] = []
        self.synced = threading.Event()
        self.store: Store | None = None

    def sync(
        self,
        store: Store,
        dirty: AbstractSet[NamespacedName],
        circumstances: Circumstances,
        *,
        verify: bool,
    ) -> SyncReport:
        del circumstances, verify
        self.told.append(set(dirty))
        self.store = store
        if store.services:
            self.synced.set()
        return SyncReport(1, 0, 0, 0, 0.0, 0.0)

    def record(self) -> None:
        """This proxy records nothing."""


class Running:
    """An Agent whose loop runs in a thread of the test's own."""

    def __init__(self, proxy: Proxy, *observers: Observer) -> None:
        self.failed: list[KproxyError] = []
        self.agent = Agent(
            [proxy],
            Schedule(0.0, 0.05),
            Settings(),
            node_name=NODE,
            kinds=(Kind.SERVICE, Kind.NODE),
            layout=AUTO,
            read_addresses=lambda: (),
            observers=observers,
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.agent.run()
        except KproxyError as failed:
            self.failed.append(failed)

    def ends(self) -> bool:
        self._thread.join(BOUND_S)
        return not self._thread.is_alive()

    def stop(self) -> None:
        self.agent.stop()
        assert self.ends()


@pytest.fixture
def proxy() -> Remembering:
    return Remembering()


@pytest.fixture
def running(proxy: Remembering) -> Iterator[Callable[..., Running]]:
    made: list[Running] = []

    def start(*observers: Observer) -> Running:
        made.append(Running(proxy, *observers))
        return made[-1]

    yield start
    for each in made:
        each.stop()


EVENTS = (Listed(Kind.NODE, (a_node(),)), Listed(Kind.SERVICE, ()), Changed(a_service()))


@pytest.mark.parametrize(
    ("owner", "place"),
    [
        (Store, "apply"),
        (Store, "take_dirty"),
        (Store, "has_listed"),
        (loop, "view_node"),
        (loop, "tell_all"),
        (loop, "SyncOutcome"),
        (Schedule, "began"),
        (Schedule, "request"),
        (Schedule, "wait_s"),
    ],
)
def test_main_loop_loses_no_change_after_a_failure_anywhere(
    proxy: Remembering,
    running: Callable[..., Running],
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    place: str,
    failure: BaseException,
) -> None:
    once = Once(getattr(owner, place), failure)
    monkeypatch.setattr(owner, place, once.method)
    seen = Seen()
    agent = running(seen).agent
    for event in EVENTS:
        agent.emit(event)
    assert once.has_failed.wait(BOUND_S)
    assert proxy.synced.wait(BOUND_S)
    assert eventually(lambda: WEB in set().union(*seen.dirty))
    assert WEB in set().union(*proxy.told)


class Seen(Observer):
    """Notes the Services of each sync."""

    def __init__(self) -> None:
        self.dirty: list[set[NamespacedName]] = []
        self.gone: list[Event] = []

    def synced(self, store: Store, dirty: Any, outcomes: Any) -> None:
        del store, outcomes
        self.dirty.append(set(dirty))

    def lost(self, event: Event) -> None:
        self.gone.append(event)


def test_observer_that_fails_affects_neither_rules_nor_other_observers(
    running: Callable[..., Running], proxy: Remembering, failure: BaseException
) -> None:
    class Broken(Observer):
        stored = Once(lambda _: None, failure)
        synced = Once(lambda *_: None, failure)

    seen = Seen()
    agent = running(Broken(), seen).agent
    for event in EVENTS:
        agent.emit(event)
    assert proxy.synced.wait(BOUND_S)
    assert eventually(lambda: WEB in set().union(*seen.dirty))


def test_event_that_fails_each_time_is_left_out_and_makes_the_agent_not_ready(
    running: Callable[..., Running], proxy: Remembering, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Store.apply

    def apply(store: Store, event: Event) -> None:
        if isinstance(event, Changed) and event.object.key.name == "poison":
            raise MemoryError
        real(store, event)

    monkeypatch.setattr(Store, "apply", apply)
    seen, health = Seen(), Health([Family.IPV4], NODE, 60.0)
    agent = running(seen, health).agent
    poison = Changed(a_service("poison"))
    for event in (*EVENTS[:2], poison, EVENTS[2]):
        agent.emit(event)
    assert proxy.synced.wait(BOUND_S)
    assert [poison] == seen.gone
    (reason,) = health.condition().unready
    assert "a change of Service could not be taken in" in reason
    agent.emit(Listed(Kind.SERVICE, (a_service(),)))
    assert eventually(lambda: health.condition().unready == ())


def test_main_loop_that_keeps_failing_ends_the_agent_with_a_reason(
    proxy: Remembering, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Store) -> set[NamespacedName]:
        raise MemoryError

    monkeypatch.setattr(Store, "take_dirty", fail)
    started = Running(proxy)
    for event in EVENTS:
        started.agent.emit(event)
    assert started.ends()
    (reason,) = map(str, started.failed)
    assert "the main loop ended unexpectedly 7 times in a row, the last time with MemoryError" in reason
    assert any(sentence.startswith("the main loop does not run") for sentence in lacking(Need.RULES))
    started.agent.stop()
    assert () == lacking(Need.RULES)


@pytest.mark.parametrize("failure", [MemoryError(), OSError("no /proc here")], ids=repr)
def test_addresses_that_cannot_be_read_for_any_reason_affect_no_rules(
    proxy: Remembering, failure: Exception
) -> None:
    agent = Agent(
        [proxy],
        Schedule(0.0, 0.05),
        Settings(node_port_networks=(Network("127.0.0.0/8"),)),
        node_name=NODE,
        kinds=(),
        layout=AUTO,
        read_addresses=Once(lambda: (), failure),
    )
    agent.sync()
    assert [set()] == proxy.told
