"""The API's envelopes, the same for all encodings: pages of a list, watch events, and refusals."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from msgspec import Struct

from kproxy.values import NamespacedName

Raw = bytes | msgspec.Raw
"""One encoded object that has not been decoded yet."""

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
"""The annotation of the bookmark that ends a list in a stream (KEP-3157)."""


@dataclass(frozen=True, slots=True)
class Meta:
    """The metadata of an object. A text that is missing or not text is empty here.

    `kind` is the object's own kind, from JSON.
    """

    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    ends_initial_events: bool = False
    kind: str = ""

    @property
    def key(self) -> NamespacedName | None:
        """The object's key; None if it has no name."""
        return NamespacedName(self.namespace, self.name) if self.name else None


@dataclass(frozen=True, slots=True)
class Page:
    """One answer to a list request.

    `kind` is the kind of the list, which JSON may leave out. `resource_version` is the version from which a watch can
    continue, empty if the list names none. `continue_token` asks for the next page; it is empty on the last page.
    """

    items: Sequence[Raw]
    continue_token: str = ""
    resource_version: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One event of a watch. `kind` is the kind of the object, from protobuf's wrapper message."""

    type: str
    object: Raw
    kind: str = ""


class StatusDetails(Struct, frozen=True, rename="camel"):
    retry_after_seconds: int = 0


class Status(Struct, frozen=True):
    """The API's description of a refusal; `code` is an HTTP status."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: StatusDetails | None = None
