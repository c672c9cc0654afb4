"""A page of a web server, and the ways to make one."""

from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


class Page(NamedTuple):
    body: str
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


Negotiated = Callable[[str], Page]
"""A page in several forms: called with the client's Accept header, empty without one."""

Answer = Callable[[str], Page | Negotiated | None]
"""Makes the page at a path, without its query; None if there is no such page. It must be quick: all clients wait."""
