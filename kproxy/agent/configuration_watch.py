"""Ends the agent when its configuration file changes, so that what started it starts it with the new one."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from kproxy.threads import KeptThread, Need

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0


class ConfigurationFile(NamedTuple):
    """`text` is what was read when the configuration was."""

    path: Path
    text: bytes


class ConfigurationWatch:
    """Calls `changed` once when the file holds something else than was read; a file that is away or empty does not count.

    A ConfigMap is mounted as a link that is replaced, and a moment without it means nothing; nor does one between
    truncating and writing.
    """

    def __init__(self, file: ConfigurationFile, changed: Callable[[], None]) -> None:
        self._file = file
        self._changed = changed
        self._stopping = threading.Event()
        self._thread = KeptThread("watch-configuration", self._watch, Need.NODE)
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
