"""An API server as a Target: the values from which a connection is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A client certificate and its key, in PEM. The key is a secret: it reaches no file, log or repr."""

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """How a server proves its identity.

    `authority` is PEM; None means the authorities that the system trusts. `server_name` is the name to ask for and to
    expect; empty means the host of the URL.
    """

    authority: bytes | None = None
    is_verified: bool = True
    server_name: str = ""


class Credentials(Protocol):
    """Our credentials for a server. They are read before each request, and only if the server is reached by TLS."""

    def headers(self) -> Mapping[str, str]:
        """The headers with our credentials: Authorization, and the headers for impersonation.

        EnvironmentLacking if credentials are configured and cannot be had. InputError for credentials that no header
        can hold. In both cases the request is not sent.
        """

    def certificate(self) -> ClientCertificate | None:
        """The current client certificate.

        A renewed certificate needs a new connection. Raises the same errors as `headers`.
        """

    def refused(self) -> None:
        """One API server. `server` is its URL without user and password.

        `origin` names the source of the configuration in messages. `tls` is None for a server without TLS, which gets
        no credentials. `proxy_url` is the proxy that the configuration names; if it is empty, the environment decides.
        """


@dataclass(frozen=True, slots=True)
class Target:
    """One API server. `server` is its URL without user and password.

    `origin` says in a message where all this was configured. `tls` is None for a server without TLS, which gets no
    credentials. `proxy_url` is the proxy that the configuration names; without one the environment decides.
    """

    server: str
    origin: str
    tls: TlsSettings | None
    credentials: Credentials
    proxy_url: str = field(default="", repr=False)
    takes_compressed: bool = True
