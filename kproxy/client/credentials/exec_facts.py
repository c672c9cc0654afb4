"""Runs of credential plugins and their certificates, for metrics (client-go plugin/pkg/client/auth/exec/metrics.go)."""

import threading
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple
from weakref import WeakKeyDictionary


class CallStatus(StrEnum):
    """The label `call_status` of rest_client_exec_plugin_call_total."""

    NO_ERROR = "no_error"
    EXECUTION_ERROR = "plugin_execution_error"
    NOT_FOUND = "plugin_not_found_error"


class Called(NamedTuple):
    """One attempt to run a plugin. `code` is its exit code: 1 if it could not be run, -1 if it was killed."""

    code: int
    status: CallStatus


class Rotated(NamedTuple):
    """A client certificate was replaced. `age_s` is the age of the old certificate in seconds, from its notBefore."""

    age_s: float


class Expires(NamedTuple):
    """The earliest end of the client certificates from plugins, in seconds since the epoch; None without a certificate.

    rest_client_exec_plugin_ttl_seconds is this time minus the current time, and +Inf without a certificate.
    """

    at: float | None


Fact = Called | Rotated | Expires

_watchers: list[Callable[[Fact], None]] = []
_ends: WeakKeyDictionary[object, float] = WeakKeyDictionary()
_lock = threading.Lock()


def watch_plugins(note: Callable[[Fact], None]) -> Callable[[], None]:
    """Call `note` with each fact from now on, in the thread that causes it. Call the result to stop."""
    _watchers.append(note)
    return lambda: _watchers.remove(note)


def tell(fact: Fact) -> None:
    for note in tuple(_watchers):
        note(fact)


def tell_end(plugin: object, at: float | None) -> None:
    """Note when the certificate of this plugin ends; None if the plugin has no certificate."""
    with _lock:
        if at is None:
            _ends.pop(plugin, None)
        else:
            _ends[plugin] = at
        earliest = min(_ends.values(), default=None)
    tell(Expires(earliest))
