"""The stub's memory: objects, one resourceVersion for all kinds, and a log that can be compacted."""

import base64
import binascii
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from typing import Any

Object = dict[str, Any]
Matches = Callable[[Object], bool]

_FIRST_RESOURCE_VERSION = 28500


class ContinueInvalidError(Exception):
    """A continue token that no server gave out."""


class ExpiredError(Exception):
    """A resourceVersion from before the last compaction."""


class TooLargeError(Exception):
    """A resourceVersion that the server has not reached."""


@dataclass(frozen=True, slots=True)
class Change:
    """One write: `old` is None where the object was made, `new` where it was deleted."""

    resource_version: int
    kind: str
    old: Object | None
    new: Object | None

    @property
    def key(self) -> tuple[str, str]:
        return key_of(self.new or self.old or {})

    def event(self, matches: Matches) -> tuple[str, Object] | None:
        """The change as a watch sees it: for a watch, an object that stops matching its selector is deleted."""
        before = self.old is not None and matches(self.old)
        after = self.new is not None and matches(self.new)
        if after and self.new is not None:
            return ("MODIFIED" if before else "ADDED"), self.new
        if before and self.old is not None:
            metadata = {**self.old["metadata"], "resourceVersion": str(self.resource_version)}
            return "DELETED", {**self.old, "metadata": metadata}
        return None


@dataclass(frozen=True, slots=True)
class ListPage:
    """`remaining` counts also objects that do not match: the server tells it only where all do."""

    resource_version: int
    items: list[Object]
    continue_token: str = ""
    remaining: int = 0


def key_of(manifest: Object) -> tuple[str, str]:
    return manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"]


@dataclass(slots=True)
class Storage:
    """Safe to use from any thread; `changed` is notified at each write."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    resource_version: int = _FIRST_RESOURCE_VERSION
    compacted: int = _FIRST_RESOURCE_VERSION
    _objects: dict[str, dict[tuple[str, str], Object]] = field(default_factory=dict)
    _log: list[Change] = field(default_factory=list)
    _lists: dict[tuple[str, int], list[tuple[str, Object]]] = field(default_factory=dict)

    def put(self, kind: str, manifest: Object) -> int:
        """Create or replace an object; its new resourceVersion."""
        with self.changed:
            held = self._objects.setdefault(kind, {})
            old = held.get(key_of(manifest))
            self.resource_version += 1
            held[key_of(manifest)] = new = self._stored(manifest, old)
            self._write(kind, old, new)
            return self.resource_version

    def delete(self, kind: str, namespace: str, name: str) -> int:
        """Delete an object that exists; the resourceVersion of the deletion."""
        with self.changed:
            old = self._objects[kind].pop((namespace, name))
            self.resource_version += 1
            self._write(kind, old, None)
            return self.resource_version

    def go_back(self, version: int) -> None:
        """Forget all writes after this resourceVersion, and end the streams."""
        with self.changed:
            kinds = tuple(self._objects)
            self._objects = {
                kind: {key_of(each): each for _, each in self._at(kind, version)} for kind in kinds
            }
            self._log = [change for change in self._log if change.resource_version <= version]
            self.resource_version = self.compacted = version
            self._lists = {}
            self.changed.notify_all()

    def compact(self) -> None:
        """From now on nobody can go back to before now; streams that are open already miss nothing."""
        with self.changed:
            self.compacted = self.resource_version

    def check_reached(self, version: int) -> None:
        """TooLargeError for a resourceVersion that is still to come."""
        with self.changed:
            if version > self.resource_version:
                raise TooLargeError(
                    f"Too large resource version: {version}, current: {self.resource_version}"
                )

    def check(self, after: int) -> None:
        """ExpiredError if a watch cannot begin here any more."""
        with self.changed:
            if after < self.compacted:
                raise ExpiredError(f"too old resource version: {after} ({self.compacted})")

    def page(self, kind: str, matches: Matches, limit: int, token: str) -> ListPage:
        """One page of a list, later pages as of the first; ContinueInvalidError, ExpiredError."""
        with self.changed:
            version, start = _decode_token(token) if token else (self.resource_version, "")
            later = [item for item in self._sorted(kind, version) if item[0] >= start]
            fitting = (at for at, (_, each) in enumerate(later) if matches(each))
            found = [*islice(fitting, limit or None)]
            items = [later[at][1] for at in found]
            if not limit or next(fitting, None) is None:
                return ListPage(version, items)
            last = found[-1]
            return ListPage(
                version, items, _encode_token(version, later[last][0]), remaining=len(later) - last - 1
            )

    def changes(self, kind: str, after: int) -> list[Change]:
        """The writes to a kind after this resourceVersion, oldest first. Hold `changed`."""
        recent: list[Change] = []
        for change in reversed(self._log):
            if change.resource_version <= after:
                break
            if change.kind == kind:
                recent.append(change)
        return recent[::-1]

    def _stored(self, manifest: Object, old: Object | None) -> Object:
        metadata = {
            **manifest["metadata"],
            "uid": old["metadata"]["uid"] if old else str(uuid.uuid4()),
            "resourceVersion": str(self.resource_version),
            "creationTimestamp": "2026-11-22T08:31:37Z",
        }
        return {**manifest, "metadata": metadata}

    def _write(self, kind: str, old: Object | None, new: Object | None) -> None:
        self._log.append(Change(self.resource_version, kind, old, new))
        self.changed.notify_all()

    def _sorted(self, kind: str, version: int) -> list[tuple[str, Object]]:
        """All objects by path; kept for the pages that follow."""
        if version < self.compacted:
            raise ExpiredError(
                "The provided continue parameter is too old to display a consistent list result."
            )
        if (kind, version) not in self._lists:
            self._lists = {other: held for other, held in self._lists.items() if other[0] != kind}
            self._lists[kind, version] = sorted(self._at(kind, version), key=itemgetter(0))
        return self._lists[kind, version]

    def _at(self, kind: str, version: int) -> Iterator[tuple[str, Object]]:
        held: dict[tuple[str, str], Object | None] = dict(self._objects.get(kind, {}))
        for change in reversed(self.changes(kind, version)):
            held[change.key] = change.old
        for key, each in held.items():
            if each is not None:
                yield "/".join(filter(None, key)), each


def _encode_token(version: int, last: str) -> str:
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": f"{last}\0"}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode_token(token: str) -> tuple[int, str]:
    try:
        decoded = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return int(decoded["rv"]), str(decoded["start"])
    except (binascii.Error, ValueError, LookupError, TypeError) as error:
        raise ContinueInvalidError from error
