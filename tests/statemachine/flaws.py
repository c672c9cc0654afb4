"""Objects that no API server should hold, and yet some do: how each is written, and what a right proxy makes of it.

This says nothing of how kproxy reads them: an object with a flaw has to fare as another one does that has none.
"""

import re
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import msgspec

from stubapi.storage import Object

Place = tuple[str | int, ...]
"""Where in an object: names of fields, and numbers of items in lists."""

_IPV4 = re.compile(r"\d+\.\d+\.\d+\.\d+")


class Flaw(Protocol):
    """`keeps_older` says that the object cannot be used at all, so that its older version stays in use, if one is known."""

    @property
    def keeps_older(self) -> bool: ...

    def served(self, manifest: Object) -> Object:
        """The object as the API server holds it."""

    def used(self, manifest: Object) -> Object | None:
        """The object without a flaw that fares the same; None if it fares as if it were not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deep:
    """Parts that nobody uses are nested as deep as an API server takes them."""

    keeps_older: ClassVar[bool] = False
    levels: int

    def served(self, manifest: Object) -> Object:
        fields = msgspec.Raw(b'{"f:a":' * self.levels + b"{}" + b"}" * self.levels)
        return _with(manifest, ("metadata", "managedFields"), [{"manager": "kubectl", "fieldsV1": fields}])

    def used(self, manifest: Object) -> Object:
        return manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusable:
    """A field that decides everything has a wrong type or value, inside so many lists."""

    keeps_older: ClassVar[bool] = True
    at: Place
    value: object
    depth: int = 0

    def served(self, manifest: Object) -> Object:
        if not self.depth:
            return _with(manifest, self.at, self.value)
        held = b"[" * self.depth + msgspec.json.encode(self.value) + b"]" * self.depth
        return _with(manifest, self.at, msgspec.Raw(held))

    def used(self, manifest: Object) -> None:
        del manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundless:
    """A Service that asks for more rules than a node can be asked to hold, in both families."""

    keeps_older: ClassVar[bool] = True
    ports: int = 101
    external_ips: int = 100

    def served(self, manifest: Object) -> Object:
        ports = [{"name": f"p{number}", "port": number} for number in range(1, self.ports + 1)]
        networks = ("203.0.113.", "2001:db8:ee::")
        external_ips = [f"{net}{100 + number}" for net in networks for number in range(self.external_ips)]
        return _with(_with(manifest, ("spec", "ports"), ports), ("spec", "externalIPs"), external_ips)

    def used(self, manifest: Object) -> None:
        del manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """A list has one more item, which cannot be used, as its first or last; a list that is not there stays so."""

    keeps_older: ClassVar[bool] = False
    at: Place
    item: object
    first: bool = False

    def served(self, manifest: Object) -> Object:
        items = _at(manifest, self.at)
        if items is None:
            return manifest
        return _with(manifest, self.at, [self.item, *items] if self.first else [*items, self.item])

    def used(self, manifest: Object) -> Object:
        return manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Void:
    """A field has a value of its type that cannot be used, and counts as if it were not there."""

    keeps_older: ClassVar[bool] = False
    at: Place
    value: object

    def served(self, manifest: Object) -> Object:
        return _with(manifest, self.at, self.value)

    def used(self, manifest: Object) -> Object:
        return _without(_with(manifest, self.at, self.value), self.at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Padded:
    """Each IPv4 address is written with leading zeros, which mean nothing."""

    keeps_older: ClassVar[bool] = False

    def served(self, manifest: Object) -> Object:
        padded: Object = _padded(manifest)
        return padded

    def used(self, manifest: Object) -> Object:
        return manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class NotOurs:
    """A field has a value that makes the object no business of a proxy."""

    keeps_older: ClassVar[bool] = False
    at: Place
    value: object

    def served(self, manifest: Object) -> Object:
        return _with(manifest, self.at, self.value)

    def used(self, manifest: Object) -> None:
        del manifest


def _at(manifest: Object, place: Place) -> Any:
    held: Any = manifest
    for step in place:
        held = held.get(step)
    return held


def _with(manifest: Object, place: Place, value: object) -> Object:
    """Objects that are missing on the way to the place are made."""
    changed = deepcopy(manifest)
    held: Any = changed
    *way, last = place
    for step, following in zip(way, place[1:], strict=True):
        held = _entered(held, step, [] if isinstance(following, int) else {})
    if isinstance(last, int) and last == len(held):
        held.append(value)
    else:
        held[last] = value
    return changed


def _entered(held: Any, step: str | int, missing: Any) -> Any:
    if isinstance(step, str):
        return held.setdefault(step, missing)
    if step == len(held):
        held.append(missing)
    return held[step]


def _without(manifest: Object, place: Place) -> Object:
    changed = deepcopy(manifest)
    *way, last = place
    held: Any = changed
    for step in way:
        held = held[step]
    del held[last]
    return changed


def _padded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _padded(held) for name, held in value.items()}
    if isinstance(value, list):
        return [_padded(held) for held in value]
    if isinstance(value, str) and _IPV4.match(value):
        address, slash, prefix = value.partition("/")
        return ".".join(f"{int(octet):03}" for octet in address.split(".")) + slash + prefix
    return value
