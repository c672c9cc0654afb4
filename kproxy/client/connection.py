"""Requests to a Kubernetes API server. The answers stay bytes, and another thread can cut them off."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import urllib3
from urllib3 import exceptions as transport

from kproxy.client.accept import ACCEPT
from kproxy.client.answer import Answer
from kproxy.client.compression import GZIP
from kproxy.client.failures import Peer, broken_transport, is_about_trust, refused_answer
from kproxy.client.rate import RateLimiter
from kproxy.client.sent_secrets import secrets_of
from kproxy.client.target import Target
from kproxy.client.transport.route import Route
from kproxy.errors import ApiFailed
from kproxy.state.encodings import JSON

_log = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 10.0

_LONG_WAIT_S = 1.0
"""A request that waits longer for its turn is reported in the log, as by client-go."""


@cache
def _user_agent() -> str:
    from importlib.metadata import version  # the import reads a file and takes as long as a request

    return f"kproxy/{version('kproxy')}"


class Asked(NamedTuple):
    """One request, whether or not it was answered; `code` is `<error>` if it was not answered.

    `host` is `address:port`, without user and password. `throttled_s` is the time that the request waited for its turn,
    None if requests of its kind do not wait. `sent_bytes` is the length of the request's body.
    """

    method: str
    host: str
    code: str
    took_s: float
    throttled_s: float | None = None
    sent_bytes: int = 0
    is_watch: bool = False


class Received(NamedTuple):
    """The body of an answer to a list request, with any status, that was read to its end. `host` is as in `Asked`."""

    method: str
    host: str
    body_bytes: int


Noted = Asked | Received


class Connection:
    """Sends requests to one API server with one set of credentials; for one thread at a time.

    After a failure, close the connection and make a new one, which reads the configuration again. `note` gets each
    request when its answer begins, and each body that was read to its end. All requests except watches wait for their
    turn with `limiter`: `wait(seconds)` spends the waiting time, and returns true if the wait was cut short; then the
    request is not sent. InputError or EnvironmentLacking if no connection can be made as the target says.
    """

    def __init__(
        self,
        target: Target,
        note: Callable[[Noted], None] = lambda _: None,
        route_to: Callable[[Target], Route] = Route,
        accept: str = ACCEPT,
        limiter: RateLimiter | None = None,
    ) -> None:
        self._target = target
        self._note = note
        self._route = route_to(target)
        self._accept = accept
        self._limiter = limiter
        self.peer = Peer(target.server.rstrip("/"), target.origin, self._route.proxy)
        self.wait: Callable[[float], object] = time.sleep

    def get(self, path: str, query: Mapping[str, str], *, read_timeout_s: float) -> Answer:
        """Ask for a resource. `read_timeout_s` bounds each wait for more bytes, not the whole answer.

        ApiFailed unless the answer has status 200. The request is not retried.
        """
        is_watch = "watch" in query
        # client-go rest/request.go: a watch needs no token, because it is a single request for many minutes
        throttled_s = None if is_watch else self._await_turn(path)
        verb = "watch" if is_watch and "sendInitialEvents" not in query else "list"
        compressed = {"Accept-Encoding": GZIP} if verb == "list" and self._target.takes_compressed else {}
        response = self._request(
            "GET",
            f"{path}?{urlencode(query)}",
            read_timeout_s,
            compressed,
            throttled_s=throttled_s,
            is_watch=is_watch,
        )
        if response.status == HTTPStatus.OK:
            return Answer(response, self._failed, partial(self._read_all, "GET"), self.peer.shown)
        try:
            raise refused_answer(self.peer, verb, path.rpartition("/")[2], response)
        finally:
            if not is_watch:
                self._read_all("GET", response.tell())
            response.close()

    def post(self, path: str, body: bytes, *, read_timeout_s: float) -> None:
        """Create an object. ApiFailed unless the server accepts it."""
        throttled_s = self._await_turn(path)
        content = {"Content-Type": JSON.media_type}
        response = self._request("POST", path, read_timeout_s, content, body, throttled_s=throttled_s)
        try:
            if response.status not in (HTTPStatus.OK, HTTPStatus.CREATED):
                raise refused_answer(self.peer, "create", path.rpartition("/")[2], response)
        finally:
            response.close()

    def close(self) -> None:
        self._route.close()

    def _await_turn(self, path: str) -> float | None:
        """The time that the request waited, None without a limit. ApiFailed if the wait was cut short."""
        if self._limiter is None:
            return None
        pause_s = self._limiter.reserve_s()
        if pause_s > _LONG_WAIT_S:
            _log.info("a request of %s waits %.1f s because of --kube-api-qps", path, pause_s)
        if pause_s and self.wait(pause_s):
            raise ApiFailed(f"the request of {path} was given up while it waited for its turn")
        return pause_s

    def _request(
        self,
        method: str,
        path: str,
        read_timeout_s: float,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        throttled_s: float | None = None,
        is_watch: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        began_at = time.monotonic()
        code = "<error>"
        try:
            response = self._sent(method, path, read_timeout_s, headers, body)
            code = str(response.status)
        except (transport.HTTPError, OSError, ValueError) as error:
            raise self._failed(error) from error
        finally:
            took_s = time.monotonic() - began_at
            sent_bytes = len(body or b"")
            self._note(Asked(method, self.peer.host, code, took_s, throttled_s, sent_bytes, is_watch))
        if response.status == HTTPStatus.UNAUTHORIZED:
            self._target.credentials.refused()
        return response

    def _sent(
        self, method: str, path: str, read_timeout_s: float, headers: Mapping[str, str], body: bytes | None
    ) -> urllib3.BaseHTTPResponse:
        """Send the request once.

        A server that we do not trust gets nothing, so the request can be sent again after that.
        """
        while True:
            try:
                return self._route.pool().request(
                    method,
                    f"{self.peer.server}{path}",
                    body=body,
                    headers=self._headers() | headers,
                    timeout=urllib3.Timeout(connect=_CONNECT_TIMEOUT_S, read=read_timeout_s),
                    retries=False,
                    redirect=False,
                    preload_content=False,
                )
            except transport.SSLError as error:
                if not (is_about_trust(error) and self._route.reads_authority_again()):
                    raise

    def _read_all(self, method: str, body_bytes: int) -> None:
        self._note(Received(method, self.peer.host, body_bytes))

    def _headers(self) -> urllib3.HTTPHeaderDict:
        headers = {"Accept": self._accept, "User-Agent": _user_agent()}
        proof = self._route.proof()
        authorization = proof.get("Authorization", "")
        self.peer = replace(
            self.peer,
            secrets=secrets_of(authorization),
            is_told_nobody=not authorization and not self._route.has_certificate,
        )
        return proof | headers

    def _failed(self, error: Exception) -> ApiFailed:
        return broken_transport(self.peer, error)


def connect(
    kubeconfig: Path | None = None,
    master: str = "",
    note: Callable[[Noted], None] = lambda _: None,
    accept: str = ACCEPT,
    limiter: RateLimiter | None = None,
) -> Connection:
    """A connection as kube-proxy's `--kubeconfig` and `--master` ask for it. Nothing is sent yet.

    `master` overrides the server's address. Without both, the pod's service account is used. `accept` is the value of
    the header Accept. All files are read again with each call. InputError for a configuration that cannot be used,
    EnvironmentLacking without a configuration outside a pod.
    """
    from kproxy.client.kubeconfig.targets import (
        find_target,
    )  # the import loads a YAML parser, which only a cluster needs

    return Connection(find_target(kubeconfig, master), note, accept=accept, limiter=limiter)
