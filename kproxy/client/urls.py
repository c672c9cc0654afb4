"""URLs as Go's net/url reads them, so far as the connection to a server depends on it."""

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import unquote

_PARTS = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NO_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_USER = re.compile(r"(?:[A-Za-z0-9._:~!$&'()*+,;=@-]|%[0-9A-Fa-f]{2})*")
_NAME = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=<>\"-]|[^\x00-\x7f]|%[89A-Fa-f][0-9A-Fa-f])*")
_BRACKETED = re.compile(r"\[([0-9A-Fa-f:.]*(?:%25[^\]]*)?)\]")
_ASCII_NAME = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=%-]+")
_PORT = re.compile(r":[0-9]*")
_USER_INFO = re.compile(r"(?<=//)[^/?#\s]*@")


class Url(NamedTuple):
    """The parts of a URL. `host` has no brackets, `port` may be empty, `path` is not decoded.

    `user` and `password` are decoded, and None if the URL has none.
    """

    scheme: str
    user: str | None
    password: str | None
    host: str
    port: str
    path: str = ""


def parsed(text: str) -> Url:
    """The parts that Go's `url.Parse` finds. ValueError for a text that Go refuses; its message quotes nothing."""
    if _CONTROL.search(text):
        raise ValueError("it holds a control character")
    found = _PARTS.match(text)
    if found is None or (not found[1] and found[2] is None and ":" in found[3].partition("/")[0]):
        raise ValueError("it has no scheme")
    if _NO_ESCAPE.search(found[3]):
        raise ValueError("its path has a % without two hexadecimal digits after it")
    user_info, at, host_and_port = (found[2] or "").rpartition("@")
    host, port = _host_and_port(host_and_port)
    if not _USER.fullmatch(user_info):
        raise ValueError("its user or password has characters that must be written as %XX")
    user, colon, password = user_info.partition(":")
    return Url(
        (found[1] or "").lower(),
        unquote(user) if at else None,
        unquote(password) if colon else None,
        host,
        port,
        found[3],
    )


def without_user(text: str) -> str:
    """The text without the user and password of each URL in it, fit for a log."""
    return _USER_INFO.sub("", text)


def ascii_name(host: str) -> str:
    """The host name in ASCII, as DNS and certificates write it (IDNA, UTS 46).

    A name without such a form stays unchanged.
    """
    if host.isascii():
        return host
    import idna  # the import takes 10 ms, and few hosts need it

    dot = "." if host.startswith(".") else ""
    try:
        return dot + idna.encode(host.removeprefix("."), uts46=True).decode()
    except idna.IDNAError:
        return host


def host_name(host: str) -> str:
    """The name or address of a host, ready to connect to. ValueError for a name that DNS cannot have."""
    name = ascii_name(host)
    is_address = ":" in name and name.isascii() and name.isprintable()
    if not (is_address or _ASCII_NAME.fullmatch(name)):
        raise ValueError("its host is not a name that DNS allows")
    return name


def _host_and_port(text: str) -> tuple[str, str]:
    if text.startswith("["):
        bracketed = _BRACKETED.match(text)
        if bracketed is None:
            raise ValueError("its address is not an IPv6 address in brackets")
        host, rest = bracketed[1].replace("%25", "%", 1), text[bracketed.end() :]
        _check_ipv6(host.partition("%")[0])
    else:
        host, colon, port = text.partition(":")
        rest = colon + port
        if not _NAME.fullmatch(host):
            raise ValueError("its host has characters that no host name has")
        host = unquote(host)
    if rest and not _PORT.fullmatch(rest):
        raise ValueError("its port is not a number, or it is an IPv6 address without brackets")
    return host, rest[1:]


def _check_ipv6(text: str) -> None:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        raise ValueError("the text in its brackets is not an IPv6 address") from None
