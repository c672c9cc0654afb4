"""Objects from files, as `kubectl get -o yaml|json` prints them and people write them.

A file is YAML (any number of documents) or, if it begins with `{` or `[`, JSON (any number of values, one after
the other). Objects may stand in Lists, also nested or typed ones (`ServiceList`), whose items need not say their
kind again.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from kproxy.errors import InputError
from kproxy.sources.contents import Found, Held, PassedOver, contents_of
from kproxy.state.events import Event, Listed, Rejection
from kproxy.state.objects import KIND_OF, Kind, Object
from kproxy.threads import KeptThread, Need, tell_defect

logger = logging.getLogger(__name__)

_SUFFIXES = (".yaml", ".yml", ".json")
_MOST_BYTES = 256 << 20
_LOOK_EVERY_S = 0.1
_SHORTEST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
"""Between two attempts to read a file that met a defect of ours: as long as between two attempts of a watch."""


@dataclass(frozen=True, slots=True)
class Manifests:
    """What stands in the files. Every kind has an entry in `objects`; `unknown` counts the kinds passed over."""

    objects: Mapping[Kind, tuple[Object, ...]]
    rejections: tuple[Rejection, ...] = ()
    unknown: Mapping[str, int] = field(default_factory=dict)

    def listed(self, kind: Kind) -> Listed:
        """The list of one kind; what was rejected before its kind was known stands with the Services."""
        known = tuple(Kind)
        rejected = (
            one for one in self.rejections if (one.kind if one.kind in known else Kind.SERVICE) == kind
        )
        return Listed(kind, self.objects[kind], tuple(rejected))


def read(paths: Sequence[Path], *, stdin: bytes | None = None) -> Manifests:
    """All objects of the files, of the directories' files, and of `stdin` where it is given.

    A directory stands for its *.yaml, *.yml and *.json in name order, without its subdirectories and hidden
    files. Of two objects of one kind and key the first stands. A file that is neither YAML nor JSON is one rejection.
    InputError for a path that cannot be read.
    """
    contents = [_parsed(str(path), _text_of(path)) for path in _files(paths)]
    if stdin is not None:
        contents.append(_parsed("stdin", stdin))
    return _merged(contents)


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from _files_in(path)
        else:
            yield path


def _files_in(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if _is_manifest(path))
    except OSError as failed:
        raise InputError(
            f"cannot read the directory {directory}: {failed.strerror}; name one that holds manifests"
        ) from failed


def _is_manifest(path: Path) -> bool:
    """Not the hidden files that editors leave beside their own, and nothing that could be read for ever."""
    return path.suffix in _SUFFIXES and not path.name.startswith(".") and path.is_file()


def _text_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except OSError as failed:
        raise InputError(
            f"cannot read {path}: {failed.strerror}; name a file or directory that can be read"
        ) from failed
    if len(text) > _MOST_BYTES:
        raise InputError(f"{path} is larger than {_MOST_BYTES >> 20} MB; split it up")
    return text


def _parsed(place: str, text: bytes) -> tuple[Found, ...]:
    try:
        return contents_of(place, text)
    except InputError as malformed:
        return (Rejection(place, "", "", "", str(malformed)),)


def _merged(contents: Iterable[Iterable[Found]]) -> Manifests:
    objects: dict[Kind, dict[object, Held]] = {kind: {} for kind in Kind}
    rejections: list[Rejection] = []
    unknown: Counter[str] = Counter()
    for found in (one for content in contents for one in content):
        match found:
            case Rejection():
                rejections.append(found)
            case PassedOver(kind=name):
                unknown[name] += 1
            case Held(object=thing, rejection=flaws):
                first = objects[KIND_OF[type(thing)]].setdefault(thing.key, found)
                if first is not found:
                    rejections.append(_second(found, first.place))
                elif flaws:
                    rejections.append(flaws)
    return Manifests(
        {kind: tuple(held.object for held in by_key.values()) for kind, by_key in objects.items()},
        tuple(rejections),
        dict(unknown),
    )


def _second(held: Held, first: str) -> Rejection:
    kind, key = KIND_OF[type(held.object)], held.object.key
    return Rejection(held.place, kind, str(key), "", f"it stands in {first} already; keep one of the two")


class _Signature(NamedTuple):
    """Differs whenever a file was written or replaced."""

    modified_ns: int
    size: int
    inode: int


@dataclass(frozen=True, slots=True)
class _File:
    """A file as last taken in. `problem` says why its contents are those of an earlier version, or none.

    After a defect of ours it is read again at `again_at`, `pause_s` after the last attempt, even if it does not change.
    """

    signature: _Signature
    contents: tuple[Found, ...] = ()
    problem: Rejection | None = None
    again_at: float = float("inf")
    pause_s: float = 0.0


class ManifestDirectory:
    """Tells `emit` what a directory's manifests say, from `start` to `stop`.

    Every kind begins with a `Listed`; a new one follows, from a thread of its own, whenever that kind
    changes. A file that was written counts once it has stayed the same for 0.1 s, so that neither
    half a file nor the moment in which an editor replaces it takes a Service away. What cannot be parsed or
    was emptied keeps its last good contents and is reported; a file that was removed takes its objects along.
    """

    def __init__(self, path: Path, emit: Callable[[Event], None]) -> None:
        self._path = path
        self._emit = emit
        self._stopping = threading.Event()
        self._thread = KeptThread("watch-manifests", self._watch, Need.RULES)
        self._seen: dict[Path, _Signature] = {}
        self._files: dict[Path, _File] = {}
        self._told: dict[Kind, Listed] = {}
        self._has_news = False

    freshness = ()
    """A directory is never out of date: it is looked at ten times a second."""

    def start(self) -> None:
        """Emit every kind, then watch in the background; InputError if there is no such directory."""
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
        complaint = ""
        while not self._stopping.wait(_LOOK_EVERY_S):
            try:
                self._look()
                complaint = ""
            except InputError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    logger.warning("%s; what is known stays in force", complaint)

    def _look(self) -> None:
        now = self._signatures()
        self._take_in(now)
        self._seen = now
        if self._has_news:
            self._tell()

    def _signatures(self) -> dict[Path, _Signature]:
        found = {}
        for path in _files_in(self._path):
            try:
                status = path.stat()
            except OSError:
                continue  # it was removed meanwhile
            found[path] = _Signature(status.st_mtime_ns, status.st_size, status.st_ino)
        return found

    def _take_in(self, now: Mapping[Path, _Signature]) -> None:
        """Each file that changed and has come to rest, or that is to be read again."""
        for path in now.keys() | self._files.keys():
            known, signature = self._files.get(path), now.get(path)
            if signature != self._seen.get(path) or _stands(known, signature):
                continue
            self._has_news = True
            if signature is None:
                del self._files[path]
            else:
                self._files[path] = _newer(path, signature, known)

    def _tell(self) -> None:
        files = [self._files[path] for path in sorted(self._files)]
        manifests = _merged((*file.contents, *filter(None, (file.problem,))) for file in files)
        for kind in Kind:
            listed = manifests.listed(kind)
            if listed != self._told.get(kind):
                self._emit(listed)
                self._told[kind] = listed
        self._has_news = False


def _stands(known: _File | None, signature: _Signature | None) -> bool:
    """Whether the file is taken in as it is now."""
    if known is None:
        return signature is None
    return signature == known.signature and time.monotonic() < known.again_at


def _newer(path: Path, signature: _Signature, known: _File | None) -> _File:
    """The file as it is now, or its last good contents with the problem that it has."""
    earlier = known.contents if known else ()
    try:
        contents = contents_of(str(path), _text_of(path))
    except InputError as error:
        return _kept(path, signature, earlier, str(error))
    except Exception as defect:  # noqa: BLE001 # one file must not keep the others from being read
        tell_defect(logger, "a defect in kproxy: %s cannot be read now and is tried again", path)
        pause_s = min(max(2 * known.pause_s if known else 0.0, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)
        kept = _kept(
            path, signature, earlier, f"a defect in kproxy: {type(defect).__name__}; it is read again"
        )
        return replace(kept, again_at=time.monotonic() + pause_s, pause_s=pause_s)
    if earlier and not signature.size:
        return _kept(path, signature, earlier, "the file is empty; remove it if its objects are to go")
    return _File(signature, contents)


def _kept(path: Path, signature: _Signature, earlier: tuple[Found, ...], reason: str) -> _File:
    told = f"{reason}; its last good contents stay in force" if earlier else reason
    return _File(signature, earlier, Rejection(str(path), "", "", "", told))
