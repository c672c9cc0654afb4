"""A complete list of one resource, page by page. Each object is decoded, or left out with a reason."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from types import MappingProxyType

from kproxy.client.answer import Answer, AnswerTooLarge
from kproxy.errors import ApiFailed, InvalidField, Irrelevant, Malformed
from kproxy.sources.depth import room_for_depth
from kproxy.state.encodings import Encoding
from kproxy.state.encodings.envelopes import Page, Raw
from kproxy.state.events import Changed, Listed, Refused, Rejection, flawed
from kproxy.state.objects import Kind
from kproxy.state.printable import one_line, plain_word
from kproxy.values import NamespacedName

_MOST_PAGES = 2_000
"""A million objects with the usual 500 per page. A proxy that drops the query would send the first page for ever."""

MOST_OBJECTS = 1_000_000
"""Ten times as many as the largest cluster has of one kind. More would exhaust the node's memory."""

MOST_BYTES = 128 << 20
"""The bound of one answer.

An object has at most 1.5 MB in etcd, usually 5 kB as JSON and 1 kB as protobuf, so a list of 20,000 objects fits.

A larger list would exhaust the node's memory, and is fetched in pages.
"""

_FEWER = 20
"""The factor by which pages get smaller after a page that was too large."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind to list and watch: its path on the server, and the selectors that narrow it.

    `without_it` says what follows if a server does not have the resource, or does not let us see it; empty if we need
    it.
    """

    kind: Kind
    path: str
    selectors: tuple[tuple[str, str], ...] = ()
    without_it: str = ""

    def query(self, asked: Mapping[str, str]) -> dict[str, str]:
        """`asked` with the selectors added."""
        return {**asked, **dict(self.selectors)}

    @property
    def name(self) -> str:
        """The name in messages, such as `services`."""
        return self.path.rpartition("/")[2]


FROM_CACHE = "0"
"""The resourceVersion that accepts any state: the server answers from its cache, without etcd."""


def list_resource(
    get: Callable[[Mapping[str, str]], Answer], resource: Resource, page_size: int, since: str = ""
) -> tuple[Listed, str]:
    """The complete list and its resourceVersion, which is empty if the list has none. ApiFailed if a page fails.

    `since` is a known resourceVersion or FROM_CACHE, and the list is no older; if it is empty, the list is the newest.
    For the first two, a server sends one piece from its cache. If the server cannot, or if that piece is too large, the
    newest list is fetched in pages. If the list expires between two pages, it is fetched once more, in one piece; if a
    page is too large, in smaller pages. Source: client-go tools/cache/reflector.go, list.
    """
    if since:
        # a cache ignores a limit with version 0, and a limit with any other version makes the server read etcd
        limit = {"limit": str(page_size)} if since == FROM_CACHE else {}
        try:
            return _list_in_pages(get, resource, limit, {"resourceVersion": since})
        except AnswerTooLarge:
            pass
        except ApiFailed as failure:
            if failure.status != HTTPStatus.GONE and not failure.is_ahead:
                raise
    return _list_newest(get, resource, page_size)


def _list_newest(
    get: Callable[[Mapping[str, str]], Answer], resource: Resource, page_size: int
) -> tuple[Listed, str]:
    try:
        return _list_in_pages(get, resource, {"limit": str(page_size)})
    except AnswerTooLarge:
        if page_size == 1:
            raise
    except ApiFailed as failure:
        if failure.status != HTTPStatus.GONE:
            raise
        return _list_in_pages(get, resource, {})
    return _list_newest(get, resource, max(page_size // _FEWER, 1))


def _list_in_pages(
    get: Callable[[Mapping[str, str]], Answer],
    resource: Resource,
    limit: Mapping[str, str],
    first: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Listed, str]:
    """List page by page. `first` is sent only with the first page: continue tokens contain it for the others."""
    found = ListBuilder(resource)
    query = {**limit, **first}
    for _ in range(_MOST_PAGES):
        with get(query) as answer:
            encoding = answer.encoding
            # no variable holds the body, only the page: a list in one piece is large
            page = _page(resource, encoding, answer.body(MOST_BYTES))
        for raw in page.items:
            found.take(encoding, raw)
        if not page.continue_token:
            return found.listed(), page.resource_version
        query = {**limit, "continue": page.continue_token}
    raise ApiFailed(
        f"the list of {resource.name} has no end after {_MOST_PAGES} pages; "
        "check the proxies between us and the API server"
    )


class ListBuilder:
    """The objects of a list that arrives piece by piece, and the faults of some objects."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        self._each: dict[NamespacedName | int, Changed | Refused] = {}
        self._number = 0

    def take(self, encoding: Encoding, raw: Raw) -> None:
        """Add the next object.

        An unusable object affects only itself. ApiFailed after more than MOST_OBJECTS objects.
        """
        self._number += 1
        if self._number > MOST_OBJECTS:
            raise ApiFailed(
                f"the list of {self._resource.name} has no end after {MOST_OBJECTS} objects; "
                "check the proxies between us and the API server"
            )
        match decoded(self._resource, encoding, raw):
            case Changed(object=thing) as changed:
                self._each[thing.key] = changed
            case Refused(rejection=refused) as whole if refused.key:
                self._each[refused.key] = whole
            case Refused(rejection=refused) as whole:
                place = f"{refused.place}, object {self._number} of the list"
                self._each[self._number] = replace(whole, rejection=replace(refused, place=place))
            case None:
                pass

    def drop(self, key: NamespacedName) -> None:
        """Remove an object that was taken before: it was deleted, or a newer version follows."""
        self._each.pop(key, None)

    def listed(self) -> Listed:
        """The objects in the order in which they came."""
        each = self._each.values()
        objects = tuple(item.object for item in each if isinstance(item, Changed))
        rejections = tuple(item.rejection for item in each if item.rejection is not None)
        return Listed(self._resource.kind, objects, rejections)


def _page(resource: Resource, encoding: Encoding, body: bytes) -> Page:
    """ApiFailed if the body is not a page of a list."""
    try:
        with room_for_depth:
            page = encoding.page(body)
    except Malformed as error:
        raise _not_understood(resource, str(error)) from error
    if page.kind not in ("", f"{resource.kind}List"):
        raise _not_understood(resource, f"it is of the kind {plain_word(page.kind)}")
    return page


def _not_understood(resource: Resource, reason: str) -> ApiFailed:
    return ApiFailed(
        f"the list of {resource.name} cannot be understood: {reason}; "
        "check that an API server answers, and the proxies between us and the API server"
    )


def decoded(resource: Resource, encoding: Encoding, raw: Raw) -> Changed | Refused | None:
    """The object in these bytes, or the reason why it is unusable; None for an object that decides no rule."""
    flaws: list[InvalidField] = []
    try:
        with room_for_depth:
            thing = encoding.fact(resource.kind, raw, flaws)
    except Irrelevant:
        return None
    except InvalidField as error:
        key = encoding.key(resource.kind, raw)
        name = one_line(str(key)) if key else ""
        return Refused(
            resource.kind,
            Rejection(resource.path, resource.kind.value, name, error.field, error.reason, key),
        )
    return Changed(thing, flawed(resource.path, resource.kind, thing.key, flaws) if flaws else None)
