"""Client certificates, given as data or as files in a configuration (client-go's transport/cert_rotation.go)."""

from collections.abc import Mapping
from pathlib import Path

from kproxy.client.credentials.cache import Cache, LastGood, read_file
from kproxy.client.target import ClientCertificate, TlsSettings
from kproxy.client.transport.tls import client_context

_pairs: Cache[tuple[Path | bytes, Path | bytes], LastGood[ClientCertificate]] = Cache(lambda _: LastGood())


class CertificatePair:
    """A certificate and its key, each given as PEM data or as a file that others renew.

    A new pair is used once both parts fit together. Until then the previous pair stays in use, also for new
    connections. Without any good pair, `certificate` raises EnvironmentLacking for a file that cannot be read, and
    InputError for parts that do not fit.

    client-go reads the files for each new connection and every 5 minutes; kproxy reads them for each request.
    """

    def __init__(self, certificate: Path | bytes, key: Path | bytes, origin: str) -> None:
        self._certificate = certificate
        self._key = key
        self._origin = origin
        self._renewed = _pairs.of((certificate, key))

    def headers(self) -> Mapping[str, str]:
        return {}

    def certificate(self) -> ClientCertificate | None:
        return self._renewed.newest(self._read)

    def refused(self) -> None:
        pass

    def _read(self, before: ClientCertificate | None) -> ClientCertificate:
        pair = ClientCertificate(
            _content(self._certificate, f"the client certificate of {self._origin},"),
            _content(self._key, f"the client key of {self._origin},"),
        )
        if pair != before:
            require_fit(pair, self._origin)
        return pair


def _content(part: Path | bytes, named: str) -> bytes:
    return read_file(part, named) if isinstance(part, Path) else part


def require_fit(pair: ClientCertificate, origin: str) -> None:
    """Raise InputError unless both are PEM, the key belongs to the certificate, and the key has no passphrase."""
    client_context(TlsSettings(is_verified=False), pair, origin)
