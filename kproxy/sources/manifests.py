"""Objects from files, as `kubectl get -o yaml|json` prints them and people write them.

A file is YAML (any number of documents) or, if it begins with `{` or `[`, JSON (any number of values, one after
the other). Objects may stand in Lists, also nested or typed ones (`ServiceList`), whose items need not say their
kind again. What people leave out of a manifest has the default that an API server would write.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kproxy.errors import InputError
from kproxy.sources.contents import Found, Held, Malformed, Nothing, PassedOver, Remark, contents_of
from kproxy.sources.manifest_file import File, Signature, newer, place_of, text_of
from kproxy.state.events import Event, Listed, Rejection
from kproxy.state.objects import KIND_OF, Kind, Object
from kproxy.threads import KeptThread, Need

logger = logging.getLogger(__name__)

_SUFFIXES = (".yaml", ".yml", ".json")
_LOOK_EVERY_S = 0.1
_MOST_REMARKS = 20
"""So many new ones are logged at a time; a directory of thousands of careless manifests must not fill a disk."""

_NO_MANIFEST = f"this directory holds no manifest: no file that ends in {', '.join(_SUFFIXES)}; hidden files and subdirectories are not read"
_GONE = (
    "holds no manifest any more; to take everything away, put a file with `kind: List` and `items: []` there, "
    "or remove the manifests one after the other"
)


@dataclass(frozen=True, slots=True)
class Manifests:
    """What stands in the files. Every kind has an entry in `objects`.

    `unknown` counts the kinds passed over, and `first_places` says where the first object of each stands.

    `remarks` are on objects that can be used, on near misses of kinds, and on files that hold nothing; `is_nothing` is
    whether all of them hold nothing.
    """

    objects: Mapping[Kind, tuple[Object, ...]]
    rejections: tuple[Rejection, ...] = ()
    unknown: Mapping[str, int] = field(default_factory=dict)
    first_places: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()
    is_nothing: bool = False

    def listed(self, kind: Kind) -> Listed:
        """The list of one kind; what was rejected before its kind was known stands with the Services."""
        known = tuple(Kind)
        rejected = (
            one for one in self.rejections if (one.kind if one.kind in known else Kind.SERVICE) == kind
        )
        return Listed(kind, self.objects[kind], tuple(rejected))

    def sentences(self) -> list[str]:
        """Everything but the rejections that a reader should know."""
        passed_over = [
            f"{count} of kind {kind} passed over: they decide no rule; the first is {self.first_places[kind]}"
            for kind, count in sorted(self.unknown.items())
        ]
        return [*map(str, self.remarks), *passed_over]


def read(paths: Sequence[Path], *, stdin: bytes | None = None) -> Manifests:
    """All objects of the files, of the directories' files, and of `stdin` where it is given.

    A directory stands for its *.yaml, *.yml and *.json in name order, without its subdirectories and hidden
    files. Of two objects of one kind and key the first stands. A document that is neither YAML nor JSON is one rejection, and
    so is a file of a directory that cannot be read. InputError for a path of `paths` that cannot be read.
    """
    contents = [found for path in paths for found in _contents_of(path)]
    if stdin is not None:
        contents.append(_parsed("stdin", stdin))
    return _merged(contents)


def _contents_of(path: Path) -> list[tuple[Found, ...]]:
    """Those of the file, or of each file of the directory."""
    if not path.is_dir():
        return [_parsed(place_of(path), text_of(path))]
    files = _files_in(path)
    return [_read_beside_others(file) for file in files] or [(Nothing(str(path)),)]


def _read_beside_others(file: Path) -> tuple[Found, ...]:
    """One file of a directory, which costs only itself where it cannot be read."""
    try:
        return _parsed(place_of(file), text_of(file))
    except InputError as unreadable:
        return (Malformed(place_of(file), str(unreadable)),)


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


def _parsed(place: str, text: bytes) -> tuple[Found, ...]:
    try:
        return contents_of(place, text)
    except InputError as malformed:
        return (Malformed(place, str(malformed)),)


def _merged(contents: Iterable[Iterable[Found]]) -> Manifests:
    objects: dict[Kind, dict[object, Held]] = {kind: {} for kind in Kind}
    rejections: list[Rejection] = []
    unknown: Counter[str] = Counter()
    first_places: dict[str, str] = {}
    remarks: list[Remark] = []
    is_nothing = True
    for found in (one for content in contents for one in content):
        is_nothing &= isinstance(found, Nothing)
        match found:
            case Rejection():
                rejections.append(found)
            case Malformed(place=place, reason=reason):
                rejections.append(Rejection(place, "", "", "", reason))
            case Remark() | Nothing() | PassedOver() if remark := _remark_on(found):
                remarks.append(remark)
            case PassedOver(kind=name, place=place):
                unknown[name] += 1
                first_places.setdefault(name, place)
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
        first_places,
        tuple(remarks),
        is_nothing,
    )


def _remark_on(found: Remark | Nothing | PassedOver) -> Remark | None:
    """None for an object of a kind that is none of our business."""
    match found:
        case Remark():
            return found
        case Nothing(place=place):
            told = _NO_MANIFEST if Path(place).is_dir() else "this holds no object"
        case PassedOver(kind=kind, meant=meant) if meant:
            told = f"kind {kind} decides no rule, so the object is passed over; did you mean {meant}?"
        case PassedOver(kind=kind, reason=reason) if reason:
            told = f"{kind} decides no rule: {reason}"
        case _:
            return None
    return Remark(found.place, "", "", told)


def _second(held: Held, first: str) -> Rejection:
    kind, key = KIND_OF[type(held.object)], held.object.key
    return Rejection(held.place, kind, str(key), "", f"it stands in {first} already; keep one of the two")


class ManifestDirectory:
    """Tells `emit` what a directory's manifests say, from `start` to `stop`.

    Every kind begins with a `Listed`; a new one follows, from a thread of its own, whenever that kind
    changes. A file that was written counts once it has stayed the same for 0.1 s, so that neither
    half a file nor the moment in which an editor replaces it takes a Service away. What cannot be parsed or
    was emptied keeps its last good contents and is reported; a file that was removed takes its objects along.

    A directory without any manifest is not believed, for so does one look that is not mounted: nothing is emitted then.
    Only where several manifests were removed one after the other does the last of them take its objects along too.
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

    freshness = ()
    """A directory is never out of date: it is looked at ten times a second."""

    def start(self) -> None:
        """Emit every kind, or nothing if there is no manifest; then watch in the background.

        InputError if there is no such directory.
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
        complaint = ""
        while not self._stopping.wait(_LOOK_EVERY_S):
            try:
                self._look()
                complaint = ""
            except InputError as error:
                self._is_unsettled = True
                if str(error) != complaint:
                    complaint = str(error)
                    logger.warning("%s; what is known stays in force", complaint)

    def _look(self) -> None:
        """InputError where the directory is gone, or its manifests are, all at once."""
        before, now = self._seen, self._signatures()
        if self._is_unsettled and now.keys() != before.keys():
            self._seen = now  # it is being filled again; what is not there yet is not gone
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
        for path in _files_in(self._path):
            try:
                status = path.stat()
            except OSError:
                continue  # it was removed meanwhile
            found[path] = Signature(status.st_mtime_ns, status.st_size, status.st_ino)
        return found

    def _take_in(self, now: Mapping[Path, Signature]) -> None:
        """Each file that changed and has come to rest, or that is to be read again."""
        came, went = False, False
        for path in now.keys() | self._files.keys():
            known, signature = self._files.get(path), now.get(path)
            if signature != self._seen.get(path) or _stands(known, signature):
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
        manifests = _merged(file.found for file in files)
        self._remark(manifests.sentences())
        for kind in Kind:
            listed = manifests.listed(kind)
            if listed != self._told.get(kind):
                self._emit(listed)
                self._told[kind] = listed
        self._has_news = False

    def _tell_that_nothing_is_known(self, files: Sequence[File]) -> None:
        nothing = _merged(file.found for file in files) if files else _merged([[Nothing(str(self._path))]])
        self._remark([*map(str, nothing.rejections), *nothing.sentences()])
        logger.warning(
            "%s: no manifest can be read yet, so no rule is written or removed until one can", self._path
        )

    def _remark(self, sentences: Sequence[str]) -> None:
        """Log what was not said the last time."""
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


def _stands(known: File | None, signature: Signature | None) -> bool:
    """Whether the file is taken in as it is now."""
    if known is None:
        return signature is None
    return signature == known.signature and time.monotonic() < known.again_at
