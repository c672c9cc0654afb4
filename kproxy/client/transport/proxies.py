"""The proxy for a server, by the rules of client-go, net/http and golang.org/x/net/http/httpproxy."""

import ipaddress
import logging
import os
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from kproxy.client.urls import Url, ascii_name, host_name, parsed
from kproxy.errors import InputError

_log = logging.getLogger(__name__)

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_SCHEMES = ", ".join(f"{scheme}://" for scheme in _PORTS)
_MOST_SOCKS_BYTES = 255
"""RFC 1929 gives the lengths of user and password one byte each."""

_MOST_DIGITS = 5
"""Digits of a port. Python refuses numbers with thousands of digits."""

_BROKEN_LOGIN = re.compile(r"(?>([^:/?#]*:(?=//))?(//)?)[^/?#]*[/?#].*@", re.DOTALL)
"""Go reads the beginning of such a password as host and port, which messages would repeat."""

_CIDR = re.compile(r"[^/]+/[0-9]{1,3}")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy in front of a server. `named_by` is the setting that names the proxy, for messages."""

    scheme: str
    host: str
    port: int
    named_by: str
    user: str | None = field(default=None, repr=False)
    password: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        """The URL without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def is_socks(self) -> bool:
        return self.scheme.startswith("socks")

    def authorization(self) -> str:
        """The value of the header Proxy-Authorization (RFC 7617), empty if the setting names no user."""
        if self.user is None:
            return ""
        return f"Basic {b64encode(f'{self.user}:{self.password}'.encode()).decode()}"


def proxy_for(
    server: str, proxy_url: str, origin: str, environment: Mapping[str, str] = os.environ
) -> Proxy | None:
    """The proxy for requests to this URL; None for a direct connection.

    A `proxy_url` wins; `origin` is its configuration. Otherwise the environment decides: HTTPS_PROXY or HTTP_PROXY by
    the server's scheme, NO_PROXY, each in upper case before lower case. Loopback addresses never have a proxy, and
    ALL_PROXY is never used. A variable that is not a URL counts as absent, and the log says so. InputError for a proxy
    that would be used and cannot be.
    """
    if proxy_url:
        named_by = f"proxy-url in {origin}"
        try:
            url = parsed(proxy_url)
        except ValueError as error:
            raise InputError(f"{named_by} cannot be used: {error}") from error
        return _usable(url, named_by, proxy_url)
    scheme = server.partition(":")[0]
    names = f"{scheme}_proxy".upper(), f"{scheme}_proxy"
    named_by = next((name for name in names if environment.get(name)), "")
    if not named_by:
        return None
    if scheme == "http" and environment.get("REQUEST_METHOD"):
        raise InputError(
            f"{named_by} is not used if REQUEST_METHOD is set, because the client of a CGI program can set it; "
            "unset one of them"
        )
    if not _is_proxied(_server(server, origin), environment):
        return None
    return _of_variable(named_by, environment[named_by])


def _server(server: str, origin: str) -> Url:
    try:
        return parsed(server)
    except ValueError as error:
        raise InputError(f"the server's address in {origin} cannot be used: {error}") from error


def _of_variable(name: str, value: str) -> Proxy | None:
    """The proxy in a variable.

    Text that is not a URL with a host is read as host and port, as in Go; if that fails too, it counts as absent.
    """
    try:
        url, fault = parsed(value), ""
    except ValueError as error:
        url, fault = None, str(error)
    if url is None or not url.scheme or not url.host:
        try:
            url = parsed(f"http://{value}")
        except ValueError:
            if url is None:
                _warn_once(name, fault)
                return None
    if "://" in value and url.host in _PORTS:
        _check_login(name, value)
        login = (
            ", with characters of user and password such as @ and ^ as %40 and %5E" if "@" in value else ""
        )
        raise InputError(
            f"{name} cannot be used: it is not a URL of a proxy; write it as http://host:port{login}"
        )
    return _usable(url, name, value)


@cache
def _warn_once(name: str, fault: str) -> None:
    """Warn once: every new connection reads the environment again."""
    _log.warning("%s is ignored, because it is not a URL of a proxy: %s", name, fault)


def _usable(url: Url, named_by: str, text: str) -> Proxy:
    _check_login(named_by, text)
    if url.scheme not in _PORTS:
        raise InputError(f"{named_by} cannot be used: it must begin with one of {_SCHEMES}")
    if not url.host:
        raise InputError(f"{named_by} cannot be used: it names no host; write it as http://host:port")
    port = int(url.port or _PORTS[url.scheme]) if len(url.port) <= _MOST_DIGITS else 0
    if not 0 < port < 1 << 16:
        raise InputError(f"{named_by} cannot be used: its port is not a number from 1 to 65535")
    try:
        host = host_name(url.host)
    except ValueError as error:
        raise InputError(f"{named_by} cannot be used: {error}") from None
    proxy = Proxy(url.scheme, host, port, named_by, url.user, url.password or "")
    if proxy.is_socks:
        _check_socks_user(proxy)
    return proxy


def _check_login(named_by: str, text: str) -> None:
    if _BROKEN_LOGIN.match(text):
        raise InputError(
            f"{named_by} cannot be used: its user or password has a /, ? or #; write them as %2F, %3F, %23"
        )


def _check_socks_user(proxy: Proxy) -> None:
    for text in (proxy.user or "", proxy.password):
        if not text.isascii() or len(text) > _MOST_SOCKS_BYTES:
            raise InputError(
                f"{proxy.named_by} cannot be used: user and password for SOCKS have at most "
                f"{_MOST_SOCKS_BYTES} ASCII characters each"
            )


def _is_proxied(server: Url, environment: Mapping[str, str]) -> bool:
    host = ascii_name(server.host)
    address = _address(host.partition("%")[0])
    if host == "localhost" or (address is not None and address.is_loopback):
        return False
    host = host.strip().lower()
    port = server.port or str(_PORTS[server.scheme])
    entries = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    return not any(_excepts(each.strip().lower(), host, port, address) for each in entries.split(","))


def _excepts(entry: str, host: str, port: str, address: Address | None) -> bool:
    """Whether an entry of NO_PROXY matches this server."""
    if entry == "*":
        return True
    if (network := _network(entry)) is not None:
        return address is not None and address in network
    name, entry_port = _split_host_port(entry)
    if not name or entry_port not in ("", port):
        return False
    if address is not None or _address(name) is not None:
        return address is not None and address == _address(name)
    suffix = ascii_name(name.removeprefix("*") if name.startswith("*.") else name)
    if suffix.startswith("."):
        return host.endswith(suffix)
    return host == suffix or host.endswith(f".{suffix}")


def _split_host_port(text: str) -> tuple[str, str]:
    """Host and port, as Go's net.SplitHostPort finds them. A text that Go refuses is all host."""
    bracketed = re.fullmatch(r"\[([^\[\]]*)\]:([^\[\]:]*)", text) or re.fullmatch(
        r"([^\[\]:]*):([^\[\]:]*)", text
    )
    return (bracketed[1], bracketed[2]) if bracketed else (text, "")


def _address(text: str) -> Address | None:
    """The address in the text. An IPv4-mapped IPv6 address gives the IPv4 address."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        return None if found.scope_id else found.ipv4_mapped or found
    return found


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    if not _CIDR.fullmatch(text):
        return None
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    mapped = getattr(found.network_address, "ipv4_mapped", None)
    return found if mapped is None else ipaddress.ip_network(f"{mapped}/{found.prefixlen - 96}")
