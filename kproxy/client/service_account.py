"""The API server of the cluster that this pod runs in, as the `kubernetes` package finds it.

Importing that takes half a second, so import this module only in a pod. Source of the rules: client-go
`rest/config.go` `InClusterConfig`, and `tools/clientcmd/client_config.go` `inClusterClientConfig.Possible`.
"""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

from kubernetes.config import ConfigException, incluster_config

from kproxy.client.failures import one_line
from kproxy.errors import EnvironmentLacking

_REMEDY = "Let the pod mount it (automountServiceAccountToken), or name a kubeconfig with --kubeconfig"


class ServiceAccount(NamedTuple):
    """`authority` is None where the pod has none: client-go then goes on with those of the system."""

    server: str
    token: Path
    authority: Path | None


def find_service_account() -> ServiceAccount:
    """EnvironmentLacking outside a pod, and where the token is not mounted."""
    token, authority = (
        Path(incluster_config.SERVICE_TOKEN_FILENAME),
        Path(incluster_config.SERVICE_CERT_FILENAME),
    )
    has_authority = os.access(authority, os.R_OK) and authority.is_file() and authority.stat().st_size > 0
    found = SimpleNamespace(api_key={}, host="")
    try:
        incluster_config.InClusterConfigLoader(  # type: ignore[no-untyped-call]
            str(token),
            # the loader goes on without no authority, so a file that it reads anyway stands in for a missing one
            str(authority if has_authority else token),
            try_refresh_token=False,
        ).load_and_set(found)
    except (ConfigException, OSError, ValueError) as error:
        raise EnvironmentLacking(
            f"the pod's service account cannot be used: {one_line(str(error))} {_REMEDY}"
        ) from None
    return ServiceAccount(found.host, token, authority if has_authority else None)
