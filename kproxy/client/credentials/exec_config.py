"""The configuration of a credential plugin, from a kubeconfig's `exec` (client.authentication.k8s.io)."""

from dataclasses import dataclass, field
from enum import StrEnum

from kproxy.errors import InvalidField
from kproxy.state.printable import quoted
from kproxy.state.validate import choice

_GROUP = "client.authentication.k8s.io"
V1 = f"{_GROUP}/v1"
V1BETA1 = f"{_GROUP}/v1beta1"
_REMOVED = f"{_GROUP}/v1alpha1"
VERSIONS = (V1, V1BETA1, _REMOVED)


class InteractiveMode(StrEnum):
    """Whether a plugin gets our standard input. It gets standard input only if that is a terminal."""

    NEVER = "Never"
    IF_AVAILABLE = "IfAvailable"
    ALWAYS = "Always"
    """Without a terminal the plugin is not run, and the request is not sent."""


@dataclass(frozen=True, slots=True)
class ClusterInfo:
    """The server, as a plugin with `provideClusterInfo` gets it.

    `extension` is the JSON text of the cluster's extension named `client.authentication.k8s.io/exec`, empty without
    this extension. `proxy_url` is the kubeconfig's proxy-url.
    """

    server: str
    tls_server_name: str = ""
    is_verified: bool = True
    authority: bytes = field(default=b"", repr=False)
    proxy_url: str = field(default="", repr=False)
    takes_compressed: bool = True
    extension: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecConfig:
    """The configuration of a plugin. Equal configurations share one plugin, its answer and its time-out.

    A `command` with a slash is an absolute path. `env` keeps the order of the file. `cluster` is None unless
    `provideClusterInfo` is true. `origin` names the configuration in messages. `interactive_mode` is empty if absent.
    """

    command: str
    api_version: str
    origin: str
    args: tuple[str, ...] = field(default=(), repr=False)
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    interactive_mode: str = ""
    install_hint: str = ""
    cluster: ClusterInfo | None = None

    @property
    def mode(self) -> InteractiveMode:
        """The interactive mode. InvalidField for an unknown mode, and for an absent mode with v1."""
        if not self.interactive_mode and self.api_version == V1BETA1:
            return InteractiveMode.IF_AVAILABLE
        if not self.interactive_mode:
            raise InvalidField(
                "exec.interactiveMode", f"it is missing; write one of {', '.join(InteractiveMode)}"
            )
        return choice(InteractiveMode, self.interactive_mode, "exec.interactiveMode")


def require_valid(config: ExecConfig) -> None:
    """Raise InvalidField unless client-go (tools/clientcmd/validation.go) and the system accept the configuration."""
    if not config.command:
        raise InvalidField("exec.command", "it is missing; name the credential plugin")
    if config.api_version == _REMOVED:
        raise InvalidField(
            "exec.apiVersion",
            f"{_REMOVED} was removed in Kubernetes 1.24; write {V1}, which the plugin must support too",
        )
    if config.api_version not in (V1, V1BETA1):
        raise InvalidField("exec.apiVersion", f"{quoted(config.api_version)} is not one of {V1}, {V1BETA1}")
    config.mode  # noqa: B018 # the property raises InvalidField
    for index, (name, value) in enumerate(config.env):
        if not name or "=" in name:
            raise InvalidField(f"exec.env[{index}].name", f"{quoted(name)} is not a name of a variable")
        _require_no_nul(f"exec.env[{index}]", name, value)
    _require_no_nul("exec", config.command, *config.args)


def _require_no_nul(place: str, *texts: str) -> None:
    """Raise InvalidField for text that no program can get. The message leaves the text out, as it may be a secret."""
    for text in texts:
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise InvalidField(
                place, "it has a character that no program can get: NUL, or half of a UTF-16 pair"
            )
