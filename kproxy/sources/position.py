"""The place of a list/watch loop in the server's history, and the request that it needs next."""

import re
from enum import Enum, auto
from http import HTTPStatus

from kproxy.errors import ApiFailed
from kproxy.sources.listing import FROM_CACHE
from kproxy.state.printable import quoted

OVERLOADED = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
"""The server asks us to come back later. The known objects are still good."""

_NUMBER = re.compile(r"[0-9]{1,20}")
"""The length of any 64-bit number."""

_NOT_UNDERSTOOD = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)


def as_logged(resource_version: str) -> str:
    """A resourceVersion as the log shows it. It may be any text of any length, so other text is quoted."""
    return resource_version if _NUMBER.fullmatch(resource_version) else quoted(resource_version)


class Next(Enum):
    """The next request of the loop."""

    WATCH = auto()
    """Continue at the known resourceVersion."""

    LIST = auto()
    """A list that is no older than the known resourceVersion, which the server's cache can give.

    Before the first list, any list is good.
    """

    NEWEST_LIST = auto()
    """The newest list, because the known resourceVersion is expired, not reached by the server, or in doubt."""


class Position:
    """`resource_version` is the newest version that was understood, empty before the first list.

    Source: client-go tools/cache/reflector.go, relistResourceVersion and rewatchResourceVersion.
    """

    def __init__(self) -> None:
        self.resource_version = ""
        self.next = Next.LIST

    @property
    def oldest_list(self) -> str:
        """The minimum version of the next list: a resourceVersion, FROM_CACHE for any, or empty for the newest list."""
        return "" if self.next is Next.NEWEST_LIST else self.resource_version or FROM_CACHE

    @property
    def oldest_stream(self) -> str:
        """The minimum version of a list as a stream. Empty, because the newest costs the server no more than any."""
        return "" if self.next is Next.NEWEST_LIST else self.resource_version

    def would_go_back(self, resource_version: str) -> bool:
        """Whether a list is older than the known version.

        Versions that are not numbers cannot be compared (KEP-5504).
        """
        new, known = resource_version, self.resource_version
        comparable = all(_NUMBER.fullmatch(each) for each in (new, known))
        return comparable and int(new) < int(known)

    def listed(self, resource_version: str) -> None:
        """A list was taken. Without a resourceVersion, no watch can follow."""
        self.resource_version = resource_version
        self.next = Next.WATCH if resource_version else Next.NEWEST_LIST

    def moved(self, resource_version: str) -> None:
        """A watch event was taken. Some events have no resourceVersion."""
        self.resource_version = resource_version or self.resource_version

    def lost(self) -> None:
        """An unknown change was missed."""
        self.next = Next.NEWEST_LIST

    def missed(self, failure: ApiFailed) -> None:
        """A watch broke off with an ERROR event. Unless the server was overloaded, events may be missing."""
        if failure.status not in OVERLOADED and self.next is Next.WATCH:
            self.next = Next.LIST
        self.refused(failure)

    def refused(self, failure: ApiFailed) -> None:
        """A request was refused, perhaps because of its resourceVersion."""
        if failure.status in _NOT_UNDERSTOOD or failure.is_ahead:
            self.next = Next.NEWEST_LIST
        elif failure.status == HTTPStatus.GONE and self.next is Next.WATCH:
            self.next = Next.LIST
