"""The URLs of servers and proxies that a kubeconfig may have.

Source: client-go `rest/url_utils.go` (`DefaultServerURL`, `DefaultServerUrlFor`), `rest/client.go` (`NewRESTClient`),
`tools/clientcmd` `parseProxyURL`. A URL may hold a password, so no message here repeats any part of a URL.
"""

import posixpath
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote

from kproxy.client.urls import Url, host_name, parsed
from kproxy.errors import InputError

_HIGHEST_PORT: Final = 65535
_PATH_SAFE: Final = "/!$&'()*+,;=:@-._~"
_BYTES: Final = "surrogateescape"
"""Escaped bytes in a path that are not UTF-8 stay unchanged."""
_SECURE: Final = "https"
_SERVER_SCHEMES: Final = (_SECURE, "http")
_PROXY_SCHEMES: Final = ("http", "https", "socks5")


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """The URL of a server in parts. `address` has no user and no password.

    `user` is None if the URL has none. `user` and `password` are unescaped.
    """

    address: str
    is_secure: bool
    user: str | None
    password: str = field(default="", repr=False)


def server_url(text: str, *, is_secure: bool) -> ServerUrl:
    """Parse the URL of an API server. Without a scheme, `is_secure` selects https, otherwise http.

    The path is a prefix of all requests and does not end in a slash; query and fragment are ignored. InputError says
    what is wrong.
    """
    try:
        url = _checked(_parsed(text, is_secure=is_secure), _SERVER_SCHEMES)
        return ServerUrl(_address(url), url.scheme == _SECURE, url.user, url.password or "")
    except ValueError as wrong:
        raise InputError(f"{wrong}; write it as https://host:port") from None


def check_proxy_url(text: str) -> None:
    """Raise InputError for a proxy to which client-go does not connect."""
    try:
        _checked(parsed(text), _PROXY_SCHEMES)
    except ValueError as wrong:
        raise InputError(f"{wrong}; write it as http://host:port") from None


def _parsed(text: str, *, is_secure: bool) -> Url:
    try:
        url = parsed(text)
        if url.scheme and (url.host or url.port):
            return url
    except ValueError:
        if "://" in text:  # the URL has a scheme, so its fault is another one
            raise
    url = parsed(f"{_SECURE if is_secure else 'http'}://{text}")
    if url.path not in ("", "/"):
        raise ValueError("it is neither a URL nor host:port")
    return url


def _checked(url: Url, schemes: tuple[str, ...]) -> Url:
    if url.scheme not in schemes:
        raise ValueError(f"it does not begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    if not url.host:
        raise ValueError("it names no host")
    if url.port and not 0 < int(url.port[:8]) <= _HIGHEST_PORT:
        raise ValueError(f"its port is not a number from 1 to {_HIGHEST_PORT}")
    return url


def _address(url: Url) -> str:
    port = f":{url.port}" if url.port else ""
    return f"{url.scheme}://{_host(url.host)}{port}{_cleaned(url.path)}"


def _host(host: str) -> str:
    if ":" in host:
        return f"[{host.replace('%', '%25', 1)}]"
    return host_name(host)


def _cleaned(path: str) -> str:
    """The path as Go's path.Join leaves a prefix: without empty steps, `.` and `..`, and without a slash at its end."""
    cleaned = "/" + posixpath.normpath(f"/{unquote(path, errors=_BYTES)}").lstrip("/")
    return "" if cleaned == "/" else quote(cleaned, safe=_PATH_SAFE, errors=_BYTES)
