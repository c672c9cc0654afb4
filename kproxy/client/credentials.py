"""Address, TLS and credentials of a cluster, from a kubeconfig or a pod's service account.

All of it is the `kubernetes` package's work. Importing that takes half a second, so import this
module only where a cluster is used.
"""

import os
import re
from pathlib import Path

import urllib3
import yaml
from kubernetes.client import ApiClient, Configuration
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config

from kproxy.client.failures import one_line
from kproxy.errors import EnvironmentLacking, InputError

_SERVICE_ACCOUNT = "the pod's service account"
_MALFORMED = (
    ConfigException,
    yaml.YAMLError,
    OSError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    RecursionError,
    ImportError,  # a proxy-url of SOCKS wants a package that nobody else needs
)
_ENTRY = re.compile(r"/\{.*", re.DOTALL)
"""The `kubernetes` package names an entry by all that stands in it, its token too."""


class Access:
    """The way to one API server: `server` is its URL, `origin` says where all this was configured."""

    def __init__(self, configuration: Configuration, origin: str) -> None:
        configuration.keep_alive = True
        self._client = ApiClient(configuration)
        self.server: str = configuration.host
        self.origin = origin

    @property
    def pool(self) -> urllib3.PoolManager:
        """Sends requests with the right TLS, client certificate, proxy and TCP keepalive."""
        pool: urllib3.PoolManager = self._client.rest_client.pool_manager
        return pool

    def authorization(self) -> str:
        """The Authorization header, empty without a token; renewed if the configuration says how.

        EnvironmentLacking if the renewal fails, InputError for a token that no header can hold.
        """
        try:
            token = self._client.configuration.get_api_key_with_prefix("BearerToken")
        except _MALFORMED as error:
            raise EnvironmentLacking(
                f"the token of {self.origin} cannot be renewed: {_reason(error)}"
            ) from error
        token = (token or "").strip()  # a token file may end in a newline
        if not (token.isascii() and token.isprintable()):
            raise InputError(f"the token of {self.origin} holds signs that no token has; write it anew")
        return token


def access(kubeconfig: Path | None, master: str) -> Access:
    """As kube-proxy's `--kubeconfig` and `--master` ask; see `kproxy.client.connection.connect`."""
    configuration = Configuration()
    if kubeconfig is not None:
        _read_kubeconfig(kubeconfig, configuration)
    elif not master:
        _read_service_account(configuration)
        return Access(configuration, _SERVICE_ACCOUNT)
    if master:
        configuration.host = master.rstrip("/")
    origin = f"the kubeconfig {kubeconfig}" if kubeconfig else "--master"
    try:
        return Access(configuration, origin)
    except _MALFORMED as error:
        raise InputError(f"{origin} cannot be used: {_reason(error)}") from error


def _read_kubeconfig(path: Path, configuration: Configuration) -> None:
    if not path.is_file():
        raise InputError(f"the kubeconfig {path} does not exist; name an existing file with --kubeconfig")
    try:
        load_kube_config(  # type: ignore[no-untyped-call]
            str(path), client_configuration=configuration, persist_config=False
        )
    except _MALFORMED as error:
        raise InputError(f"the kubeconfig {path} cannot be used: {_reason(error)}") from error
    if not isinstance(configuration.tls_server_name, str | None):
        raise InputError(f"the kubeconfig {path} cannot be used: tls-server-name is no text; quote it")


def _reason(error: Exception) -> str:
    """What the `kubernetes` package says, without an entry of which a secret may be part."""
    return one_line(_ENTRY.sub("", str(error))) or type(error).__name__


def _read_service_account(configuration: Configuration) -> None:
    if "KUBERNETES_SERVICE_HOST" not in os.environ:
        raise EnvironmentLacking(
            "no cluster to talk to: this is no pod (KUBERNETES_SERVICE_HOST is not set); "
            "name a kubeconfig with --kubeconfig"
        )
    try:
        load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except (ConfigException, OSError) as error:
        raise EnvironmentLacking(
            f"{_SERVICE_ACCOUNT} cannot be used: {error} Let the pod mount it "
            "(automountServiceAccountToken), or name a kubeconfig with --kubeconfig"
        ) from error
