"""Objects from files, as `kubectl get -o yaml|json` prints them and people write them.

A file is YAML (any number of documents) or, if it begins with `{` or `[`, JSON (any number of values in a row). Objects
may be in Lists, also nested or typed lists (`ServiceList`), whose items may leave out their kind. Fields that a
manifest leaves out have the default that an API server would write.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kproxy.errors import InputError
from kproxy.sources.content import Content, EmptyList, Ignored, Malformed, NoDocument, Remark, Usable
from kproxy.sources.contents import contents_of
from kproxy.sources.manifest_file import place_of, text_of
from kproxy.state.events import Listed, Rejection
from kproxy.state.objects import KIND_OF, Kind, Object

logger = logging.getLogger(__name__)

_SUFFIXES = (".yaml", ".yml", ".json")
_NO_MANIFEST = f"this directory holds no manifest: no file that ends in {', '.join(_SUFFIXES)}; hidden files and subdirectories are not read"


@dataclass(frozen=True, slots=True)
class Manifests:
    """The contents of the files. Every kind has an entry in `objects`.

    `unknown` counts the objects of each kind that is ignored, and `first_places` has the place of the first one of
    each.

    `remarks` concern objects that can be used, kinds that look misspelled, and files without objects. `is_nothing` is
    true if no file holds an object.
    """

    objects: Mapping[Kind, tuple[Object, ...]]
    rejections: tuple[Rejection, ...] = ()
    unknown: Mapping[str, int] = field(default_factory=dict)
    first_places: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()
    is_nothing: bool = False

    def listed(self, kind: Kind) -> Listed:
        """The list of one kind. Rejections of unknown kind are in the list of Services."""
        known = tuple(Kind)
        rejected = (
            one for one in self.rejections if (one.kind if one.kind in known else Kind.SERVICE) == kind
        )
        return Listed(kind, self.objects[kind], tuple(rejected))

    def sentences(self) -> list[str]:
        """Everything that a reader should know, except the rejections."""
        ignored = [
            f"{count} of kind {kind} ignored: they decide no rule; the first is {self.first_places[kind]}"
            for kind, count in sorted(self.unknown.items())
        ]
        return [*map(str, self.remarks), *ignored]


def read(paths: Sequence[Path], *, stdin: bytes | None = None) -> Manifests:
    """All objects of the files, of the directories' files, and of `stdin` if it is given.

    A directory stands for its *.yaml, *.yml and *.json in name order, without its subdirectories and hidden files. Of
    two objects with one kind and key, the first is used. A document that is neither YAML nor JSON is one rejection, and
    so is a file of a directory that cannot be read. InputError for a path of `paths` that cannot be read.
    """
    contents = [found for path in paths for found in _contents_of(path)]
    if stdin is not None:
        contents.append(_parsed("stdin", stdin))
    return merged(contents)


def _contents_of(path: Path) -> list[tuple[Content, ...]]:
    """The contents of the file, or of each file of the directory."""
    if not path.is_dir():
        return [_parsed(place_of(path), text_of(path))]
    files = files_in(path)
    return [_read_beside_others(file) for file in files] or [(NoDocument(str(path)),)]


def _read_beside_others(file: Path) -> tuple[Content, ...]:
    """One file of a directory. If it cannot be read, the other files are not affected."""
    try:
        return _parsed(place_of(file), text_of(file))
    except InputError as unreadable:
        return (Malformed(place_of(file), str(unreadable)),)


def files_in(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if _is_manifest(path))
    except OSError as failed:
        raise InputError(
            f"cannot read the directory {directory}: {failed.strerror}; name one that holds manifests"
        ) from failed


def _is_manifest(path: Path) -> bool:
    """Whether the file is a manifest: not a hidden file of an editor, and not a device that could be read for ever."""
    return path.suffix in _SUFFIXES and not path.name.startswith(".") and path.is_file()


def _parsed(place: str, text: bytes) -> tuple[Content, ...]:
    try:
        return contents_of(place, text)
    except InputError as malformed:
        return (Malformed(place, str(malformed)),)


def merged(contents: Iterable[Iterable[Content]]) -> Manifests:
    objects: dict[Kind, dict[object, Usable]] = {kind: {} for kind in Kind}
    rejections: list[Rejection] = []
    unknown: Counter[str] = Counter()
    first_places: dict[str, str] = {}
    remarks: list[Remark] = []
    is_nothing = True
    for found in (one for content in contents for one in content):
        is_nothing &= isinstance(found, NoDocument | EmptyList)
        match found:
            case Rejection():
                rejections.append(found)
            case Malformed(place=place, reason=reason):
                rejections.append(Rejection(place, "", "", "", reason))
            case Remark() | NoDocument() | EmptyList() | Ignored() if remark := _remark_on(found):
                remarks.append(remark)
            case Ignored(kind=name, place=place):
                unknown[name] += 1
                first_places.setdefault(name, place)
            case Usable(object=thing, rejection=flaws):
                first = objects[KIND_OF[type(thing)]].setdefault(thing.key, found)
                if first is not found:
                    rejections.append(_second(found, first.place))
                elif flaws:
                    rejections.append(flaws)
    return Manifests(
        {kind: tuple(usable.object for usable in by_key.values()) for kind, by_key in objects.items()},
        tuple(rejections),
        dict(unknown),
        first_places,
        tuple(remarks),
        is_nothing,
    )


def _remark_on(found: Remark | NoDocument | EmptyList | Ignored) -> Remark | None:
    """The remark on a text or object; None for an object of a kind that we do not use."""
    match found:
        case Remark():
            return found
        case NoDocument(place=place):
            text = _NO_MANIFEST if Path(place).is_dir() else "this holds no object"
        case EmptyList():
            text = "this List has no items"
        case Ignored(kind=kind, meant=meant) if meant:
            text = f"kind {kind} decides no rule, so the object is ignored; did you mean {meant}?"
        case Ignored(kind=kind, reason=reason) if reason:
            text = f"{kind} decides no rule: {reason}"
        case _:
            return None
    return Remark(found.place, "", "", text)


def _second(usable: Usable, first: str) -> Rejection:
    kind, key = KIND_OF[type(usable.object)], usable.object.key
    return Rejection(usable.place, kind, str(key), "", f"it is also in {first}; keep one of the two")
