"""The things that a text of manifests may hold: objects, ignored objects, remarks and faults, each with its place."""

from typing import NamedTuple

from kproxy.state.events import Rejection
from kproxy.state.objects import Object


class Usable(NamedTuple):
    """An object that can be used. `rejection` names the fields that are left out."""

    place: str
    object: Object
    rejection: Rejection | None = None


class Ignored(NamedTuple):
    """An object that decides no rule. Its kind includes the API group, as in `Ingress.networking.k8s.io`.

    `reason` says why an object of a known kind decides no rule; `meant` is the kind or group that its author may have
    meant.
    """

    kind: str
    place: str
    reason: str = ""
    meant: str = ""


class Remark(NamedTuple):
    """A remark for the author of an object that can be used."""

    place: str
    kind: str
    name: str
    text: str

    def __str__(self) -> str:
        return f"{' '.join(filter(None, (f'{self.place}:', self.kind, self.name))).rstrip(':')}: {self.text}"


class NoDocument(NamedTuple):
    """The text holds no document: it is empty, or has only comments."""

    place: str


class EmptyList(NamedTuple):
    """A List without items. Unlike an empty text, it states that there are no objects."""

    place: str


class Malformed(NamedTuple):
    """A document, or a whole text, that is neither YAML nor JSON."""

    place: str
    reason: str


Content = Usable | Ignored | Rejection | Remark | Malformed | NoDocument | EmptyList
