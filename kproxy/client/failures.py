"""Messages for failures between us and the API server, which tell the reader what to do."""

import re
import ssl
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import BadStatusLine, IncompleteRead, RemoteDisconnected

import msgspec
import urllib3
from urllib3 import exceptions as transport

from kproxy.client.sent_secrets import secrets_of, without
from kproxy.client.transport.proxies import Proxy
from kproxy.client.transport.proxy_failures import proxy_failure, wrong_login
from kproxy.client.transport.tls_failures import plain_cause, tls_advice
from kproxy.client.urls import without_user
from kproxy.errors import ApiFailed, InputError
from kproxy.state.encodings import encoding_of
from kproxy.state.encodings.envelopes import Status
from kproxy.state.printable import one_line

_LONGEST_STATUS_BYTES = 1 << 16
_SECONDS = re.compile(r"[0-9]{1,9}")

_PROXY_LOGIN = 407
_ELSEWHERE = "it redirects us, and credentials are not sent after a redirect; write the API server's own address into {credentials}"

_TOO_LARGE = "Too large resource version"
"""The message of an API server begins so if a resourceVersion is asked for that the server has not reached.

Source: apiserver storage/errors.go. client-go reads this message too, because some servers do not name the cause.
"""

_REMEDIES = {
    **dict.fromkeys((301, 302, 303, 307, 308), _ELSEWHERE),
    400: "the request does not suit this API server",
    401: (
        "our credentials are not accepted; renew the token or client certificate of {credentials}, "
        "or log in again if a plugin gives them"
    ),
    403: (
        "we may not {verb} {resource}; bind our user or service account to the ClusterRole "
        "system:node-proxier, as `kubectl create clusterrolebinding` does"
    ),
    404: "it serves no {resource}; the address in {credentials} must be that of Kubernetes 1.21 or newer",
    410: "our resourceVersion is too old for a watch",
    429: "it is overloaded and asks us to come back later",
    503: "it cannot serve now",
}

_NOBODY = (
    "it does not know who asks, since {credentials} has no credentials; "
    "write a token, a client certificate or a plugin for its user"
)
_NOBODY_WITHOUT_TLS = (
    "it does not know who asks, since credentials are sent with TLS alone; "
    "write https:// into the server's address in {credentials}"
)
_MAY_WANT_TLS = "; if it speaks TLS, write https:// into the server's address in {credentials}"


@dataclass(frozen=True, slots=True)
class Peer:
    """The API server, and the configuration that holds its address and our credentials, as messages name them.

    `secrets` are the secrets of our last request: the server may repeat them, and no message shows them.
    `is_told_nobody` is true if that request carried no credentials.
    """

    server: str
    credentials: str
    proxy: Proxy | None = None
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    is_told_nobody: bool = False

    @property
    def is_without_tls(self) -> bool:
        return self.server.startswith("http://")

    @property
    def host(self) -> str:
        """`address:port` of the URL, without user and password."""
        return self.server.partition("://")[2].partition("/")[0]

    def shown(self, text: str) -> str:
        """The words of the server or its proxy, without the secrets that we sent to them."""
        secrets = self.secrets | secrets_of(self.proxy.authorization() if self.proxy else "")
        return without(secrets, text)


def refusal(peer: Peer, verb: str, resource: str, body: Status, *, retry_after_s: int = 0) -> ApiFailed:
    """The error for a Status that refuses. `retry_after_s` comes from the header Retry-After, 0 without this header."""
    advice = _remedy(peer, body.code).format(verb=verb, resource=resource, credentials=peer.credentials)
    said = f" ({one_line(peer.shown(body.message))})" if body.message else ""
    seconds = retry_after_s
    if not seconds and body.details is not None:
        seconds = max(0, body.details.retry_after_seconds)
    return ApiFailed(
        f"{peer.server} answers {body.code} to {verb} {resource}: {advice}{said}",
        status=body.code,
        retry_after_s=seconds,
        is_ahead=body.code == HTTPStatus.GATEWAY_TIMEOUT and body.message.startswith(_TOO_LARGE),
    )


def _remedy(peer: Peer, code: int) -> str:
    if code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) and peer.is_told_nobody:
        return _NOBODY_WITHOUT_TLS if peer.is_without_tls else _NOBODY
    remedy = _REMEDIES.get(code, "it failed; its own log says why")
    # net/http answers with status 400 if a request without TLS reaches a port with TLS
    return remedy + _MAY_WANT_TLS if code == HTTPStatus.BAD_REQUEST and peer.is_without_tls else remedy


def refused_answer(peer: Peer, verb: str, resource: str, response: urllib3.BaseHTTPResponse) -> ApiFailed:
    """`refusal` for an answer whose body has not been read. The HTTP status counts, not the body's code."""
    if response.status == _PROXY_LOGIN and peer.proxy is not None:
        return ApiFailed(wrong_login(peer.proxy), status=response.status)
    try:
        encoding = encoding_of(response.headers.get("Content-Type", ""))
        body = encoding.status(response.read(_LONGEST_STATUS_BYTES, decode_content=True))
    except (transport.HTTPError, OSError, InputError):
        body = Status()
    body = msgspec.structs.replace(body, code=response.status)
    wish, now = response.headers.get("Retry-After", ""), response.headers.get("Date", "")
    return refusal(peer, verb, resource, body, retry_after_s=_seconds(wish, now))


def _seconds(wish: str, now: str) -> int:
    """The seconds that Retry-After asks us to wait: a number, or the time until a date (RFC 9110); 0 for other text.

    A date is compared with the server's own `now`, because clocks differ. client-go ignores dates; only proxies write
    them.
    """
    if _SECONDS.fullmatch(wish):
        return int(wish)
    try:
        return max(0, int((parsedate_to_datetime(wish) - parsedate_to_datetime(now)).total_seconds()))
    except (ValueError, TypeError, OverflowError):
        return 0


def broken_transport(peer: Peer, error: Exception) -> ApiFailed:
    """The error for a request that got no answer, or whose answer broke off."""
    if isinstance(error, transport.ProxyError) and peer.proxy is not None:
        return ApiFailed(
            proxy_failure(peer.proxy, error.original_error, peer.server, _root_cause(peer, error))
        )
    through = f"; the proxy is {peer.proxy.url} of {peer.proxy.named_by}" if peer.proxy else ""
    may_want_tls = ""
    if peer.is_without_tls and isinstance(_root(error), BadStatusLine):
        may_want_tls = _MAY_WANT_TLS.format(credentials=peer.credentials)
    return ApiFailed(_transport_text(peer, error) + may_want_tls + through)


def _transport_text(peer: Peer, error: Exception) -> str:
    server, credentials = peer.server, peer.credentials
    match error:
        case transport.NameResolutionError():
            text = f"the name in {server} cannot be resolved; check DNS and the address in {credentials}"
        case transport.NewConnectionError():
            text = (
                f"{server} cannot be reached ({_root_cause(peer, error)}); check that an API server runs there, "
                f"or correct the address in {credentials}"
            )
        case transport.ConnectTimeoutError():
            text = f"{server} does not take connections; check the firewall and the address in {credentials}"
        case transport.ReadTimeoutError():
            text = f"{server} does not answer any more; check the server and the network between"
        case transport.ProtocolError():
            text = f"{server} {_broken_off(peer, error)}"
        case transport.SSLError():
            text = f"{server}: {tls_advice(_root(error), credentials)} ({_root_cause(peer, error)})"
        case _:
            text = f"{server} cannot be used: {_root_cause(peer, error)}"
    return text


def is_about_trust(error: Exception) -> bool:
    """Whether TLS failed because we do not trust the certificate of the server or proxy."""
    return isinstance(_root(error), ssl.SSLCertVerificationError)


def _broken_off(peer: Peer, error: BaseException) -> str:
    """How the connection ended.

    The messages of http.client and urllib3 speak of their parsers, so most are replaced.
    """
    match _root(error):
        case RemoteDisconnected():
            return "closed the connection without an answer"
        case BadStatusLine():
            return f"does not answer in HTTP ({_root_cause(peer, error)})"
        case ValueError() | IncompleteRead():
            return "closed the connection in the middle of an answer"
        case _:
            return f"closed the connection ({_root_cause(peer, error)})"


def _root(error: BaseException) -> BaseException:
    while (
        cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    ) is not None:
        error = cause
    return error


def _root_cause(peer: Peer, error: BaseException) -> str:
    root = _root(error)
    return one_line(plain_cause(without_user(peer.shown(str(root))))) or type(root).__name__
