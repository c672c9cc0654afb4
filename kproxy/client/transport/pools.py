"""Pools of connections to one server: directly, through a proxy's tunnel, or through SOCKS."""

import socket
import ssl
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypedDict

import urllib3
from urllib3 import exceptions as transport
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.ssltransport import SSLTransport

from kproxy.client.transport.deadline import Deadline
from kproxy.client.transport.proxies import Proxy
from kproxy.client.transport.proxy_failures import TunnelRefused
from kproxy.errors import EnvironmentLacking

if TYPE_CHECKING:
    from urllib3._base_connection import BaseHTTPConnection

_KEEPALIVE_S = 15
"""Seconds between two probes of a silent connection, as in Go's net.Dialer."""

_KEEPALIVE_PROBES = 9
"""Unanswered probes until a connection counts as broken, as in Go's net.Dialer."""

_MOST_INFORMATIONAL = 100
"""Informational answers before the final answer. A server sends one or two; Go stops at 1 MiB of them."""

LONGEST_GREETING_S = 30.0
"""Seconds for a proxy's tunnel and for TLS together, from the first byte on. Go gives a tunnel 60 s, and TLS 10 s."""

_SOCKET_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_S),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_S),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES),
)


class _Final(HTTPResponse):
    """An answer that may follow informational answers of any code (RFC 9110, 15.2), as Go's net/http reads it.

    The answer that changes the protocol (101) is not informational.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._informational = 0

    def _read_status(self) -> tuple[str, int, str]:
        """Skip all informational answers; http.client skips only those with code 100, and returns the others."""
        version, code, reason = super()._read_status()  # type: ignore[misc]
        if not HTTPStatus.CONTINUE <= code < HTTPStatus.OK or code == HTTPStatus.SWITCHING_PROTOCOLS:
            return version, code, reason
        self._informational += 1
        if self._informational > _MOST_INFORMATIONAL:
            raise HTTPException(f"more than {_MOST_INFORMATIONAL} informational answers")
        return version, HTTPStatus.CONTINUE, reason


class _PlainConnection(HTTPConnection):
    response_class = _Final


class _TlsConnection(HTTPSConnection):
    """Reports a tunnel that a proxy does not open as the proxy's failure.

    It can be cut off also if TLS runs within TLS.
    """

    response_class = _Final
    _deadline: Deadline | None = None

    def connect(self) -> None:
        self._deadline = None
        try:
            super().connect()
        except (OSError, transport.ProxyError) as error:
            if self._is_late:
                raise _too_late(error) from error
            raise
        finally:
            self._end_deadline()
        if isinstance(self.sock, SSLTransport):
            self.sock.shutdown = self.sock.socket.shutdown  # type: ignore[attr-defined]

    @property
    def _is_late(self) -> bool:
        return self._deadline is not None and self._deadline.has_passed

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.end()

    def _new_conn(self) -> socket.socket:
        reached = self._reach()
        try:
            self._deadline = Deadline(reached, LONGEST_GREETING_S)
        except OSError:
            reached.close()
            raise
        return reached

    def _reach(self) -> socket.socket:
        return super()._new_conn()

    def _tunnel(self) -> None:
        """Ask with HTTP/1.1, which some proxies require, and bound the headers. Python 3.11 does neither."""
        host = str(self._tunnel_host).strip("[]")
        server = f"[{host}]:{self._tunnel_port}" if ":" in host else f"{host}:{self._tunnel_port}"
        headers = {"Host": server, **self._tunnel_headers}  # type: ignore[attr-defined]
        lines = (f"CONNECT {server} HTTP/1.1", *(f"{name}: {each}" for name, each in headers.items()), "")
        try:
            self.send("".join(f"{line}\r\n" for line in lines).encode("ascii"))
            with closing(HTTPResponse(self.sock, method="CONNECT")) as answer:
                answer.begin()
            if self._is_late:
                raise TimeoutError
            if answer.status != HTTPStatus.OK:
                raise TunnelRefused(answer.status, answer.reason)
        except (OSError, HTTPException) as error:
            raise transport.ProxyError("no tunnel", error) from error


def _too_late(error: Exception) -> Exception:
    late = TimeoutError(f"not ready within {LONGEST_GREETING_S:g} s")
    return transport.ProxyError("no tunnel", late) if isinstance(error, transport.ProxyError) else late


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection

    def _validate_conn(self, conn: "BaseHTTPConnection") -> None:
        """Connect without urllib3's warning, since the configuration may ask for no verification."""
        if conn.is_closed:
            conn.connect()


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


_POOLS: dict[str, type[HTTPConnectionPool]] = {"http": _PlainPool, "https": _TlsPool}


class _Settings(TypedDict):
    ssl_context: ssl.SSLContext | None
    server_hostname: str | None
    socket_options: list[tuple[int, int, int]]


def pool_manager(
    tls: ssl.SSLContext | None, server_name: str, proxy: Proxy | None, proxy_tls: ssl.SSLContext | None
) -> urllib3.PoolManager:
    """A pool that makes connections when they are needed.

    `server_name` is the name to ask for and to expect; empty means the host of the URL. A proxy is verified by its own
    name and `proxy_tls`. EnvironmentLacking for a SOCKS proxy if its library is missing.
    """
    settings = _Settings(
        ssl_context=tls, server_hostname=server_name or None, socket_options=list(_SOCKET_OPTIONS)
    )
    manager: urllib3.PoolManager
    if proxy is None:
        manager = urllib3.PoolManager(**settings)
        manager.pool_classes_by_scheme = _POOLS
    elif proxy.is_socks:
        manager = urllib3.PoolManager(**settings)
        manager.pool_classes_by_scheme = _socks_pools(proxy)
    else:
        proof = proxy.authorization()
        headers = {"Proxy-Authorization": proof} if proof else None
        manager = urllib3.ProxyManager(
            proxy.url, proxy_headers=headers, proxy_ssl_context=proxy_tls, **settings
        )
        manager.pool_classes_by_scheme = _POOLS
    return manager


def _socks_pools(proxy: Proxy) -> dict[str, type[HTTPConnectionPool]]:
    if find_spec("python_socks") is None:
        raise EnvironmentLacking(
            f"{proxy.named_by} names a SOCKS proxy, which needs the package python-socks: pip install python-socks"
        )

    class Plain(_PlainConnection):
        def _new_conn(self) -> socket.socket:
            return _through_socks(proxy, self)

    class Tls(_TlsConnection):
        def _reach(self) -> socket.socket:
            return _through_socks(proxy, self)

    class PlainPool(_PlainPool):
        ConnectionCls = Plain

    class TlsPool(_TlsPool):
        ConnectionCls = Tls

    return {"http": PlainPool, "https": TlsPool}


def _through_socks(proxy: Proxy, connection: HTTPConnection) -> socket.socket:
    """A connection to a server that the proxy resolves and reaches, for socks5 and socks5h alike (as in Go)."""
    from python_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError, ProxyType
    from python_socks.sync import Proxy as Socks

    socks = Socks(
        ProxyType.SOCKS5, proxy.host, proxy.port, proxy.user or None, proxy.password or None, rdns=True
    )
    try:
        reached = socks.connect(connection.host, connection.port, timeout=connection.timeout)
    except ProxyConnectionError as error:
        reason = error.__cause__ if isinstance(error.__cause__, OSError) else error
        raise transport.ProxyError(str(reason), _as_of_urllib3(connection, proxy, reason)) from reason
    except (ProxyError, ProxyTimeoutError, OSError, ValueError) as error:
        raise transport.ProxyError(str(error), error) from error
    for option in _SOCKET_OPTIONS:
        reached.setsockopt(*option)
    return reached


def _as_of_urllib3(connection: HTTPConnection, proxy: Proxy, error: OSError) -> transport.HTTPError:
    """The error that urllib3 raises if it connects to a proxy itself."""
    match error:
        case socket.gaierror():
            return transport.NameResolutionError(proxy.host, connection, error)
        case TimeoutError():
            return transport.ConnectTimeoutError(connection, str(error))
    return transport.NewConnectionError(connection, str(error))
