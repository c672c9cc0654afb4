"""Turns of the tests of one run in several processes: most run beside each other, some while no other one runs."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HERE = Path(__file__).parent
_FILES = _HERE / "turns.py", _HERE / "conftest.py"
"""They are there anyway. The kernel forgets the locks of a process that dies."""


@contextmanager
def turn(*, alone: bool, files: tuple[Path, Path] = _FILES) -> Iterator[None]:
    """Wait until no test runs that must be alone, and if this one must be, until no test runs at all.

    A test that waits to be alone holds the lock on the first file, so that the others cannot go first for ever.
    """
    with files[1].open("rb") as running:
        with files[0].open("rb") as waiting:
            fcntl.flock(waiting, fcntl.LOCK_EX)
            fcntl.flock(running, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
