"""Credentials that stand in a kubeconfig, or in a file that it names."""

import base64
from collections.abc import Mapping
from pathlib import Path

from kproxy.client.failures import one_line
from kproxy.client.files import read_bounded
from kproxy.client.kubeconfig import Cluster, Entry, User
from kproxy.client.servers import Url
from kproxy.client.target import ClientCertificate, Credentials
from kproxy.errors import EnvironmentLacking, InputError, InvalidField

_MOST_BYTES = 1 << 20
"""Go's servers read no longer header."""


class Nobody:
    """No proof at all."""

    def headers(self) -> Mapping[str, str]:
        return {}

    def certificate(self) -> ClientCertificate | None:
        return None

    def refused(self) -> None:
        pass


class Token(Nobody):
    def __init__(self, token: str, origin: str) -> None:
        self._token = token
        self._origin = origin

    def headers(self) -> Mapping[str, str]:
        token = self._token.strip()
        if not (token.isascii() and token.isprintable()):
            raise InputError(f"the token of {self._origin} holds signs that no token has; write it anew")
        return {"Authorization": f"Bearer {token}"}


class TokenFile(Nobody):
    def __init__(self, path: Path, origin: str) -> None:
        self._path = path
        self._origin = origin

    def headers(self) -> Mapping[str, str]:
        try:
            token = read_bounded(self._path, _MOST_BYTES).decode("ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise EnvironmentLacking(
                f"the token file {one_line(str(self._path))} of {self._origin} cannot be read: "
                f"{getattr(error, 'strerror', 'it holds signs that no token has')}"
            ) from None
        return Token(token, self._origin).headers()


class BasicAuth(Nobody):
    def __init__(self, user: str, password: str) -> None:
        self._login = f"{user}:{password}"

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Basic {base64.b64encode(self._login.encode()).decode()}"}


def credentials_of(user: Entry[User], _: Entry[Cluster], url: Url, origin: str) -> Credentials:
    fields = user.value
    if url.login is not None:
        return BasicAuth(url.login.user, url.login.password)
    if fields.token_file:
        return TokenFile(Path(fields.token_file), origin)
    if fields.token:
        return Token(fields.token, origin)
    if fields.username:
        return BasicAuth(fields.username, fields.password)
    if fields.exec is not None or fields.client_certificate or fields.client_certificate_data:
        raise InvalidField(f"{user.place}", "exec plugins and client certificates are not joined in yet")
    return Nobody()
