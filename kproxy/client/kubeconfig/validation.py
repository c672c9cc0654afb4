"""Refuses the clusters and users of a kubeconfig that client-go refuses.

Source: client-go `tools/clientcmd/validation.go` (`validateClusterInfo`, `validateAuthInfo`), `transport/transport.go`
(`TLSConfigFor`), `rest/transport.go` and `rest/plugin.go` (`GetAuthProvider`). Each refusal is an InputError that names
the entry, the field, the reason and the remedy, and no secret.
"""

from kproxy.client.credentials.exec_config import ExecConfig, require_valid
from kproxy.client.kubeconfig.fields import Cluster, User
from kproxy.client.kubeconfig.loading import Entry
from kproxy.client.kubeconfig.server_urls import check_proxy_url
from kproxy.errors import InputError, InvalidField
from kproxy.state.printable import quoted


def check_cluster(entry: Entry[Cluster]) -> None:
    """The rules for servers with TLS and without TLS."""
    cluster = entry.value
    if cluster.certificate_authority and cluster.certificate_authority_data:
        raise _wrong(
            entry,
            "certificate-authority",
            "certificate-authority-data is given too; remove one of the two",
        )
    if cluster.proxy_url:
        try:
            check_proxy_url(cluster.proxy_url)
        except InputError as wrong:
            raise _wrong(entry, "proxy-url", str(wrong)) from None


def check_authority(entry: Entry[Cluster]) -> None:
    """The rules for servers with TLS."""
    cluster = entry.value
    if cluster.insecure_skip_tls_verify and (
        cluster.certificate_authority or cluster.certificate_authority_data
    ):
        raise _wrong(
            entry,
            "insecure-skip-tls-verify",
            "a certificate authority is given too, which would have no effect; remove one of the two",
        )


def check_user(entry: Entry[User]) -> None:
    user = entry.value
    if user.token and (user.username or user.password):
        raise _wrong(entry, "token", "username or password is given too; remove one of the two")
    if user.token_file and user.username:
        raise _wrong(entry, "tokenFile", "username is given too; remove one of the two")
    _check_certificate(entry)
    if not user.impersonate and (user.impersonate_uid or user.impersonate_groups or user.impersonate_extra):
        raise _wrong(
            entry, "as", "it is missing, and as-uid, as-groups or as-user-extra is given; name the user too"
        )
    if user.auth_provider is not None:
        raise _wrong(
            entry,
            "auth-provider",
            f"{quoted(user.auth_provider.name)} is no longer a part of Kubernetes clients; use an exec plugin",
        )


def _check_certificate(entry: Entry[User]) -> None:
    user = entry.value
    if not (user.client_certificate or user.client_certificate_data):
        return
    for field, path, data in (
        ("client-certificate", user.client_certificate, user.client_certificate_data),
        ("client-key", user.client_key, user.client_key_data),
    ):
        if path and data:
            raise _wrong(entry, field, f"{field}-data is given too; remove one of the two")
    if not (user.client_key or user.client_key_data):
        raise _wrong(
            entry, "client-key", "it is missing, and a client certificate is given; name its key too"
        )


def check_plugin(entry: Entry[User], plugin: ExecConfig) -> None:
    """Check the plugin, also for a server without TLS, for which the plugin is not run."""
    try:
        require_valid(plugin)
    except InvalidField as wrong:
        raise _wrong(entry, wrong.field, wrong.reason) from None


def _wrong(entry: Entry[Cluster] | Entry[User], field: str, reason: str) -> InvalidField:
    return InvalidField(f"{entry.place}: {field}", reason)
