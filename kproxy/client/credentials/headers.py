"""Credentials in several headers, and credentials of several kinds together."""

import base64
from collections.abc import Mapping, Sequence
from string import ascii_letters, digits

from urllib3 import HTTPHeaderDict

from kproxy.client.credentials.tokens import NoCredentials
from kproxy.client.target import ClientCertificate, Credentials
from kproxy.errors import InputError

_HEADER_NAME = frozenset(ascii_letters + digits + "!#$&'*+-.^_`|~")
"""The characters of a token in RFC 9110, except the percent sign, which begins an escape here."""


class BasicAuth(NoCredentials):
    """User and password in UTF-8 (RFC 7617)."""

    def __init__(self, user: str, password: str) -> None:
        self._both = f"{user}:{password}"

    def headers(self) -> Mapping[str, str]:
        # a JSON escape can make half a surrogate pair, which is not a character
        both = self._both.encode(errors="replace")
        return {"Authorization": f"Basic {base64.b64encode(both).decode()}"}


class Impersonation(NoCredentials):
    """The user that we ask to act as (client-go's transport/round_trippers.go).

    Each group and extra has its own header.
    """

    def __init__(
        self,
        user: str,
        origin: str,
        *,
        uid: str = "",
        groups: Sequence[str] = (),
        extra: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._origin = origin
        self._fields = [("Impersonate-User", user), *([("Impersonate-Uid", uid)] if uid else [])]
        self._fields += [("Impersonate-Group", group) for group in groups]
        self._fields += [
            (f"Impersonate-Extra-{_escaped(key)}", value)
            for key, values in (extra or {}).items()
            for value in values
        ]

    def headers(self) -> Mapping[str, str]:
        """An HTTPHeaderDict. Its `items` lists a header once for each of its values."""
        headers = HTTPHeaderDict()
        for name, value in self._fields:
            _require_no_controls(value, name, self._origin)
            headers.add(name, value)
        return headers


class Combined:
    """Credentials of several kinds at once. If two kinds set one header, the later kind wins."""

    def __init__(self, *parts: Credentials) -> None:
        self._parts = parts

    def headers(self) -> Mapping[str, str]:
        """An HTTPHeaderDict, as in Impersonation."""
        together = HTTPHeaderDict()
        for part in self._parts:
            headers = part.headers()
            for name in headers:
                together.discard(name)
            together.extend(headers)
        return together

    def certificate(self) -> ClientCertificate | None:
        """The first certificate that one of the kinds has."""
        return next((found for part in self._parts if (found := part.certificate())), None)

    def refused(self) -> None:
        for part in self._parts:
            part.refused()


def _escaped(key: str) -> str:
    """The key with percent escapes in UTF-8 for characters that the name of a header cannot have."""
    return "".join(
        chr(byte) if chr(byte) in _HEADER_NAME else f"%{byte:02X}" for byte in key.encode(errors="replace")
    )


def _require_no_controls(value: str, name: str, origin: str) -> None:
    if any((character < " " and character != "\t") or character == "\x7f" for character in value):
        raise InputError(
            f"{name} of {origin} has control characters, which no header can hold; write it again without them"
        )
