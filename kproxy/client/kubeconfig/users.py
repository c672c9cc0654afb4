"""The credentials of a kubeconfig's user.

Source: client-go `tools/clientcmd/client_config.go` (`getUserIdentificationPartialConfig`),
`transport/round_trippers.go` (`HTTPWrappersForConfig`), `plugin/pkg/client/auth/exec/exec.go`
(`UpdateTransportConfig`), `rest/exec.go` (`ConfigToExecCluster`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from kproxy.client.credentials import exec_config
from kproxy.client.credentials.certificates import CertificatePair
from kproxy.client.credentials.exec_config import ClusterInfo
from kproxy.client.credentials.exec_plugin import ExecPlugin
from kproxy.client.credentials.headers import BasicAuth, Combined, Impersonation
from kproxy.client.credentials.tokens import BearerToken, NoCredentials, TokenFile
from kproxy.client.kubeconfig.fields import Cluster, User
from kproxy.client.kubeconfig.server_urls import ServerUrl
from kproxy.client.target import Credentials

_EXTENSION: Final = "client.authentication.k8s.io/exec"
"""The name of the cluster's extension that a plugin gets."""


def login_of(url: ServerUrl) -> Credentials:
    """The credentials in the URL. Go puts them into each request before all other credentials."""
    return NoCredentials() if url.user is None else BasicAuth(url.user, url.password)


def credentials_of(
    user: User, plugin: exec_config.ExecConfig | None, url: ServerUrl, origin: str
) -> Credentials:
    """All credentials for a server with TLS. The plugin is used if there are no others."""
    parts = [*_stated(user, url, origin)]
    if not parts and plugin is not None:
        parts = [ExecPlugin(plugin)]
    if user.impersonate:
        parts.append(_impersonation(user, origin))
    return parts[0] if len(parts) == 1 else Combined(*parts)


def _stated(user: User, url: ServerUrl, origin: str) -> Iterator[Credentials]:
    if url.user is not None:
        yield login_of(url)
    elif user.token_file:
        yield TokenFile(Path(user.token_file), origin, user.token)
    elif user.token:
        yield BearerToken(user.token, origin)
    elif user.username:
        yield BasicAuth(user.username, user.password)
    if user.client_certificate or user.client_certificate_data:
        yield CertificatePair(
            bytes(user.client_certificate_data) or Path(user.client_certificate),
            bytes(user.client_key_data) or Path(user.client_key),
            origin,
        )


def _impersonation(user: User, origin: str) -> Impersonation:
    return Impersonation(
        user.impersonate,
        origin,
        uid=user.impersonate_uid,
        groups=[group or "" for group in user.impersonate_groups],
        extra={key: [value or "" for value in values] for key, values in user.impersonate_extra.items()},
    )


def plugin_of(
    user: User, cluster: Cluster, authority: bytes | None, server: str, origin: str
) -> exec_config.ExecConfig | None:
    """The plugin that a user names. If its command is a path, the path is already absolute."""
    given = user.exec
    if given is None:
        return None
    return exec_config.ExecConfig(
        command=given.command,
        api_version=given.api_version,
        origin=origin,
        args=tuple(argument or "" for argument in given.args),
        env=tuple((one.name, one.value) if one else ("", "") for one in given.env),
        interactive_mode=given.interactive_mode,
        install_hint=given.install_hint,
        cluster=_cluster_info(cluster, authority, server) if given.provide_cluster_info else None,
    )


def _cluster_info(cluster: Cluster, authority: bytes | None, server: str) -> ClusterInfo:
    extensions = [one.extension for one in cluster.extensions if one and one.name == _EXTENSION]
    return ClusterInfo(
        server=server,
        tls_server_name=cluster.tls_server_name,
        is_verified=not cluster.insecure_skip_tls_verify,
        authority=authority or b"",
        proxy_url=cluster.proxy_url,
        takes_compressed=not cluster.disable_compression,
        extension=msgspec.json.encode(extensions[0]).decode() if extensions else "",
    )
