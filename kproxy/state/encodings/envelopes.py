"""The API's envelopes, whatever they are encoded in: pages of a list, watch events, and refusals."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from msgspec import Struct

from kproxy.values import NamespacedName

Raw = bytes | msgspec.Raw
"""One object as its encoding has it, not decoded yet."""

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
"""The annotation of the bookmark that ends a list which is sent as a stream (KEP-3157)."""


@dataclass(frozen=True, slots=True)
class Meta:
    """The metadata of an object, of which each text is empty that is missing or no text.

    `kind` is the object's own, as JSON has it.
    """

    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    ends_initial_events: bool = False
    kind: str = ""

    @property
    def key(self) -> NamespacedName | None:
        """The object's key; None while it has no name."""
        return NamespacedName(self.namespace, self.name) if self.name else None


@dataclass(frozen=True, slots=True)
class Page:
    """One answer to a list.

    `kind` is that of the list, which JSON may leave out. `resource_version` is the place from which a watch can go on,
    empty where the list names none. `continue_token` asks for the next page; it is empty on the last one.
    """

    items: Sequence[Raw]
    continue_token: str = ""
    resource_version: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """`kind` is that of the object, as protobuf's wrapping has it."""

    type: str
    object: Raw
    kind: str = ""


class StatusDetails(Struct, frozen=True, rename="camel"):
    retry_after_seconds: int = 0


class Status(Struct, frozen=True):
    """The API's own words for a refusal; `code` is an HTTP status."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: StatusDetails | None = None
