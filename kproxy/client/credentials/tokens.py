"""Bearer tokens, given as text or as a file in a configuration (client-go's transport/token_source.go)."""

from collections.abc import Mapping
from pathlib import Path

from kproxy.client.credentials.cache import Cache, LastGood, read_file
from kproxy.client.target import ClientCertificate
from kproxy.errors import EnvironmentLacking, InputError
from kproxy.state.printable import one_line


def authorization(token: str, named: str) -> Mapping[str, str]:
    """The header for a token without the white space around it. InputError for a token that no header can hold."""
    token = token.strip()
    if not (token.isascii() and token.isprintable()):
        raise InputError(f"{named} holds characters that no token has; write it again")
    return {"Authorization": f"Bearer {token}"} if token else {}


class NoCredentials:
    """No credentials, for a server that needs none or a configuration that has none."""

    def headers(self) -> Mapping[str, str]:
        return {}

    def certificate(self) -> ClientCertificate | None:
        return None

    def refused(self) -> None:
        pass


class BearerToken(NoCredentials):
    """A token that the configuration itself holds. An empty token sends no header."""

    def __init__(self, token: str, origin: str) -> None:
        self._token = token
        self._named = f"the token of {origin}"

    def headers(self) -> Mapping[str, str]:
        return authorization(self._token, self._named)


_files: Cache[tuple[Path, str], LastGood[str]] = Cache(lambda _: LastGood())


class TokenFile(NoCredentials):
    """A token in a file that others renew. Each request sends the current content of the file.

    While the file cannot be used, the previous token stays in use, also for new connections. `fallback` is used before
    the first good token. Without any token, `headers` raises EnvironmentLacking; it raises InputError for a file that
    holds no token.

    client-go reads the file every 50 s, to read less; kproxy sends only a few requests per minute.
    """

    def __init__(self, path: Path, origin: str, fallback: str = "") -> None:
        self._path = path
        self._named = f"the token file of {origin},"
        self._fallback = fallback.strip()

    def headers(self) -> Mapping[str, str]:
        token = _files.of((self._path, self._fallback)).newest(self._read)
        return authorization(token, f"the token of {self._named}")

    def _read(self, before: str | None) -> str:
        try:
            return self._token()
        except EnvironmentLacking:
            if before is None and self._fallback:
                return self._fallback
            raise

    def _token(self) -> str:
        place = f"{self._named} {one_line(str(self._path))}"
        try:
            token = read_file(self._path, self._named).decode().strip()
        except UnicodeDecodeError:
            raise InputError(f"{place} holds characters that no token has; write it again") from None
        if not token:
            raise EnvironmentLacking(f"{place} is empty; write a token into it")
        authorization(token, place)
        return token
