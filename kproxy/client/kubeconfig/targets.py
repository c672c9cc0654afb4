"""From `--kubeconfig`, `--master` and the pod's service account to the Target that they mean.

Source: kube-proxy `cmd/kube-proxy/app/server.go` `createClient`; client-go `tools/clientcmd/client_config.go`
(`DirectClientConfig`) and `merged_client_builder.go` (`DeferredLoadingClientConfig`). kproxy differs from them in these
points:

- A context that names a missing cluster or user is refused. client-go goes on without it: as the pod's service
  account, or without credentials.
- A server without a scheme has https if its entry holds an authority, a client certificate or insecure. client-go
  decides before it has read these.
- User and password in the server's URL are sent only with TLS.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from kproxy.client.credentials.tokens import NoCredentials
from kproxy.client.kubeconfig.authorities import read_authority, require_certificate
from kproxy.client.kubeconfig.fields import Cluster, Context, User
from kproxy.client.kubeconfig.loading import Entry, Kubeconfig, UnusableKubeconfig, load_kubeconfig
from kproxy.client.kubeconfig.server_urls import ServerUrl, server_url
from kproxy.client.kubeconfig.service_account import find_service_account, is_pod
from kproxy.client.kubeconfig.users import credentials_of, login_of, plugin_of
from kproxy.client.kubeconfig.validation import check_authority, check_cluster, check_plugin, check_user
from kproxy.client.target import Target, TlsSettings
from kproxy.errors import InputError, InvalidField
from kproxy.state.printable import quoted

Thing = TypeVar("Thing")


def find_target(kubeconfig: Path | None, master: str) -> Target:
    """The Target that kube-proxy's `--kubeconfig` and `--master` mean. Nothing is sent.

    `master` overrides the kubeconfig's address, and removes the server name for TLS. Without both, or with an empty
    kubeconfig, the pod's service account is used. All files are read again with each call. InputError for a
    configuration that cannot be used, EnvironmentLacking without a configuration outside a pod.
    """
    if kubeconfig is None:
        return _target_of_master(master) if master else find_service_account()
    loaded = load_kubeconfig(kubeconfig)
    if loaded.is_empty and not master:
        if not is_pod():
            raise UnusableKubeconfig(
                loaded.path, "it is empty; write a cluster, a user and a context into it"
            )
        return find_service_account()
    try:
        return _target_of_kubeconfig(loaded, master)
    except InputError as wrong:
        raise UnusableKubeconfig(loaded.path, wrong) from None


def _target_of_master(master: str) -> Target:
    """The Target for `--master` alone. Only a user and password in the URL are credentials then."""
    try:
        url = server_url(master, is_secure=False)
    except InputError as wrong:
        raise InputError(f"--master: {wrong}") from None
    tls = TlsSettings() if url.is_secure else None
    return Target(url.address, "--master", tls, login_of(url) if tls else NoCredentials())


def _target_of_kubeconfig(loaded: Kubeconfig, master: str) -> Target:
    cluster, user = _chosen(loaded, master)
    check_user(user)
    check_cluster(cluster)
    url = _server(cluster.value, user.value, "--master" if master else f"{cluster.place}: server")
    origin = f"the kubeconfig {loaded.path}"
    authority = read_authority(cluster)
    plugin = plugin_of(user.value, cluster.value, authority, url.address, origin)
    if plugin is not None:
        check_plugin(user, plugin)
    if url.is_secure:
        tls, credentials = _tls(cluster, authority), credentials_of(user.value, plugin, url, origin)
    else:
        tls, credentials = None, NoCredentials()
        if url.user is not None or user.value != User():
            origin += " (whose credentials are not sent without TLS)"
    proxy_url, is_plain = cluster.value.proxy_url, cluster.value.disable_compression
    return Target(url.address, origin, tls, credentials, proxy_url, takes_compressed=not is_plain)


def _chosen(loaded: Kubeconfig, master: str) -> tuple[Entry[Cluster], Entry[User]]:
    """The cluster and the user of the current context. `master` overrides the server."""
    context = _named(loaded.contexts, loaded.current_context, "current-context", "context", Context())
    cluster = _named(
        loaded.clusters, context.value.cluster, f"{context.place}: cluster", "cluster", Cluster()
    )
    user = _named(loaded.users, context.value.user, f"{context.place}: user", "user", User())
    if master:
        overridden = msgspec.structs.replace(cluster.value, server=master, tls_server_name="")
        return Entry(cluster.place, overridden), user
    if not cluster.value.server:
        raise _no_server(loaded, context, cluster)
    return cluster, user


def _tls(cluster: Entry[Cluster], authority: bytes | None) -> TlsSettings:
    check_authority(cluster)
    if authority is not None:
        require_certificate(cluster, authority)
    return TlsSettings(authority, not cluster.value.insecure_skip_tls_verify, cluster.value.tls_server_name)


def _named(
    entries: Mapping[str, Entry[Thing]], name: str, field: str, kind: str, without: Thing
) -> Entry[Thing]:
    """The entry of that name. An empty name may be the name of an entry, and does not need an entry."""
    if name in entries:
        return entries[name]
    if name:
        known = ", ".join(quoted(each) for each in list(entries)[:3]) or "none"
        raise InvalidField(field, f"there is no {kind} {quoted(name)}; name one that exists ({known})")
    return Entry(f"{kind}s", without)


def _no_server(loaded: Kubeconfig, context: Entry[Context], cluster: Entry[Cluster]) -> InvalidField:
    if not loaded.current_context and "" not in loaded.contexts:
        return InvalidField("current-context", "it is missing; name one of the contexts")
    if not context.value.cluster and "" not in loaded.clusters:
        return InvalidField(f"{context.place}: cluster", "it is missing; name one of the clusters")
    return InvalidField(f"{cluster.place}: server", "it is missing; write it as https://host:port")


def _server(settings: Cluster, user: User, field: str) -> ServerUrl:
    has_tls = bool(
        settings.insecure_skip_tls_verify
        or settings.certificate_authority
        or settings.certificate_authority_data
        or user.client_certificate
        or user.client_certificate_data
    )
    try:
        return server_url(settings.server, is_secure=has_tls)
    except InputError as wrong:
        raise InvalidField(field, str(wrong)) from None
