"""The API server of the cluster in which this pod runs, as the `kubernetes` package finds it.

Source of the rules: client-go `rest/config.go` `InClusterConfig`, and `tools/clientcmd/client_config.go`
`inClusterClientConfig.Possible`.
"""

import logging
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Final

from kproxy.client.credentials.tokens import TokenFile
from kproxy.client.files import read_bounded
from kproxy.client.kubeconfig.server_urls import server_url
from kproxy.client.target import Target, TlsSettings
from kproxy.client.transport.tls import holds_certificate
from kproxy.errors import EnvironmentLacking, InputError
from kproxy.state.printable import one_line

_log = logging.getLogger(__name__)

_ORIGIN: Final = "the pod's service account"
_HOST, _PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"
_MOST_BYTES = 1 << 20
"""The authority comes from a ConfigMap, which holds at most 1 MiB."""


def is_pod() -> bool:
    return bool(os.environ.get(_HOST) and os.environ.get(_PORT))


def find_service_account() -> Target:
    """The Target of this pod. EnvironmentLacking outside a pod, and if the pod has no token.

    The first call takes half a second.
    """
    if not is_pod():
        raise EnvironmentLacking(
            f"no cluster to talk to: this is not a pod ({_HOST} or {_PORT} is not set); "
            "name a kubeconfig with --kubeconfig"
        )
    from kubernetes.config import (
        incluster_config,
    )  # the import takes half a second, which only a pod needs to spend

    token = Path(incluster_config.SERVICE_TOKEN_FILENAME)
    return Target(
        _server(token),
        _ORIGIN,
        TlsSettings(_authority(Path(incluster_config.SERVICE_CERT_FILENAME))),
        TokenFile(token, _ORIGIN),
    )


def _server(token: Path) -> str:
    from kubernetes.config import ConfigException, incluster_config

    found = SimpleNamespace(api_key={}, host="")
    # the loader needs an authority, which client-go does not; so it gets a file that it reads anyway
    loader = incluster_config.InClusterConfigLoader(str(token), str(token), try_refresh_token=False)  # type: ignore[no-untyped-call]
    try:
        loader.load_and_set(found)  # type: ignore[no-untyped-call]
        return server_url(found.host, is_secure=True).address
    except (ConfigException, InputError, OSError, ValueError) as error:
        raise EnvironmentLacking(
            f"{_ORIGIN} cannot be used: {one_line(str(error))} Let the pod mount it "
            "(automountServiceAccountToken), or name a kubeconfig with --kubeconfig"
        ) from None


def _authority(path: Path) -> bytes | None:
    """The authority of the pod in PEM. None if it cannot be read: client-go then uses the authorities of the system."""
    try:
        pem = read_bounded(path, _MOST_BYTES)
        reason = "" if holds_certificate(pem) else "it holds no certificate that can be read"
    except OSError as error:
        reason = str(error.strerror)
    if reason:
        _log.warning("%s: %s: %s; only authorities of this system are trusted", _ORIGIN, path, reason)
        return None
    return pem
