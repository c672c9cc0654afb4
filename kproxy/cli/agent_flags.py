"""kube-proxy's flags, by its names and in its Go spelling, and ours."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from kproxy.configuration.schema import LogFormat
from kproxy.errors import InputError
from kproxy.kernel.programs.iptables import Variant
from kproxy.model.settings import DetectLocalMode

AUTO = "auto"
OURS = frozenset({"manifests", "iptables-backend", "templates", "dispatch", "state-dir", "dry-run"})

_IPVS = (
    "ipvs-exclude-cidrs",
    "ipvs-min-sync-period",
    "ipvs-scheduler",
    "ipvs-strict-arp",
    "ipvs-sync-period",
    "ipvs-tcp-timeout",
    "ipvs-tcpfin-timeout",
    "ipvs-udp-timeout",
)
_WINDOWS = (
    "enable-dsr",
    "forward-healthcheck-vip",
    "network-name",
    "root-hnsendpoint-name",
    "source-vip",
    "windows-service",
)
WITHOUT_EFFECT = frozenset(
    {
        "boot-id-file",
        "log-flush-frequency",
        "log-json-info-buffer-size",
        "log-json-split-stream",
        "log-text-info-buffer-size",
        "log-text-split-stream",
        "machine-id-file",
        "show-hidden-metrics-for-version",
    }
)
"""kube-proxy's flags that mean nothing here, but may stand in a unit file."""

Option = Callable[[Any], Any]


class _Verbosity(click.ParamType[int]):
    """A number, also as Go programs are given it: `-v=2`."""

    name = "level"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).removeprefix("=")
        if not text.isdecimal():
            self.fail(f"{value!r} is not a number; write -v=2", param, ctx)
        return int(text)


def _refuse(context: click.Context, option: click.Parameter, value: str | None) -> None:
    """Except with --cleanup: to end a mode that kproxy does not have is what is left to do with its flags."""
    if value is not None and not context.params["cleanup"]:
        flag = option.opts[0]
        kind = "mode ipvs" if flag.removeprefix("--") in _IPVS else "Windows"
        raise InputError(
            f"{flag} is for {kind}, which kproxy does not have; leave it out, and use mode iptables or nftables"
        )


def _words(_context: click.Context, _option: click.Parameter, values: Sequence[str]) -> list[str] | None:
    """A flag that may be repeated, and whose values may be joined by commas."""
    return [word.strip() for value in values for word in value.split(",") if word.strip()] if values else None


def _gates(context: click.Context, option: click.Parameter, values: Sequence[str]) -> dict[str, bool] | None:
    words = _words(context, option, values)
    return None if words is None else dict(_gate(word) for word in words)


def _gate(word: str) -> tuple[str, bool]:
    name, _, value = word.partition("=")
    if value.lower() not in ("true", "false"):
        raise InputError(f"--feature-gates: {word!r} says neither true nor false; write {name}=true")
    return name, value.lower() == "true"


def _modules(context: click.Context, option: click.Parameter, values: Sequence[str]) -> list[object] | None:
    words = _words(context, option, values)
    return None if words is None else [_module(word) for word in words]


def _module(word: str) -> dict[str, object]:
    pattern, _, level = word.partition("=")
    if not (pattern and level.isdecimal()):
        raise InputError(f"--vmodule: {word!r} is no pattern with a level; write loop=4")
    return {"filePattern": pattern, "verbosity": int(level)}


def _version(context: click.Context, option: click.Parameter, value: str | None) -> bool:
    """`raw` asks for more than kproxy has to say."""
    return value == "raw" or bool(click.BOOL(value, option, context))


def _text(flag: str, text: str, **more: Any) -> Option:
    return click.option(f"--{flag}", help=text, **more)


def _number(flag: str, text: str, **more: Any) -> Option:
    return _text(flag, text, type=int, **more)


def _switch(flag: str, text: str, **more: Any) -> Option:
    """A Go-style boolean: `--flag`, `--flag=true` or `--flag=false`."""
    return _text(flag, text, is_flag=False, flag_value="true", type=bool, metavar="[BOOL]", **more)


def _list(flag: str, text: str, callback: Callable[..., object] = _words) -> Option:
    return _text(flag, text, multiple=True, callback=callback)


_ACTIONS = (
    _text("config", "A KubeProxyConfiguration; most flags are void then.", type=click.Path(path_type=Path)),
    _text(
        "write-config-to",
        "Write the configuration there, defaults filled in, and end.",
        type=click.Path(path_type=Path),
    ),
    _switch("cleanup", "Remove all rules of kproxy and kube-proxy, of every mode, and end.", is_eager=True),
    _switch("dry-run", "With --cleanup: print what it would remove, and change nothing."),
    _switch("init-only", "Set up what needs privileges in the kernel, and end."),
    _text(
        "version",
        "Print the version and end.",
        is_flag=False,
        flag_value="true",
        metavar="[BOOL|raw]",
        callback=_version,
    ),
)

_CLUSTER = (
    _text(
        "kubeconfig",
        "The file that says how to reach the API server, or several with : in between; $KUBECONFIG does not count.  "
        "[default: this pod's service account]",
    ),
    _text(
        "master",
        "The API server's address, instead of the kubeconfig's; without one, only user and password in it say who we are.",
        default="",
    ),
    _text(
        "kube-api-content-type",
        "The encoding of lists and watches: application/json or application/vnd.kubernetes.protobuf.  [default: the latter]",
    ),
    _text(
        "kube-api-qps", "Requests a second, watches aside; negative for no limit.  [default: 5]", type=float
    ),
    _number("kube-api-burst", "Requests at once, watches aside, while few were made before.  [default: 10]"),
    _text("hostname-override", "This node's name.  [default: this host's name]"),
    _text(
        "config-sync-period",
        "Accepted, and named in a warning; watches need no regular refresh.  [default: 15m]",
    ),
    _list(
        "feature-gates",
        "AllowServiceExternalIPs=false: no rules for externalIPs; WatchListClient=false: no lists as streams; "
        "others are named in a warning.",
        _gates,
    ),
)

_SERVERS = (
    _text("bind-address", "The node's address, if not 0.0.0.0 or ::.  [default: 0.0.0.0]"),
    _switch("bind-address-hard-fail", "End if a server's address cannot be had.  [default: false]"),
    _text("healthz-bind-address", "Of the health server; empty for none.  [default: 0.0.0.0:10256]"),
    _text("metrics-bind-address", "Of the metrics server; empty for none.  [default: 127.0.0.1:10249]"),
    _number("healthz-port", "", hidden=True),
    _number("metrics-port", "", hidden=True),
    _switch("profiling", "Accepted, and named in a warning; there are no profiling pages."),
)

_RULES = (
    _text("proxy-mode", "iptables or nftables.  [default: iptables]"),
    _text("cluster-cidr", "Where pods' addresses are from, one CIDR for each family."),
    _text("detect-local-mode", f"{', '.join(DetectLocalMode)}.  [default: ClusterCIDR]"),
    _text("pod-bridge-interface", "For BridgeInterface: the bridge that this node's pods are on."),
    _text("pod-interface-name-prefix", "For InterfaceNamePrefix: how names of pod interfaces begin."),
    _list("nodeport-addresses", "CIDRs of addresses with node ports, or the words primary, localhost, all."),
    _switch("masquerade-all", "Masquerade all traffic to cluster IPs."),
    _switch("iptables-localhost-nodeports", "Node ports answer on 127.0.0.1 too.  [default: true]"),
    _number("iptables-masquerade-bit", "The bit of the packet mark.  [default: 14]"),
    _text("iptables-sync-period", "At the latest, rules are checked after this time.  [default: 30s]"),
    _text("iptables-min-sync-period", "At the earliest, rules are written after this time.  [default: 1s]"),
)

_SYSTEM = (
    _number(
        "conntrack-max-per-core", "Connections tracked, for each core; 0 leaves the limit.  [default: 32768]"
    ),
    _number("conntrack-min", "Connections tracked at least.  [default: 131072]"),
    _text("conntrack-tcp-timeout-established", "Of idle TCP connections; 0 leaves it.  [default: 24h]"),
    _text("conntrack-tcp-timeout-close-wait", "Of half-closed TCP connections; 0 leaves it.  [default: 1h]"),
    _switch("conntrack-tcp-be-liberal", "Let packets pass that conntrack calls invalid."),
    _text("conntrack-udp-timeout", "Of UDP flows without an answer; 0 leaves it.  [default: 0]"),
    _text("conntrack-udp-timeout-stream", "Of UDP flows; 0 leaves it.  [default: 0]"),
    _number(
        "oom-score-adj", "How late the kernel ends this process for memory, -1000 to 1000.  [default: -999]"
    ),
)

_LOGGING = (
    click.option("-v", "--v", type=_Verbosity(), help="How much is logged; 3 and more: every sync."),
    _list("vmodule", "The same for single modules, such as loop=4.", _modules),
    _text("logging-format", f"{' or '.join(LogFormat)}.  [default: text]"),
)

_OURS = (
    _text("manifests", "Watch a directory of manifests, not a cluster.", type=click.Path(path_type=Path)),
    _text(
        "iptables-backend",
        "Which of iptables' two.",
        type=click.Choice([AUTO, *map(str, Variant)]),
        default=AUTO,
        show_default=True,
    ),
    _text(
        "templates",
        "A directory whose templates, in iptables/ or nftables/, win over ours.",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
    ),
    _text(
        "state-dir",
        "Where an agent that starts again finds what it wrote; of use only if it outlives the container.",
        # whether it can be used is for the agent to find out: --version needs no directory
        type=click.Path(path_type=Path, file_okay=False, readable=False),
        default=Path("/run/kproxy"),
        show_default=True,
    ),
)

_REFUSED = tuple(
    _text(flag, "", hidden=True, callback=_refuse, expose_value=False) for flag in (*_IPVS, *_WINDOWS)
)
_PASSED_OVER = tuple(
    _text(flag, "", hidden=True, is_flag=False, flag_value="true") for flag in sorted(WITHOUT_EFFECT)
)


def agent_flags(command: Any) -> Any:
    """Give a command all of them."""
    groups = (_OURS, _ACTIONS, _CLUSTER, _SERVERS, _RULES, _SYSTEM, _LOGGING, _REFUSED, _PASSED_OVER)
    for option in reversed([option for group in groups for option in group]):
        command = option(command)
    return command
