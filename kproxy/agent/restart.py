"""Ends the agent when its configuration file changes, so that what started it starts it with the new one."""

import hashlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0


class ConfigurationWatch:
    """Calls `changed` once when the file's contents differ from those at `start`; a file that is away does not.

    A ConfigMap is mounted as a link that is replaced, and a moment without it means nothing.
    """

    def __init__(self, path: Path, changed: Callable[[], None]) -> None:
        self._path = path
        self._changed = changed
        self._digest = self._look()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch-configuration", daemon=True)
        self.has_changed = False

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def _watch(self) -> None:
        while not self._stopping.wait(_LOOK_EVERY_S):
            digest = self._look()
            if digest and digest != self._digest:
                self.has_changed = True
                self._changed()
                return

    def _look(self) -> bytes:
        try:
            return hashlib.blake2b(self._path.read_bytes()).digest()
        except OSError:
            return b""
