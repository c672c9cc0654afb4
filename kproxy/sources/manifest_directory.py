"""A directory of manifests that is watched: its objects, now and after each change."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from kproxy.errors import InputError
from kproxy.sources.content import NoDocument
from kproxy.sources.manifest_file import File, Signature, newer
from kproxy.sources.manifests import files_in, merged
from kproxy.state.events import Event, Listed
from kproxy.state.objects import Kind
from kproxy.threads import KeptThread, Need

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.1
_LONGEST_UNREAD_S = 60.0
"""Seconds. A volume that is mounted again is away for seconds; after a minute, the known objects may be outdated."""


_MOST_REMARKS = 20
"""New remarks per logging; a directory with thousands of careless manifests must not fill a disk."""


_GONE = (
    "holds no manifest any more; to take everything away, put a file with `kind: List` and `items: []` there, "
    "or remove the manifests one after the other"
)


class _Complaint(NamedTuple):
    """Why the directory cannot be read, and since when."""

    text: str
    since: float


class ManifestDirectory:
    """Calls `emit` with the objects of a directory's manifests, from `start` to `stop`.

    The first event of every kind is a `Listed`. Another follows whenever objects of the kind change, from a thread of
    its own. A written file is used after it has stayed unchanged for 0.1 s, so that neither half a file nor the moment
    in which an editor replaces the file removes a Service. A file that cannot be parsed or was emptied keeps its last
    good contents and is reported; a removed file removes its objects.

    A directory without manifests is not trusted, because a directory whose volume is not mounted looks the same:
    nothing is emitted then. Only if several manifests were removed one after the other, the last manifest also removes
    its objects.
    """

    def __init__(self, path: Path, emit: Callable[[Event], None]) -> None:
        self._path = path
        self._emit = emit
        self._stopping = threading.Event()
        self._thread = KeptThread("watch-manifests", self._watch, Need.RULES)
        self._seen: dict[Path, Signature] = {}
        self._files: dict[Path, File] = {}
        self._told: dict[Kind, Listed] = {}
        self._has_news = False
        self._is_shrinking = False
        self._is_unsettled = False
        self._remarked: set[str] = set()
        self._complaint: _Complaint | None = None

    freshness = ()
    """Empty, because no kind is older than another: the directory is read ten times per second."""

    def outdated(self) -> tuple[str, ...]:
        """Why the objects may be outdated: the directory could not be read for a while. Any thread may ask."""
        complaint = self._complaint
        if complaint is None or (age_s := time.monotonic() - complaint.since) < _LONGEST_UNREAD_S:
            return ()
        return (f"{complaint.text}; the state of {age_s:.0f} s ago stays in force",)

    def start(self) -> None:
        """Emit every kind, or nothing if there is no manifest; then watch in the background.

        InputError if the directory does not exist.
        """
        self._seen = self._signatures()
        self._take_in(self._seen)
        self._tell()
        self._thread.start()

    def stop(self) -> None:
        """End the watching; nothing is emitted afterwards."""
        self._stopping.set()
        self._thread.end()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopping.wait(_LOOK_EVERY_S):
            try:
                self._look()
                self._end_complaint()
            except InputError as error:
                self._is_unsettled = True
                self._complain(str(error))

    def _end_complaint(self) -> None:
        if self._complaint is not None and not self._is_unsettled:
            logger.info("%s holds manifests again", self._path)
            self._complaint = None

    def _complain(self, text: str) -> None:
        before = self._complaint
        if before is None or before.text != text:
            self._complaint = _Complaint(text, before.since if before else time.monotonic())
            logger.warning("%s; the last known state stays in force", text)

    def _look(self) -> None:
        """Read the changes. InputError if the directory is gone, or if all its manifests are gone at once."""
        before, now = self._seen, self._signatures()
        if self._is_unsettled and now.keys() != before.keys():
            self._seen = now  # the directory is being filled again, so a missing file may still come
            return
        if not now and self._files and not (self._is_shrinking and len(self._files) == 1):
            self._seen = now
            raise InputError(f"{self._path} {_GONE}")
        self._is_unsettled = False
        self._take_in(now)
        self._seen = now
        if self._has_news:
            self._tell()

    def _signatures(self) -> dict[Path, Signature]:
        found = {}
        for path in files_in(self._path):
            try:
                status = path.stat()
            except OSError:
                continue  # it was removed meanwhile
            found[path] = Signature(status.st_mtime_ns, status.st_size, status.st_ino)
        return found

    def _take_in(self, now: Mapping[Path, Signature]) -> None:
        """Read each file that changed and has come to rest, and each file that must be read again."""
        came, went = False, False
        for path in now.keys() | self._files.keys():
            known, signature = self._files.get(path), now.get(path)
            if signature != self._seen.get(path) or _is_current(known, signature):
                continue
            self._has_news = True
            if signature is None:
                del self._files[path]
                went = True
            else:
                self._files[path] = newer(path, signature, known)
                came = True
        if came or went:
            self._is_shrinking = not came

    def _tell(self) -> None:
        files = [self._files[path] for path in sorted(self._files)]
        if not self._told and not any(file.says_something for file in files):
            self._tell_that_nothing_is_known(files)
            self._has_news = False
            return
        manifests = merged(file.found for file in files)
        self._remark(manifests.sentences())
        for kind in Kind:
            listed = manifests.listed(kind)
            if listed != self._told.get(kind):
                self._emit(listed)
                self._told[kind] = listed
        self._has_news = False

    def _tell_that_nothing_is_known(self, files: Sequence[File]) -> None:
        nothing = merged(file.found for file in files) if files else merged([[NoDocument(str(self._path))]])
        self._remark([*map(str, nothing.rejections), *nothing.sentences()])
        logger.warning(
            "%s: no manifest can be read yet, so no rule is written or removed until one can", self._path
        )

    def _remark(self, sentences: Sequence[str]) -> None:
        """Log the sentences that were not in the last call."""
        new = [sentence for sentence in dict.fromkeys(sentences) if sentence not in self._remarked]
        self._remarked = set(sentences)
        for sentence in new[:_MOST_REMARKS]:
            logger.warning("%s", sentence)
        if len(new) > _MOST_REMARKS:
            logger.warning(
                "%d more remarks on manifests; `kproxy render -f %s` shows all",
                len(new) - _MOST_REMARKS,
                self._path,
            )


def _is_current(known: File | None, signature: Signature | None) -> bool:
    """Whether the current version of the file has been read."""
    if known is None:
        return signature is None
    return signature == known.signature and time.monotonic() < known.again_at
