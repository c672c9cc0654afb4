"""kproxy's own path in this process from the bytes of lists: decoding, the agent's loop with all observers, the kernel."""

import gc
import io
import logging
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import urllib3

from benchmarks.faults import PAGE_SIZE, Lists
from benchmarks.ground import directory, empty_kernel
from benchmarks.sample import Sample, cpu_s
from benchmarks.stages import RENDER, RESTORE, WAIT, Stages
from benchmarks.subject import Subject
from kproxy.agent.background import make_background, make_metrics
from kproxy.agent.http.page import Page
from kproxy.agent.loop import Agent
from kproxy.agent.observers.observer import Observer, SyncOutcome
from kproxy.agent.options import Options
from kproxy.agent.proxy import SyncReport
from kproxy.agent.schedule import Schedule
from kproxy.agent.watches import Watches
from kproxy.client.answer import Answer
from kproxy.configuration import Configuration, Mode
from kproxy.errors import ApiFailed
from kproxy.kernel.node.addresses import local_addresses
from kproxy.sources.kube import ENDPOINT_SLICES, SERVICE_CIDRS, SERVICES, node
from kproxy.sources.listing import list_resource
from kproxy.state.events import Deleted, Event
from kproxy.state.objects import Kind
from kproxy.state.store import Store
from kproxy.values import Family, NamespacedName

NODE = "node-1"
_NEVER_S = 1e9
_LONGEST_S = 900.0
_LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Listing(NamedTuple):
    """The cost of one list of everything: from the bytes until every observer is done, and the sync's part of it."""

    whole: Sample
    sync: Sample
    lines_logged: int


class _Finish(Observer):
    """Notes when all observers before it know of a sync, and how many events the sync had."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._taken = 0
        self._finished: queue.SimpleQueue[tuple[int, float, float, SyncReport | None]] = queue.SimpleQueue()

    def stored(self, event: Event) -> None:
        del event
        self._taken += 1

    def synced(
        self, store: Store, dirty: AbstractSet[NamespacedName], outcomes: Mapping[Family, SyncOutcome]
    ) -> None:
        del store, dirty
        report = outcomes[Family.IPV4].report
        self._finished.put((self._taken, time.perf_counter(), cpu_s(), report))

    def wait_for(self, taken: int) -> tuple[float, float, SyncReport]:
        """When the sync with this many events ended, the processor time at that moment, and its report."""
        while True:
            found, at, cpu, report = self._finished.get(timeout=_LONGEST_S)
            if report is None:
                raise RuntimeError(f"the sync failed:\n{self._log.read_text()[-2000:]}")
            if report.error:
                raise report.error
            if found >= taken:
                return at, cpu, report


class ListedAgent:
    """An agent that knows nothing yet, in a thread of its own, in this thread's network namespace."""

    def __init__(self, subject: Subject, state: Path, log: Path) -> None:
        self._stages = Stages()
        self._finish = _Finish(log)
        self._log = log
        self._emitted = 0
        self._resources = (SERVICES, ENDPOINT_SLICES, node(NODE), SERVICE_CIDRS)
        options = Options(configuration=Configuration(mode=Mode(subject.mode)), node_name=NODE)
        metrics = make_metrics(options.configuration, [Family.IPV4])
        self._background = make_background(
            options, [Family.IPV4], metrics, Watches(tuple), lambda _: True, None
        )
        self._background.start()
        self._made: queue.SimpleQueue[Agent] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(subject, state), name="agent", daemon=True)
        self._thread.start()
        self._agent = self._made.get(timeout=_LONGEST_S)

    @property
    def quarantine(self) -> Page:
        return self._background.quarantine.page()

    def _run(self, subject: Subject, state: Path) -> None:
        """Runs in the agent's thread, to which its record of the kernel belongs."""
        proxy, close = subject.proxy(state, self._stages)
        agent = Agent(
            [proxy],
            Schedule(0.0, _NEVER_S),
            subject.circumstances.settings,
            node_name=NODE,
            kinds=[resource.kind for resource in self._resources],
            layout=subject.circumstances.layout,
            read_addresses=local_addresses,
            observers=(*self._background.observers, self._finish),
        )
        self._made.put(agent)
        agent.run()
        close()

    def list(self, lists: Lists) -> Listing:
        """All lists come in, and the agent has finished the sync that follows."""
        self._settle()
        gc.collect()
        self._stages.clear()
        lines_before = self._lines_logged()
        began, cpu_before = time.perf_counter(), cpu_s()
        listed = [
            list_resource(partial(_answer, lists[resource.kind]), resource, PAGE_SIZE)[0]
            for resource in self._resources
        ]
        known, cpu_known = time.perf_counter(), cpu_s()
        ended, cpu_ended, report = self._synced(*listed)
        stages_s = self._stages_s(known, ended, report)
        rules = report.rules_written
        return Listing(
            Sample(ended - began, cpu_ended - cpu_before, {"list": known - began, **stages_s}, 0, rules),
            Sample(ended - known, cpu_ended - cpu_known, stages_s, 0, rules),
            self._lines_logged() - lines_before,
        )

    def _settle(self) -> None:
        """Let the agent record its sync before the next one, in which nothing changes."""
        if self._emitted:
            self._synced(Deleted(Kind.POD, NamespacedName("default", "nobody")))

    def _synced(self, *events: Event) -> tuple[float, float, SyncReport]:
        for event in events:
            self._agent.emit(event)
        self._emitted += len(events)
        return self._finish.wait_for(self._emitted)

    def close(self) -> None:
        self._agent.stop()
        self._thread.join()
        self._background.stop()

    def _stages_s(self, known: float, ended: float, report: SyncReport) -> dict[str, float]:
        seconds = self._stages.seconds
        in_kernel = self._stages.ended.get(RESTORE, ended)
        compute_s = report.compute_s - seconds[RENDER]
        return {
            "compute": compute_s,
            RENDER: seconds[RENDER],
            "compare": in_kernel - known - report.compute_s - seconds[RESTORE] - seconds[WAIT],
            RESTORE: seconds[RESTORE],
            WAIT: seconds[WAIT],
            "tell": ended - in_kernel,
        }

    def _lines_logged(self) -> int:
        return self._log.read_bytes().count(b"\n")


def _answer(pages: list[bytes], query: Mapping[str, str]) -> Answer:
    page = pages[int(query.get("continue") or 0) // PAGE_SIZE]
    response = urllib3.HTTPResponse(io.BytesIO(page), status=200, preload_content=False)
    return Answer(response, lambda error: ApiFailed(str(error)))


@contextmanager
def listed_agent(subject: Subject) -> Iterator[ListedAgent]:
    """An agent with an empty kernel; it logs into a file, as an agent without -v does."""
    with empty_kernel(), directory() as state, _logging_into(state / "log"):
        agent = ListedAgent(subject, state, state / "log")
        try:
            yield agent
        finally:
            agent.close()


@contextmanager
def _logging_into(path: Path) -> Iterator[None]:
    log = logging.getLogger("kproxy")
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter(_LINE))
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(handler)
        handler.close()
