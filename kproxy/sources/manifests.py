"""Files as a source: YAML and JSON as `kubectl get -o yaml|json` prints them, or as people write them."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from kproxy.errors import InputError, InvalidField
from kproxy.sources.yaml import load_documents
from kproxy.state.decode import convert
from kproxy.state.events import Event, Listed, Rejection
from kproxy.state.objects import KIND_OF, Kind, Object
from kproxy.values import NamespacedName

_log = logging.getLogger(__name__)

SUFFIXES = (".yaml", ".yml", ".json")
STDIN = Path("-")

_API_VERSION = {
    Kind.SERVICE: "v1",
    Kind.ENDPOINT_SLICE: "discovery.k8s.io/v1",
    Kind.ENDPOINTS: "v1",
    Kind.NODE: "v1",
    Kind.POD: "v1",
}
_DEFAULT_NAMESPACE = "default"
_LOOK_AGAIN_S = 0.2


@dataclass(frozen=True, slots=True)
class Manifests:
    """What files held: objects by kind, those left out and why, and how many of kinds that we have no use for."""

    objects: Mapping[Kind, tuple[Object, ...]]
    rejections: tuple[Rejection, ...]
    unknown: Mapping[str, int]

    def listed(self) -> Iterator[Listed]:
        """The same as one complete list of each kind; what cannot be told to be of any is told with the Services."""
        for kind in Kind:
            kinds = (kind, "") if kind is Kind.SERVICE else (kind,)
            rejections = tuple(rejection for rejection in self.rejections if rejection.kind in kinds)
            yield Listed(kind, self.objects[kind], rejections)


def read(paths: Iterable[Path], stdin: bytes | None = None) -> Manifests:
    """All objects in these files, and in the manifest files of these directories (not of directories in them).

    `-` stands for the bytes of `stdin`. InputError for a path that is not there; everything else that is wrong is
    a Rejection in the result.
    """
    reading = _Reading()
    for path in paths:
        if path == STDIN:
            reading.take("stdin", stdin or b"")
            continue
        for file in _files(path):
            reading.take(str(file), _bytes_of(file))
    return reading.result()


def _files(path: Path) -> Sequence[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as failed:
        raise InputError(f"cannot read {file}: {failed.strerror}") from failed


@dataclass(slots=True)
class _Reading:
    """Files taken in so far."""

    objects: dict[Kind, dict[NamespacedName, tuple[Object, str]]] = field(
        default_factory=lambda: {kind: {} for kind in Kind}
    )
    rejections: list[Rejection] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)

    def take(self, file: str, text: bytes) -> bool:
        """Take one file in; False if it cannot be parsed at all."""
        try:
            documents = list(_documents(text))
        except InputError as wrong:
            self.rejections.append(Rejection(file, "", "", "", str(wrong)))
            return False
        for number, data in documents:
            place = f"{file}, document {number}" if len(documents) > 1 else file
            self._take_object(place, data, {})
        return True

    def result(self) -> Manifests:
        objects = {kind: tuple(thing for thing, _ in known.values()) for kind, known in self.objects.items()}
        return Manifests(objects, tuple(self.rejections), dict(self.unknown))

    def _take_object(self, place: str, data: object, inherited: Mapping[str, object]) -> None:
        if not isinstance(data, dict):
            self.rejections.append(Rejection(place, "", "", "", "is no Kubernetes object: a mapping with a kind"))
            return
        header = {**inherited, **{name: data[name] for name in ("apiVersion", "kind") if name in data}}
        kind = header.get("kind")
        if not isinstance(kind, str):
            self.rejections.append(Rejection(place, "", _name_of(data), "kind", "is missing"))
        elif kind.endswith("List") and isinstance(data.get("items"), list):
            of_items = {} if kind == "List" else {**header, "kind": kind.removesuffix("List")}
            for at, item in enumerate(data["items"]):
                self._take_object(f"{place}, items[{at}]", item, of_items)
        elif kind in tuple(Kind):
            self._take_known(place, Kind(kind), header.get("apiVersion"), data)
        else:
            self.unknown[kind] += 1

    def _take_known(self, place: str, kind: Kind, api_version: object, data: dict[str, object]) -> None:
        try:
            if api_version != _API_VERSION[kind]:
                raise InvalidField("apiVersion", f"{api_version!r} is not understood; write {_API_VERSION[kind]}")
            thing = convert(kind, _in_namespace(kind, data))
            known = self.objects[kind].get(thing.key)
            if known:
                raise InvalidField("metadata.name", f"{thing.key} stands already in {known[1]}; that one counts")
        except InvalidField as wrong:
            self.rejections.append(Rejection(place, kind, _name_of(data), wrong.field, wrong.reason))
        else:
            self.objects[KIND_OF[type(thing)]][thing.key] = (thing, place)


def _documents(text: bytes) -> Iterator[tuple[int, object]]:
    """Numbered documents; JSON, which YAML's parser would read ten times slower, goes its own way."""
    if text.lstrip()[:1] in (b"{", b"["):
        try:
            yield 1, msgspec.json.decode(text)
        except msgspec.DecodeError as wrong:
            if b"\n---" not in text:
                raise InputError(f"not JSON: {wrong}") from wrong
        else:
            return
    for number, document in enumerate(load_documents(text), 1):
        yield number, document.data


def _in_namespace(kind: Kind, data: dict[str, object]) -> dict[str, object]:
    metadata = data.get("metadata")
    if kind is Kind.NODE or not isinstance(metadata, dict) or metadata.get("namespace"):
        return data
    return {**data, "metadata": {**metadata, "namespace": _DEFAULT_NAMESPACE}}


def _name_of(data: Mapping[str, object]) -> str:
    metadata = data.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        return ""
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata['name']}" if isinstance(namespace, str) else str(metadata["name"])


class ManifestDirectory:
    """A directory as a source: emits the lists that changed at the start and whenever a file changes.

    A file that cannot be parsed is reported and keeps what it held when it last could be: it may be
    half-written. `start` emits from a thread of its own.
    """

    def __init__(self, directory: Path, emit: Callable[[Event], None]) -> None:
        self._directory = directory
        self._emit = emit
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="manifests", daemon=True)
        self._last_good: dict[Path, bytes] = {}
        self._emitted: dict[Kind, Listed] = {}

    def start(self) -> None:
        """Begin in the background; InputError if there is no such directory."""
        if not self._directory.is_dir():
            raise InputError(f"{self._directory} is not a directory; name the one that holds the manifests")
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        seen: object = None
        while not self._stopping.is_set():
            try:
                signature = self._signature()
                if signature != seen:
                    self._emit_changes()
                    seen = signature
            except (OSError, InputError) as failed:
                _log.warning("%s: what was read last stays, and is read again soon", failed)
                seen = None
            self._stopping.wait(_LOOK_AGAIN_S)

    def _signature(self) -> object:
        statuses = [(file, file.stat()) for file in _files(self._directory)]
        return [(file, status.st_mtime_ns, status.st_size, status.st_ino) for file, status in statuses]

    def _emit_changes(self) -> None:
        reading = _Reading()
        for file in _files(self._directory):
            text = _bytes_of(file)
            if reading.take(str(file), text):
                self._last_good[file] = text
            elif file in self._last_good:
                reading.take(str(file), self._last_good[file])
        for listed in reading.result().listed():
            if self._emitted.get(listed.kind) != listed:
                self._emitted[listed.kind] = listed
                self._emit(listed)
