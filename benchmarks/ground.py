"""A network namespace with a cluster's rules in its kernel, and the proxy that wrote them."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from benchmarks.cluster import Entry, Size, filled_store, service_key
from benchmarks.sample import Sample, cpu_s
from benchmarks.stages import RENDER, RESTORE, WAIT, Stages
from benchmarks.subject import Baselines, Subject
from kproxy.agent.proxy import Proxy
from kproxy.kernel.netlink.chains import generation_by
from kproxy.kernel.netlink.nfnetlink import Netlink
from kproxy.kernel.node import memory
from kproxy.state.events import Event
from namespaces import fresh_namespace, inside

_LOCK = "XTABLES_LOCKFILE"


class Ground:
    """kproxy's own path in this process, from the Store to the kernel, in this thread's network namespace."""

    def __init__(self, subject: Subject, size: Size, namespace: str, state: Path) -> None:
        self.subject = subject
        self.size = size
        self.namespace = namespace
        self._store = filled_store(size)
        self._state = state
        self._stages = Stages()
        self._circumstances = subject.circumstances
        self._proxy, self.close = self._new_proxy()
        self.first = self.sync(verify=True)

    def restart(self) -> Sample:
        """Another proxy takes over, which knows only the files that the one before left in its directory."""
        self.close()
        began, cpu_before = time.perf_counter(), cpu_s()
        self._proxy, self.close = self._new_proxy()
        self._stages.clear()
        return self._synced(began, cpu_before, verify=True)

    def sync(self, *events: Event, verify: bool = False) -> Sample:
        """One sync, timed from the moment when the events come in."""
        self._stages.clear()
        began, cpu_before = time.perf_counter(), cpu_s()
        for event in events:
            self._store.apply(event)
        return self._synced(began, cpu_before, verify=verify)

    def entry(self, number: int) -> Entry:
        """A Service as it is now."""
        key = service_key(number)
        (piece,) = self._store.slices_of(key)
        return Entry(self._store.services[key], piece)

    @cached_property
    def baselines(self) -> Baselines:
        return self.subject.baselines(self.size)

    def _new_proxy(self) -> tuple[Proxy, Callable[[], None]]:
        return self.subject.proxy(self._state, self._stages)

    def _synced(self, began: float, cpu_before: float, *, verify: bool) -> Sample:
        dirty = self._store.take_dirty()
        with memory.without_collection():  # as the agent's loop does it
            report = self._proxy.sync(self._store, dirty, self._circumstances, verify=verify)
        if report.error:
            raise report.error
        self._proxy.record()
        now, seconds = time.perf_counter(), self._stages.seconds
        in_kernel = self._stages.ended.get(RESTORE, now)
        stages_s = {
            "compute": report.compute_s - seconds[RENDER],
            RENDER: seconds[RENDER],
            "compare": in_kernel - began - report.compute_s - seconds[RESTORE] - seconds[WAIT],
            RESTORE: seconds[RESTORE],
            WAIT: seconds[WAIT],
            "record": now - in_kernel,
        }
        return Sample(
            in_kernel - began, cpu_s() - cpu_before, stages_s, self._stages.bytes, report.rules_written
        )


@contextmanager
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kproxy-bench-") as name:
        yield Path(name)


@contextmanager
def empty_kernel() -> Iterator[str]:
    """This thread in a network namespace of its own, which holds no rule; the namespace's name."""
    with fresh_namespace() as name, inside(name):
        yield name


def changed_from_now_on() -> Callable[[], bool]:
    """Whether any table of nftables in this thread's network namespace has changed since this call.

    One socket stays open: to close one waits for a grace period after a change, longer than the change took.
    """
    netlink = Netlink()
    seen = generation_by(netlink)
    return lambda: generation_by(netlink) != seen


@contextmanager
def own_lock() -> Iterator[None]:
    """Programs of iptables-legacy wait for each other in all namespaces; here they do not wait for those of others."""
    with directory() as place:
        os.environ[_LOCK] = str(place / "xtables.lock")
        try:
            yield
        finally:
            del os.environ[_LOCK]


@contextmanager
def synced(subject: Subject, size: Size) -> Iterator[Ground]:
    """The rules of a whole cluster are in the kernel; `first` has the time that this took."""
    with empty_kernel() as namespace, directory() as state:
        ground = Ground(subject, size, namespace, state)
        try:
            yield ground
        finally:
            ground.close()
