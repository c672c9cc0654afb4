"""The way to one server: its proxy, its TLS settings and our credentials, as they are at each request."""

import ssl

import urllib3

from kproxy.client.target import ClientCertificate, Target, TlsSettings
from kproxy.client.transport.equal_names import readings
from kproxy.client.transport.pools import pool_manager
from kproxy.client.transport.proxies import Proxy, proxy_for
from kproxy.client.transport.tls import client_context
from kproxy.errors import InputError


class Route:
    """Keeps connections to a target open while our certificate stays the same.

    InputError or EnvironmentLacking if the target names a proxy or an authority that cannot be used.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self.proxy: Proxy | None = proxy_for(target.server, target.proxy_url, target.origin)
        self._settings = target.tls or TlsSettings()
        self._certificate: ClientCertificate | None = None
        self._readings: list[TlsSettings] | None = None
        self._pool = self._new_pool()

    def pool(self) -> urllib3.PoolManager:
        """The connections for the next request.

        A renewed certificate needs new ones. Raises the same errors as `Credentials`.
        """
        if self._is_safe:
            certificate = self._target.credentials.certificate()
            if certificate != self._certificate:
                self._certificate = certificate
                self.close()
                self._pool = self._new_pool()
        return self._pool

    @property
    def has_certificate(self) -> bool:
        """Whether the connections of the last `pool` present a client certificate."""
        return self._certificate is not None

    def reads_authority_again(self) -> bool:
        """Whether an untrusted server may be trusted now, because the authority is read in another way.

        Try again if so.
        """
        if self._readings is None:
            self._readings = readings(self._settings)
        if not self._readings:
            return False
        self._settings = self._readings.pop()
        self.close()
        self._pool = self._new_pool()
        return True

    def proof(self) -> urllib3.HTTPHeaderDict:
        """The headers with our credentials, empty without TLS.

        A header may be there twice. Raises as `Credentials` do.
        """
        proof = urllib3.HTTPHeaderDict()
        if not self._is_safe:
            return proof
        for name, value in self._target.credentials.headers().items():
            if not value.isprintable():
                raise InputError(
                    f"the credentials of {self._target.origin} hold characters that no header has: {name}"
                )
            proof.add(name, value.encode().decode("latin-1"))  # latin-1 makes urllib3 send the bytes of UTF-8
        return proof

    def close(self) -> None:
        self._pool.clear()

    @property
    def _is_safe(self) -> bool:
        return self._target.server.startswith("https://")

    def _new_pool(self) -> urllib3.PoolManager:
        """New connections.

        The authorities of the server verify the proxy too, as in Go. The proxy never gets our certificate, unlike in
        Go.
        """
        tls = self._context(self._certificate) if self._is_safe else None
        is_proxy_safe = self.proxy is not None and self.proxy.scheme == "https"
        proxy_tls = self._context(None) if is_proxy_safe else None
        return pool_manager(tls, self._settings.server_name, self.proxy, proxy_tls)

    def _context(self, certificate: ClientCertificate | None) -> ssl.SSLContext:
        return client_context(self._settings, certificate, self._target.origin)
