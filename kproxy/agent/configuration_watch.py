"""Ends the agent when its configuration file changes, so that it is started again with the new configuration."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from kproxy.threads import Need, SupervisedThread

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0


class ConfigurationFile(NamedTuple):
    """`text` is the content from which the configuration was read."""

    path: Path
    text: bytes


class ConfigurationWatch:
    """Calls `changed` once when the file has another content. A file that is missing or empty is no change.

    A ConfigMap is mounted as a link that is replaced, so the file may be missing for a moment. An editor may truncate
    the file before it writes.
    """

    def __init__(self, file: ConfigurationFile, changed: Callable[[], None]) -> None:
        self._file = file
        self._changed = changed
        self._stopping = threading.Event()
        self._thread = SupervisedThread("watch-configuration", self._watch, Need.NODE)
        self.has_changed = False

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.end()

    def _watch(self) -> None:
        while not self._stopping.wait(_LOOK_EVERY_S):
            if self._look() not in (b"", self._file.text):
                self.has_changed = True
                self._changed()
                return

    def _look(self) -> bytes:
        try:
            return self._file.path.read_bytes()
        except OSError:
            return b""
