"""The events from a source to the store: lists, changes, deletions, and objects that cannot be used."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from kproxy.errors import InvalidField
from kproxy.state.objects import Kind, Object
from kproxy.values import NamespacedName


class Cost(StrEnum):
    """How much of an object, or of a file of objects, is left out."""

    OBJECT = "is left out"
    FIELD = "is used in part"
    CHANGE = "keeps the rules that it had, if any"
    FILE = "keeps its last good contents in force"


@dataclass(frozen=True, slots=True)
class Rejection:
    """An object in quarantine: the whole object, one field or its newest change is left out, for a reason.

    `place` is its place (`web.yaml, document 2, items[0]`, or the API path); `name` is `namespace/name` so far as it
    could be read; `field` is a Kubernetes field path; `reason` says what was found there and what is allowed. `key` is
    set if the object has a name.
    """

    place: str
    kind: str
    name: str
    field: str
    reason: str
    key: NamespacedName | None = None
    cost: Cost = Cost.OBJECT

    def __str__(self) -> str:
        what = " ".join(filter(None, (self.kind, self.name)))
        subject = f"{self.place}: {what}" if what else self.place
        return f"{subject} {self.explanation}"

    @property
    def explanation(self) -> str:
        """The effect and the reason, as the end of a sentence about the object."""
        where = f"{self.field}: " if self.field else ""
        return f"{self.cost}: {where}{self.reason}"


def flawed(place: str, kind: str, key: NamespacedName, flaws: Sequence[InvalidField]) -> Rejection:
    """The rejection for an object that is used without some of its fields.

    It names the first field, and counts the others.
    """
    first, more = flaws[0], len(flaws) - 1
    reason = f"{first.reason}; {more} more fields are left out too" if more else first.reason
    return Rejection(place, kind, str(key), first.field, reason, key, Cost.FIELD)


@dataclass(frozen=True, slots=True)
class Listed:
    """The complete list of one kind.

    An object that is not in the list is gone. `rejections` includes the objects used in part.
    """

    kind: Kind
    objects: tuple[Object, ...]
    rejections: tuple[Rejection, ...] = ()


@dataclass(frozen=True, slots=True)
class Changed:
    """One new or changed object; `rejection` names the fields that are left out."""

    object: Object
    rejection: Rejection | None = None


@dataclass(frozen=True, slots=True)
class Deleted:
    kind: Kind
    key: NamespacedName


@dataclass(frozen=True, slots=True)
class Refused:
    """A changed object that cannot be used. Its older version stays in use, if there is one."""

    kind: Kind
    rejection: Rejection


Event = Listed | Changed | Deleted | Refused
