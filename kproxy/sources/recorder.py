"""Posts Events on the Node and on Services to the cluster, in the background."""

import json
import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote

from kproxy.client.connection import Connection
from kproxy.errors import ApiFailed, KproxyError
from kproxy.threads import KeptThread, Need, log_defect
from kproxy.values import NamespacedName

_log = logging.getLogger(__name__)

_CONTROLLER = "kube-proxy"
_MOST_WAITING = 64
_REPEAT_AFTER_S = 300.0
_PAUSE_S = 1.0
_TRIES = 3
_TIMEOUT_S = 10.0
_LONGEST_NOTE = 1024
"""Characters, the API server's limit (events.k8s.io/v1)."""


class ClusterEvent(NamedTuple):
    """One Event to post. It concerns the object of this `kind` and name `about`, or the node if `about` is None.

    An Event about a cluster-wide object is in the namespace `default`.
    """

    reason: str
    action: str
    note: str = ""
    about: NamespacedName | None = None
    warning: bool = True
    kind: str = "Service"


_STOP_WITHIN_S = 1.0
"""Seconds. An agent ends within three seconds after the request to end, whatever the server does."""


class EventRecorder:
    """Posts Events in a thread of its own, from `start` to `stop`. `record` never blocks.

    It posts at most one Event per second, and one reason for one object once in five minutes. An Event is dropped after
    three failed tries, or if 64 others are waiting: Events are for people, and no rule depends on them.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        node_name: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause_s: float = _PAUSE_S,
    ) -> None:
        self._connect = connect
        self._node_name = node_name
        self._clock = clock
        self._pause_s = pause_s
        self._waiting: queue.Queue[ClusterEvent | None] = queue.Queue(_MOST_WAITING)
        self._told: dict[tuple[str, str, NamespacedName | None], float] = {}
        self._stopping = threading.Event()
        self._ended_at = 0.0
        self._thread = KeptThread("events", self._run, Need.REPORTS)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Post the waiting Events, and then no more. Returns at once."""
        if not self._stopping.is_set():
            self._ended_at = time.monotonic()
        self._stopping.set()
        with suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._thread.end()

    def stop(self, within_s: float = _STOP_WITHIN_S) -> None:
        """Call `end`, and wait for the thread until `within_s` seconds after the first call of `end`."""
        self.end()
        self._thread.join(max(0.0, self._ended_at + within_s - time.monotonic()))

    def record(self, event: ClusterEvent) -> bool:
        """Queue an Event, from any thread; returns at once.

        False if too many others wait, so that this Event is dropped.
        """
        try:
            self._waiting.put_nowait(event)
        except queue.Full:
            return False
        return True

    @property
    def has_waiting(self) -> bool:
        return not self._waiting.empty()

    def post_next(self) -> bool:
        """Wait for the next Event and post it. False at the end."""
        event = self._waiting.get()
        if event is None:
            return False
        if not self._is_repeated(event):
            self._post(event)
            self._stopping.wait(self._pause_s)
        return True

    def _run(self) -> None:
        going_on = True
        while going_on:
            try:
                going_on = self.post_next()
            except Exception:  # noqa: BLE001 # a defect costs one Event, and not the Events after it
                log_defect(_log, "a defect in kproxy: an Event is not posted")

    def _is_repeated(self, event: ClusterEvent) -> bool:
        now = self._clock()
        self._told = {what: at for what, at in self._told.items() if now - at < _REPEAT_AFTER_S}
        what = event.reason, event.kind, event.about
        if what in self._told:
            return True
        self._told[what] = now
        return False

    def _post(self, event: ClusterEvent) -> None:
        namespace = (event.about.namespace if event.about else "") or "default"
        body = json.dumps(self._event(event, namespace)).encode()
        for attempt in range(1, _TRIES + 1):
            try:
                connection = self._connect()
                connection.wait = self._stopping.wait
                try:
                    connection.post(
                        f"/apis/events.k8s.io/v1/namespaces/{quote(namespace, safe='')}/events",
                        body,
                        read_timeout_s=_TIMEOUT_S,
                    )
                finally:
                    connection.close()
            except KproxyError as failed:
                refused = isinstance(failed, ApiFailed) and 400 <= failed.status < 500  # noqa: PLR2004 # HTTP
                if refused or attempt == _TRIES or self._stopping.wait(self._pause_s * attempt):
                    _log.info("the event %s is not posted: %s", event.reason, failed)
                    return
            else:
                return

    def _event(self, event: ClusterEvent, namespace: str) -> dict[str, object]:
        now = datetime.now(UTC)
        about = event.about or NamespacedName("", self._node_name)
        regarding = {"kind": event.kind if event.about else "Node"}
        if about.namespace:
            regarding["namespace"] = about.namespace
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": f"{about.name}.{time.time_ns():x}", "namespace": namespace},
            "eventTime": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "reportingController": _CONTROLLER,
            "reportingInstance": f"{_CONTROLLER}-{self._node_name}",
            "action": event.action,
            "reason": event.reason,
            # kube-proxy does not know UIDs either
            "regarding": {**regarding, "name": about.name, "uid": str(about)},
            "note": event.note[:_LONGEST_NOTE],
            "type": "Warning" if event.warning else "Normal",
        }
