"""Desired and observed values of many things by key, and the difference between the two.

Three views of these things:

                 desired                        observed
        +------------------------+------------------------+
        |  to be created         |  to be deleted         |
        |            +-----------+-----------+            |      pending: every key outside of
        |            |  to be replaced       |            |      the inner box, and those in it
        |            |  . . . . . . . . . .  |            |      above the dotted line
        |            |  equal                |            |
        +------------+-----------------------+------------+

These hold after every call:

- a key is pending if and only if the two views differ in it: one lacks it, both have it with different values, or its
  observed value is unknown;
- a key that is not pending has one value, which is held once: where both views are equal, as they nearly always are,
  the delta costs nothing beside the desired values;
- a change of one view changes nothing in the other.

Nobody has to say which keys a change of the desired values touched, and nobody has to say when all is equal again.
"""

from collections.abc import Iterable, Iterator, KeysView, Mapping, MutableMapping
from enum import Enum, auto
from typing import Final, Generic, Literal, TypeAlias, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class _Absence(Enum):
    ABSENT = auto()


ABSENT: Final = _Absence.ABSENT
"""Stands in place of a value: there is no such key."""

_Observed: TypeAlias = Value | Literal[_Absence.ABSENT] | None


class Delta(Generic[Key, Value]):
    """Write to `desired`; say with `found`, `holds`, `lacks` and `settle` what the other side holds.

    An observed value is None where the other side has the key with an unknown value; a desired value is never None.
    In the beginning both views are empty.
    """

    def __init__(self) -> None:
        self._differing: dict[Key, _Observed[Value]] = {}
        """The observed side of each pending key."""
        self.desired: dict[Key, Value] = _Desired(self._differing)
        self.observed: Mapping[Key, Value | None] = _ObservedView(self.desired, self._differing)

    @property
    def pending(self) -> KeysView[Key]:
        """Exactly the keys in which the two views differ; a live view."""
        return self._differing.keys()

    @property
    def wanted(self) -> dict[Key, Value]:
        """The desired values of pending keys: what is to be created or replaced."""
        desired = self.desired
        return {key: desired[key] for key in self._differing if key in desired}

    @property
    def unwanted(self) -> dict[Key, Value | None]:
        """The observed values of pending keys: what is to be replaced or deleted."""
        return {key: value for key, value in self._differing.items() if value is not ABSENT}

    def found(self, observed: Mapping[Key, Value | None]) -> None:
        """The other side holds exactly this."""
        desired, differing = self.desired, self._differing
        differing.clear()
        for key, value in observed.items():
            if value is None or desired.get(key) != value:
                differing[key] = value
        for key in desired:
            if key not in observed:
                differing[key] = ABSENT

    def holds(self, values: Mapping[Key, Value | None]) -> None:
        """The other side holds these values, whatever it holds for other keys."""
        desired, differing = self.desired, self._differing
        for key, value in values.items():
            if value is not None and desired.get(key) == value:
                differing.pop(key, None)
            else:
                differing[key] = value

    def lacks(self, keys: Iterable[Key]) -> None:
        """The other side holds none of these, whatever it holds for other keys."""
        for key in keys:
            if key in self.desired:
                self._differing[key] = ABSENT
            else:
                self._differing.pop(key, None)

    def settle(self) -> None:
        """The other side holds all that is desired, and nothing else."""
        self._differing.clear()


class _Desired(dict[Key, Value]):
    """A dictionary of desired values, which keeps the observed side of a key before its first change.

    Reading is as fast as from any dictionary: in a large cluster there are 100,000 keys.
    """

    def __init__(self, differing: dict[Key, _Observed[Value]]) -> None:
        super().__init__()
        self._differing = differing

    def __setitem__(self, key: Key, value: Value) -> None:
        differing = self._differing
        if key in differing:
            if differing[key] == value:
                del differing[key]
        else:
            before = self.get(key, ABSENT)
            if before == value:
                return
            differing[key] = before
        super().__setitem__(key, value)

    def __delitem__(self, key: Key) -> None:
        value = self[key]
        super().__delitem__(key)
        if key not in self._differing:
            self._differing[key] = value
        elif self._differing[key] is ABSENT:
            del self._differing[key]

    def __ior__(self, other: Mapping[Key, Value]) -> "_Desired[Key, Value]":  # type: ignore[override,misc] # takes no pairs
        """All keys in one loop, since a first sync enters each of 100,000 keys here."""
        differing = self._differing
        for key, value in other.items():
            if key in differing:
                if differing[key] == value:
                    del differing[key]
            elif (before := self.get(key, ABSENT)) != value:
                differing[key] = before
        dict.update(self, other)
        return self

    def pop(self, key: Key, *default: Value | None) -> Value | None:  # type: ignore[override] # narrower
        if default and key not in self:
            return default[0]
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[Key, Value]:
        for key in reversed(self):  # to find the first key takes longer each time
            value = self[key]
            del self[key]
            return key, value
        raise KeyError("there is no key")

    def clear(self) -> None:
        for key in tuple(self):
            del self[key]

    # dict's own ones do not call __setitem__ and __delitem__
    update = MutableMapping.update
    setdefault = MutableMapping.setdefault


class _ObservedView(Mapping[Key, Value | None]):
    """The observed values: the desired values, except for the keys that differ."""

    def __init__(self, desired: Mapping[Key, Value], differing: Mapping[Key, _Observed[Value]]) -> None:
        self._desired = desired
        self._differing = differing

    def __getitem__(self, key: Key) -> Value | None:
        if key not in self._differing:
            return self._desired[key]
        value = self._differing[key]
        if value is ABSENT:
            raise KeyError(key)
        return value

    def __contains__(self, key: object) -> bool:
        if key in self._differing:
            return self._differing[key] is not ABSENT  # type: ignore[index] # a key that is there is of the right type
        return key in self._desired

    def __iter__(self) -> Iterator[Key]:
        differing = self._differing
        yield from (key for key in self._desired if differing.get(key, None) is not ABSENT)
        yield from (key for key in differing if key not in self._desired)

    def __len__(self) -> int:
        created = sum(value is ABSENT for value in self._differing.values())
        deleted = sum(key not in self._desired for key in self._differing)
        return len(self._desired) - created + deleted
