"""URLs as Go reads them, and which server and proxy URLs client-go takes.

Source: Go 1.26 `net/url` (`Parse`, `parseAuthority`, `parseHost`), client-go `rest/url_utils.go` (`DefaultServerURL`,
`defaultServerUrlFor`), `rest/client.go` (`NewRESTClient`), `tools/clientcmd` `parseProxyURL`. A URL may hold a password,
so no message here repeats any part of one.
"""

import ipaddress
import posixpath
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote

from kproxy.errors import InputError

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_ESCAPES_WRONGLY = re.compile(r"%(?![0-9a-fA-F]{2})")
_USER = re.compile(r"[A-Za-z0-9._:~!$&'()*+,;=%@-]*")
_NAME = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=%\u0080-\U0010ffff-]+")
_ZONE = re.compile(r"(?:%25[A-Za-z0-9._~%-]+)?")
_PORT = re.compile(r"[0-9]*")
_HIGHEST_PORT: Final = 65535
_PATH_SAFE: Final = "/!$&'()*+,;=:@-._~"
_BYTES: Final = "surrogateescape"
"""A path may hold escaped bytes that are no UTF-8; they stay as they are."""

SECURE: Final = "https"
_SERVER_SCHEMES: Final = ("https", "http")
_PROXY_SCHEMES: Final = ("http", "https", "socks5")


class _NotAUrl(Exception):
    """Why a text is no URL for Go; it never leaves this module."""


@dataclass(frozen=True, slots=True)
class Login:
    """The user and password of a URL, unescaped."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Url:
    """`host` is as it stands in a URL, an IPv6 address in brackets; `port` is empty where none is given."""

    scheme: str
    login: Login | None
    host: str
    port: str
    path: str

    @property
    def without_login(self) -> str:
        port = f":{self.port}" if self.port else ""
        return f"{self.scheme}://{self.host}{port}{self.path}"


def server_url(text: str, *, is_secure: bool) -> Url:
    """The URL of an API server; one without a scheme has https where `is_secure`, else http.

    Its path is a prefix of all requests and does not end in a slash; query and fragment count for nothing. InputError
    says what is wrong.
    """
    try:
        return _checked(_server_url(text, is_secure=is_secure), _SERVER_SCHEMES)
    except _NotAUrl as wrong:
        raise InputError(f"{wrong}; write it as https://host:port") from None


def _server_url(text: str, *, is_secure: bool) -> Url:
    try:
        url = _parsed(text)
    except _NotAUrl:
        url = None
    if url is None or not (url.scheme and url.host + url.port):
        url = _parsed(f"{SECURE if is_secure else 'http'}://{text}")
        if url.path not in ("", "/"):
            raise _NotAUrl("it is neither a URL nor host:port")
    return url


def check_proxy_url(text: str) -> None:
    """InputError for a proxy to which client-go makes no connection."""
    try:
        _checked(_parsed(text), _PROXY_SCHEMES)
    except _NotAUrl as wrong:
        raise InputError(f"{wrong}; write it as http://host:port") from None


def _checked(url: Url, schemes: tuple[str, ...]) -> Url:
    if url.scheme not in schemes:
        raise _NotAUrl(f"it does not begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    if not url.host:
        raise _NotAUrl("it names no host")
    if url.port and not 0 < int(url.port[:8]) <= _HIGHEST_PORT:
        raise _NotAUrl(f"its port is not one of 1 to {_HIGHEST_PORT}")
    return Url(url.scheme, url.login, _ascii(url.host), url.port, _cleaned(url.path))


def _parsed(text: str) -> Url:
    if _CONTROLS.search(text):
        raise _NotAUrl("it holds a control character")
    rest = text.partition("#")[0].partition("?")[0]
    scheme, rest = _scheme(rest)
    if not rest.startswith("/"):
        if not scheme and ":" in rest.partition("/")[0]:
            raise _NotAUrl("it has no scheme")
        return Url(scheme, None, "", "", rest)
    login, host, port, path = None, "", "", rest
    if rest.startswith("//") and (scheme or not rest.startswith("///")):
        authority, slash, after = rest[2:].partition("/")
        path = slash + after
        login, address = _login(authority)
        host, port = _address(address)
    if _ESCAPES_WRONGLY.search(path):
        raise _NotAUrl("its path holds a % that begins no escape")
    return Url(scheme, login, host, port, path)


def _scheme(text: str) -> tuple[str, str]:
    """Go's getScheme: a text that begins otherwise than a scheme has none."""
    if text.startswith(":"):
        raise _NotAUrl("it has no scheme before the colon")
    found = _SCHEME.match(text)
    if found is None or text[found.end() : found.end() + 1] != ":":
        return "", text
    return found[0].lower(), text[found.end() + 1 :]


def _login(authority: str) -> tuple[Login | None, str]:
    given, at, address = authority.rpartition("@")
    if not at:
        return None, authority
    if not _USER.fullmatch(given) or _ESCAPES_WRONGLY.search(given):
        raise _NotAUrl("its user or password holds a sign that must be escaped with %")
    user, _, password = given.partition(":")
    return Login(unquote(user), unquote(password)), address


def _address(text: str) -> tuple[str, str]:
    if text.startswith("["):
        inner, bracket, port = text[1:].rpartition("]")
        if not bracket or port[:1] not in ("", ":"):
            raise _NotAUrl("its brackets hold no address")
        _check_ipv6(inner)
        host, port = f"[{inner}]", port[1:]
    else:
        host, _, port = text.partition(":")
        if host and (not _NAME.fullmatch(host) or _ESCAPES_WRONGLY.search(host)):
            raise _NotAUrl("its host holds a sign that no host has")
    if not _PORT.fullmatch(port) or not port.isascii():
        raise _NotAUrl("its port is no number, or it is an IPv6 address without brackets")
    return host, port


def _check_ipv6(text: str) -> None:
    address, percent, zone = text.partition("%25")
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        raise _NotAUrl("its brackets hold no IPv6 address") from None
    if not _ZONE.fullmatch(percent + zone):
        raise _NotAUrl("its zone holds a sign that no zone has")


def _ascii(host: str) -> str:
    if host.isascii():
        return host
    try:
        encoded = host.encode("idna").decode()
    except UnicodeError:
        encoded = ""
    if not _NAME.fullmatch(encoded):
        raise _NotAUrl("its host is no name that DNS knows")
    return encoded


def _cleaned(path: str) -> str:
    """As Go's path.Join leaves a prefix: without empty steps, `.` and `..`, and without a slash at its end."""
    if not path.strip("/"):
        return ""
    cleaned = "/" + posixpath.normpath(unquote(path, errors=_BYTES)).lstrip("/")
    return "" if cleaned == "/" else quote(cleaned, safe=_PATH_SAFE, errors=_BYTES)
