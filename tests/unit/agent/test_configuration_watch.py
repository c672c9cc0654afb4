"""The agent ends when its configuration file says something else than what it read."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kproxy.agent import configuration_watch as restart
from kproxy.agent.configuration_watch import ConfigurationFile, ConfigurationWatch

BOUND_S = 10.0
LOOKS_S = 0.2
"""Long enough to look twenty times."""


@pytest.mark.parametrize(
    ("alter", "expected"),
    [
        (lambda path: path.write_bytes(b"new"), True),
        (lambda path: path.write_bytes(b"old"), False),
        (lambda path: path.write_bytes(b""), False),
        (Path.unlink, False),
    ],
    ids=["other contents", "the same contents", "empty", "away"],
)
def test_file_that_changed_between_reading_and_watching_counts(
    alter: Callable[[Path], object], expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restart, "_LOOK_EVERY_S", 0.01)
    file = ConfigurationFile(tmp_path / "config.yaml", b"old")
    file.path.write_bytes(file.text)
    alter(file.path)
    noticed = threading.Event()
    watch = ConfigurationWatch(file, noticed.set)
    watch.start()
    assert expected == noticed.wait(BOUND_S if expected else LOOKS_S)
    assert expected == watch.has_changed
    watch.stop()
