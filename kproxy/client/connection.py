"""Requests to a Kubernetes API server, whose answers are left as bytes and can be severed."""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import urlencode

import urllib3
from urllib3 import exceptions as transport

from kproxy.client.failures import Peer, broken_transport, refused_answer
from kproxy.client.target import Target
from kproxy.client.way import Way
from kproxy.errors import ApiFailed

_CONNECT_TIMEOUT_S = 10.0
_CHUNK_BYTES = 1 << 16


@cache
def _user_agent() -> str:
    from importlib.metadata import version  # it reads a file, and takes as long to import as a request

    return f"kproxy/{version('kproxy')}"


class AnswerTooLarge(ApiFailed):
    """An answer that is not read to its end, because it would take too much memory."""


class Answer:
    """The body of a 200 answer while it comes in. Use it as a context manager; ApiFailed if it breaks off."""

    def __init__(self, response: urllib3.BaseHTTPResponse, failed: Callable[[Exception], ApiFailed]) -> None:
        self._response = response
        self._failed = failed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()

    def body(self, most_bytes: int) -> bytes:
        """All of it; AnswerTooLarge where it has more than `most_bytes`, unpacked, of which no more is held."""
        chunks: list[bytes] = []
        held = 0
        for chunk in self.chunks():
            chunks.append(chunk)
            held += len(chunk)
            if held > most_bytes:
                raise AnswerTooLarge(f"the answer is larger than {most_bytes >> 20} MB")
        return b"".join(chunks)

    def chunks(self) -> Iterator[bytes]:
        """The bytes as they arrive, in pieces of any size."""
        try:
            while chunk := self._response.read1(_CHUNK_BYTES, decode_content=True):
                yield chunk
        except (transport.HTTPError, OSError, ValueError) as error:
            raise self._failed(error) from error

    def sever(self) -> None:
        """End the answer from another thread, even from under a blocked read."""
        try:
            self._response.shutdown()
        except (ValueError, RuntimeError, OSError):
            return  # it has ended by itself


class Asked(NamedTuple):
    """A request that was answered, or was not: then `code` is `<error>`. `host` is `address:port`."""

    method: str
    host: str
    code: str
    took_s: float


class Connection:
    """Asks one API server with one set of credentials; for one thread at a time.

    After a failure, close it and make a new one: that reads the configuration anew. `note` is told of each request
    once its answer begins. InputError or EnvironmentLacking where no connection could be made as the target says.
    """

    def __init__(
        self,
        target: Target,
        note: Callable[[Asked], None] = lambda _: None,
        way_to: Callable[[Target], Way] = Way,
    ) -> None:
        self._target = target
        self._note = note
        self._way = way_to(target)
        self.peer = Peer(target.server.rstrip("/"), target.origin, self._way.proxy)

    def get(self, path: str, query: Mapping[str, str], *, read_timeout_s: float) -> Answer:
        """Ask for a resource; `read_timeout_s` bounds each wait for more bytes, not the whole answer.

        ApiFailed unless the answer is 200. Nothing is retried here.
        """
        response = self._request("GET", f"{path}?{urlencode(query)}", read_timeout_s)
        if response.status == HTTPStatus.OK:
            return Answer(response, self._failed)
        try:
            verb = "watch" if "watch" in query else "list"
            raise refused_answer(self.peer, verb, path.rpartition("/")[2], response)
        finally:
            response.close()

    def post(self, path: str, body: bytes, *, read_timeout_s: float) -> None:
        """Create an object; ApiFailed unless the server took it."""
        response = self._request("POST", path, read_timeout_s, body)
        try:
            if response.status not in (HTTPStatus.OK, HTTPStatus.CREATED):
                raise refused_answer(self.peer, "create", path.rpartition("/")[2], response)
        finally:
            response.close()

    def close(self) -> None:
        self._way.close()

    def _request(
        self, method: str, path: str, read_timeout_s: float, body: bytes | None = None
    ) -> urllib3.BaseHTTPResponse:
        began_at = time.monotonic()
        code = "<error>"
        try:
            response = self._way.pool().request(
                method,
                f"{self.peer.server}{path}",
                body=body,
                headers=self._headers() | ({"Content-Type": "application/json"} if body else {}),
                timeout=urllib3.Timeout(connect=_CONNECT_TIMEOUT_S, read=read_timeout_s),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            code = str(response.status)
        except (transport.HTTPError, OSError, ValueError) as error:
            raise self._failed(error) from error
        finally:
            self._note(Asked(method, self.peer.host, code, time.monotonic() - began_at))
        if response.status == HTTPStatus.UNAUTHORIZED:
            self._target.credentials.refused()
        return response

    def _headers(self) -> urllib3.HTTPHeaderDict:
        headers = {"Accept": "application/json", "User-Agent": _user_agent()}
        return self._way.proof() | headers

    def _failed(self, error: Exception) -> ApiFailed:
        return broken_transport(self.peer, error)


def connect(
    kubeconfig: Path | None = None, master: str = "", note: Callable[[Asked], None] = lambda _: None
) -> Connection:
    """A connection as kube-proxy's `--kubeconfig` and `--master` ask for it; nothing is sent yet.

    `master` overrides the server's address. Without both, the pod's service account is used. Reads files anew each
    time. InputError for a configuration that cannot be used, EnvironmentLacking without a configuration and outside a
    pod.
    """
    from kproxy.client.targets import find_target  # the parser of YAML, spent only with a cluster

    return Connection(find_target(kubeconfig, master), note)
