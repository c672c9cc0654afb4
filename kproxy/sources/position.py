"""Where a list/watch loop is in the server's history, and so what it needs next."""

import re
from enum import Enum, auto
from http import HTTPStatus

from kproxy.errors import ApiFailed
from kproxy.sources.listing import FROM_CACHE
from kproxy.state.validate import quoted

OVERLOADED = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
"""The server asks us to come back later; nothing is wrong with what we know."""

_NUMBER = re.compile(r"[0-9]{1,20}")
"""As long as any of 64 bits."""

_NOT_UNDERSTOOD = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)


def as_told(resource_version: str) -> str:
    """As a log names it: what a server calls so may be any text of any length."""
    return resource_version if _NUMBER.fullmatch(resource_version) else quoted(resource_version)


class Next(Enum):
    """The next thing that the loop needs."""

    WATCH = auto()
    """Go on where we are."""

    LIST = auto()
    """A list that is no older than what we know, which the server's cache can give; before the first, any."""

    NEWEST_LIST = auto()
    """The newest list, as what we know does not help: it is expired, not reached yet, or in doubt."""


class Position:
    """`resource_version` is the newest that was understood, empty before the first list.

    Source: client-go tools/cache/reflector.go, relistResourceVersion and rewatchResourceVersion.
    """

    def __init__(self) -> None:
        self.resource_version = ""
        self.next = Next.LIST

    @property
    def oldest_list(self) -> str:
        """How old a list may be: a resourceVersion, FROM_CACHE for any, or empty for the newest alone."""
        return "" if self.next is Next.NEWEST_LIST else self.resource_version or FROM_CACHE

    @property
    def oldest_stream(self) -> str:
        """The same for a list that comes as a stream: the newest costs the server no more than any."""
        return "" if self.next is Next.NEWEST_LIST else self.resource_version

    def would_go_back(self, resource_version: str) -> bool:
        """Whether a list is older than what is known; versions that are no numbers cannot be compared (KEP-5504)."""
        new, known = resource_version, self.resource_version
        comparable = all(_NUMBER.fullmatch(each) for each in (new, known))
        return comparable and int(new) < int(known)

    def listed(self, resource_version: str) -> None:
        """A list was taken; one without a resourceVersion leaves nothing to go on from."""
        self.resource_version = resource_version
        self.next = Next.WATCH if resource_version else Next.NEWEST_LIST

    def moved(self, resource_version: str) -> None:
        """An event of a watch was taken; one may have no resourceVersion."""
        self.resource_version = resource_version or self.resource_version

    def lost(self) -> None:
        """Something was missed, and nobody can say what."""
        self.next = Next.NEWEST_LIST

    def missed(self, failure: ApiFailed) -> None:
        """A watch broke off with an ERROR event: after any but overload, events may be missing."""
        if failure.status not in OVERLOADED and self.next is Next.WATCH:
            self.next = Next.LIST
        self.refused(failure)

    def refused(self, failure: ApiFailed) -> None:
        """A request was refused, maybe for the resourceVersion in it."""
        if failure.status in _NOT_UNDERSTOOD or failure.is_ahead:
            self.next = Next.NEWEST_LIST
        elif failure.status == HTTPStatus.GONE and self.next is Next.WATCH:
            self.next = Next.LIST
