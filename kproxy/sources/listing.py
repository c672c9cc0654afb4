"""A complete list of one resource, page by page, each object decoded or left out with its reason."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus

from kproxy.client.connection import Answer, AnswerTooLarge
from kproxy.client.failures import one_line
from kproxy.errors import ApiFailed, InvalidField, Irrelevant, Malformed
from kproxy.sources.depth import room_for_depth
from kproxy.state.encodings import Encoding
from kproxy.state.encodings.envelopes import Page, Raw
from kproxy.state.events import Changed, Listed, Refused, Rejection, flawed
from kproxy.state.objects import Kind, Object

_MOST_PAGES = 2_000
"""A million objects at the usual 500; a proxy that loses the query would give the first page for ever."""

MOST_BYTES = 128 << 20
"""An object has 1.5 MB at most in etcd and a page 500 of them, which are some 5 kB each; more would cost the node its
memory."""

_FEWER = 20
"""How many times smaller the pages are that are asked for after one that was too large."""


@dataclass(frozen=True, slots=True)
class Resource:
    """What to list and watch: one kind, where it is served, and the selectors that narrow it.

    `without_it` says what follows where a server has none of it, or lets us see none; empty if we need it.
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
        """As messages name it: `services`."""
        return self.path.rpartition("/")[2]


def list_resource(
    get: Callable[[Mapping[str, str]], Answer], resource: Resource, page_size: int
) -> tuple[Listed, str]:
    """The complete list and its resourceVersion, which is empty where the list has none; ApiFailed if any page fails.

    Where the list expires between two pages, it is asked for once more, in one piece; where a page is too large, in
    smaller pages.
    """
    try:
        return _list_in_pages(get, resource, {"limit": str(page_size)})
    except AnswerTooLarge:
        if page_size == 1:
            raise
    except ApiFailed as failure:
        if failure.status != HTTPStatus.GONE:
            raise
        return _list_in_pages(get, resource, {})
    return list_resource(get, resource, max(page_size // _FEWER, 1))


def _list_in_pages(
    get: Callable[[Mapping[str, str]], Answer], resource: Resource, limit: Mapping[str, str]
) -> tuple[Listed, str]:
    objects: list[Object] = []
    rejections: list[Rejection] = []
    query = dict(limit)
    number = 0
    for _ in range(_MOST_PAGES):
        with get(query) as answer:
            body, encoding = answer.body(MOST_BYTES), answer.encoding
        for raw in (page := _page(resource, encoding, body)).items:
            number += 1
            match decoded(resource, encoding, raw):
                case Changed(object=thing, rejection=flaws):
                    objects.append(thing)
                    rejections.extend(filter(None, [flaws]))
                case Refused(rejection=refused) if refused.key:
                    rejections.append(refused)
                case Refused(rejection=refused):
                    place = f"{refused.place}, object {number} of the list"
                    rejections.append(replace(refused, place=place))
                case None:
                    pass
        if not page.continue_token:
            listed = Listed(resource.kind, tuple(objects), tuple(rejections))
            return listed, page.resource_version
        query = {**limit, "continue": page.continue_token}
    raise ApiFailed(
        f"the list of {resource.name} has no end after {_MOST_PAGES} pages; "
        "check what stands between us and the API server"
    )


def _page(resource: Resource, encoding: Encoding, body: bytes) -> Page:
    """ApiFailed if the body is no page of a list."""
    try:
        with room_for_depth:
            return encoding.page(body)
    except Malformed as error:
        raise ApiFailed(f"the list of {resource.name} cannot be understood: {error}") from error


def decoded(resource: Resource, encoding: Encoding, raw: Raw) -> Changed | Refused | None:
    """The object in these bytes, or why there is none; None for one that decides no rule."""
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
