"""From `--kubeconfig`, `--master` and the pod's service account to the server that they mean.

Source: kube-proxy `cmd/kube-proxy/app/server.go` `createClient`; client-go `tools/clientcmd/client_config.go`
(`DirectClientConfig`) and `merged_client_builder.go` (`DeferredLoadingClientConfig`). Where we are stricter, or take more:

- A context that names a cluster or user that no file has is refused. client-go goes on without it: as the pod's service
  account, or as nobody.
- A server without a scheme has https where its entry holds an authority, a client certificate or insecure. client-go
  decides that before it has read those.
- User and password in the server's URL are sent with TLS only.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from kproxy.client.authorities import read_authority, require_certificate
from kproxy.client.failures import one_line
from kproxy.client.kubeconfig import (
    Cluster,
    Context,
    Entry,
    Kubeconfig,
    UnusableKubeconfig,
    User,
    load_kubeconfig,
)
from kproxy.client.proofs import Nobody, TokenFile, credentials_of
from kproxy.client.servers import SECURE, Url, server_url
from kproxy.client.target import Target, TlsSettings
from kproxy.client.validation import check_authority, check_cluster, check_user
from kproxy.errors import EnvironmentLacking, InputError, InvalidField
from kproxy.state.validate import quoted

_SERVICE_ACCOUNT = "the pod's service account"
_IN_A_POD = ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT")

Thing = TypeVar("Thing")


def find_target(kubeconfig: Path | None, master: str) -> Target:
    """The server that kube-proxy's `--kubeconfig` and `--master` mean; nothing is sent.

    `master` overrides the kubeconfig's address, and the server name that TLS asks for with it. Without both, or with a
    kubeconfig that says nothing, the pod's service account is used. Reads all files anew. InputError for a
    configuration that cannot be used, EnvironmentLacking without one and outside a pod.
    """
    if kubeconfig is None:
        return _target_of_master(master) if master else _target_of_pod()
    loaded = load_kubeconfig(kubeconfig)
    if loaded.is_empty and not master:
        if not _is_pod():
            raise UnusableKubeconfig(
                loaded.path, "it says nothing; name a cluster, a user and a context in it"
            )
        return _target_of_pod()
    try:
        return _target_of_kubeconfig(loaded, master)
    except InputError as wrong:
        raise UnusableKubeconfig(loaded.path, wrong) from None


def _target_of_master(master: str) -> Target:
    """Without a kubeconfig nobody says who we are."""
    try:
        url = server_url(master, is_secure=False)
    except InputError as wrong:
        raise InputError(f"--master: {wrong}") from None
    return Target(url.without_login, "--master", TlsSettings() if url.scheme == SECURE else None, Nobody())


def _target_of_kubeconfig(loaded: Kubeconfig, master: str) -> Target:
    context = _named(loaded.contexts, loaded.current_context, "current-context", "context", Context())
    cluster = _named(
        loaded.clusters, context.value.cluster, f"{context.place}: cluster", "cluster", Cluster()
    )
    user = _named(loaded.users, context.value.user, f"{context.place}: user", "user", User())
    if master:
        overridden = msgspec.structs.replace(cluster.value, server=master, tls_server_name="")
        cluster = Entry(cluster.place, overridden)
    check_user(user)
    check_cluster(cluster)
    url = _server(cluster, user.value, "--master" if master else f"{cluster.place}: server")
    origin = f"the kubeconfig {loaded.path}"
    settings = cluster.value
    authority = read_authority(cluster)
    if url.scheme != SECURE:
        return Target(
            url.without_login, origin, None, Nobody(), settings.proxy_url, not settings.disable_compression
        )
    check_authority(cluster)
    if authority is not None:
        require_certificate(cluster, authority)
    return Target(
        url.without_login,
        origin,
        TlsSettings(authority, not settings.insecure_skip_tls_verify, settings.tls_server_name),
        credentials_of(user, cluster, url, origin),
        settings.proxy_url,
        not settings.disable_compression,
    )


def _named(
    entries: Mapping[str, Entry[Thing]], name: str, field: str, kind: str, without: Thing
) -> Entry[Thing]:
    """The entry of that name. The empty name may be that of an entry, and needs none."""
    if name in entries:
        return entries[name]
    if name:
        known = ", ".join(quoted(each) for each in list(entries)[:3]) or "none"
        raise InvalidField(field, f"there is no {kind} {quoted(name)}; name one that is there ({known})")
    return Entry(f"{kind}s", without)


def _server(cluster: Entry[Cluster], user: User, field: str) -> Url:
    settings = cluster.value
    if not settings.server:
        raise InvalidField(field, "it is missing; write it as https://host:port")
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


def _is_pod() -> bool:
    return all(os.environ.get(name) for name in _IN_A_POD)


def _target_of_pod() -> Target:
    if not _is_pod():
        raise EnvironmentLacking(
            f"no cluster to talk to: this is no pod ({_IN_A_POD[0]} or {_IN_A_POD[1]} is not set); "
            "name a kubeconfig with --kubeconfig"
        )
    from kproxy.client.service_account import find_service_account  # half a second, spent only in a pod

    account = find_service_account()
    try:
        server = server_url(account.server, is_secure=True).without_login
        authority = account.authority.read_bytes() if account.authority else None
    except (InputError, OSError) as wrong:
        raise EnvironmentLacking(
            f"{_SERVICE_ACCOUNT} cannot be used: {one_line(str(wrong))} "
            "Let the pod mount it (automountServiceAccountToken), or name a kubeconfig with --kubeconfig"
        ) from None
    return Target(
        server, _SERVICE_ACCOUNT, TlsSettings(authority), TokenFile(account.token, _SERVICE_ACCOUNT)
    )
