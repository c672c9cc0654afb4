"""A real API server's answers in both encodings, as `recorded/encodings` has them."""

import io
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

_DIRECTORY = Path(__file__).with_name("recorded") / "encodings"


class _Replayed:
    """As much of a socket as `http.client` needs to read an answer out of a recording."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    def makefile(self, *_: object) -> Any:
        return io.BytesIO(self._text)


@dataclass(frozen=True, slots=True)
class Recorded:
    status: int
    content_type: str
    body: bytes


def recorded(name: str) -> Recorded:
    """The answer of this name; its chunks are put together."""
    _, _, answer = (_DIRECTORY / f"{name}.http").read_bytes().partition(b"\n----- response -----\n")
    replayed: Any = _Replayed(answer)
    response = HTTPResponse(replayed)
    response.begin()
    return Recorded(response.status, response.getheader("Content-Type", ""), response.read())
