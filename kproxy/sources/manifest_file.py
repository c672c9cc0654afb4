"""One file of manifests: its text, and the contents that are in force while it changes."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kproxy.errors import InputError
from kproxy.sources.content import Content, Malformed, NoDocument, Usable
from kproxy.sources.contents import contents_of
from kproxy.state.events import Cost, Rejection
from kproxy.state.objects import KIND_OF
from kproxy.state.printable import printable
from kproxy.threads import log_defect

_log = logging.getLogger(__name__)

_SHORTEST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
"""Seconds between two attempts to read a file after a defect of ours, as between two attempts of a watch."""
_MOST_BYTES = 256 << 20
"""Ten times the size of 10,000 Services of 10 endpoints each; a larger file is not a manifest."""


def text_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except OSError as failed:
        raise InputError(
            f"cannot read {place_of(path)}: {failed.strerror}; name a file or directory that can be read"
        ) from failed
    if len(text) > _MOST_BYTES:
        raise InputError(f"{place_of(path)} is larger than {_MOST_BYTES >> 20} MB; split it up")
    return text


def place_of(path: Path) -> str:
    """The path as a message shows it. A name that is not printable is escaped."""
    return printable(str(path))


class Signature(NamedTuple):
    """Changes whenever the file is written or replaced."""

    modified_ns: int
    size: int
    inode: int


@dataclass(frozen=True, slots=True)
class File:
    """A file at its last reading. `problem` says why its contents are old or missing.

    `is_whole` is true if each document of the contents could be read. After a defect of ours the file is read again at
    `again_at`, `pause_s` after the last attempt, even if it does not change.
    """

    signature: Signature
    contents: tuple[Content, ...] = ()
    problem: Rejection | None = None
    is_whole: bool = True
    again_at: float = float("inf")
    pause_s: float = 0.0

    @property
    def found(self) -> tuple[Content, ...]:
        return (*self.contents, self.problem) if self.problem else self.contents

    @property
    def says_something(self) -> bool:
        """Whether the file has at least one document that could be read."""
        return any(not isinstance(one, NoDocument | Malformed) for one in self.contents)

    @property
    def objects(self) -> tuple[Usable, ...]:
        return tuple(one for one in self.contents if isinstance(one, Usable))


def newer(path: Path, signature: Signature, known: File | None) -> File:
    """Read the file. If it is faulty now, keep its last good contents and add the problem."""
    try:
        contents = contents_of(place_of(path), text_of(path))
    except InputError as error:
        contents = (Malformed(place_of(path), str(error)),)
    except Exception as defect:  # noqa: BLE001 # one file must not keep the others from being read
        return _read_again(path, signature, known, defect)
    is_whole = not any(isinstance(one, Malformed) for one in contents)
    problem = _problem(contents)
    if not problem or known is None or not known.objects:
        return File(signature, contents, is_whole=is_whole)
    if known.is_whole or is_whole:
        return File(
            signature,
            known.contents,
            Rejection(place_of(path), "", "", "", problem, cost=Cost.FILE),
            known.is_whole,
        )
    return File(signature, (*contents, *_missing(contents, known.objects)), is_whole=False)


def _read_again(path: Path, signature: Signature, known: File | None, defect: Exception) -> File:
    """Keep the last good contents of a file that met a defect of ours, and read it again later."""
    log_defect(_log, "a defect in kproxy: %s cannot be read now and is tried again", path)
    pause_s = min(max(2 * known.pause_s if known else 0.0, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)
    reason = f"a defect in kproxy: {type(defect).__name__}; it is read again"
    cost = Cost.FILE if known and known.objects else Cost.OBJECT
    return File(
        signature,
        known.contents if known else (),
        Rejection(place_of(path), "", "", "", reason, cost=cost),
        known.is_whole if known else False,
        again_at=time.monotonic() + pause_s,
        pause_s=pause_s,
    )


def _problem(contents: Sequence[Content]) -> str:
    """Why the contents may be less than their author wants in force; empty if they are complete."""
    for one in contents:
        match one:
            case Malformed(reason=reason):
                return reason
            case NoDocument():
                return "the file is empty; remove it if its objects are to go"
            case _:
                pass
    return ""


def _missing(contents: Sequence[Content], earlier: Sequence[Usable]) -> list[Usable]:
    """The earlier objects that the contents lack. They may be in a document that cannot be read."""
    here = {(KIND_OF[type(one.object)], one.object.key) for one in contents if isinstance(one, Usable)}
    return [usable for usable in earlier if (KIND_OF[type(usable.object)], usable.object.key) not in here]
