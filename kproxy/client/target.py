"""An API server as we reach it: the values that a connection is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """PEM texts by which we prove who we are. The key is a secret: no file, log or repr gets it."""

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """How the server proves who it is.

    `authority` is PEM, None for the authorities that the system trusts. `server_name` is the name to ask for and to
    expect; empty means the host of the URL.
    """

    authority: bytes | None = None
    is_verified: bool = True
    server_name: str = ""


class Credentials(Protocol):
    """Proof of who we are. It is asked for before each request, and only for a server that is reached by TLS."""

    def headers(self) -> Mapping[str, str]:
        """Authorization, and who we ask to be taken for.

        EnvironmentLacking where there should be credentials and none can be had; InputError for ones that no header
        can hold. The request is not sent then.
        """

    def certificate(self) -> ClientCertificate | None:
        """As it is now: one that was renewed asks for a new connection. Raises as `headers`."""

    def refused(self) -> None:
        """The server answered 401: what can be had anew is had anew before the next request."""


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
