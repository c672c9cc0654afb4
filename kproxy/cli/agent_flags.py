"""kube-proxy's flags, with its names and its Go spelling, and kproxy's own flags."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from kproxy.cli.flag_values import Verbosity, gates, modules, version, words
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
"""Flags of kube-proxy that have no effect here, but may be in a unit file."""

Option = Callable[[Any], Any]


def _refuse(context: click.Context, option: click.Parameter, value: str | None) -> None:
    """Refuse the flag, except with --cleanup: somebody who leaves ipvs mode may still have its flags."""
    if value is not None and not context.params["cleanup"]:
        flag = option.opts[0]
        kind = "mode ipvs" if flag.removeprefix("--") in _IPVS else "Windows"
        raise InputError(
            f"{flag} is for {kind}, which kproxy does not have; remove it, and use mode iptables or nftables"
        )


def _text(flag: str, text: str, **more: Any) -> Option:
    return click.option(f"--{flag}", help=text, **more)


def _number(flag: str, text: str, **more: Any) -> Option:
    return _text(flag, text, type=int, **more)


def _switch(flag: str, text: str, **more: Any) -> Option:
    """A Go-style boolean: `--flag`, `--flag=true` or `--flag=false`."""
    return _text(flag, text, is_flag=False, flag_value="true", type=bool, metavar="[BOOL]", **more)


def _list(flag: str, text: str, callback: Callable[..., object] = words) -> Option:
    return _text(flag, text, multiple=True, callback=callback)


_ACTIONS = (
    _text(
        "config", "A KubeProxyConfiguration file. It overrides most flags.", type=click.Path(path_type=Path)
    ),
    _text(
        "write-config-to",
        "Write the configuration with all defaults to this file, and exit.",
        type=click.Path(path_type=Path),
    ),
    _switch("cleanup", "Remove all rules of kproxy and kube-proxy, in all modes, and exit.", is_eager=True),
    _switch("dry-run", "With --cleanup: print the rules that it would remove, and change nothing."),
    _switch("init-only", "Make the kernel settings that need privileges, and exit."),
    _text(
        "version",
        "Print the version and exit.",
        is_flag=False,
        flag_value="true",
        metavar="[BOOL|raw]",
        callback=version,
    ),
)

_CLUSTER = (
    _text(
        "kubeconfig",
        "The file with the API server's address and our credentials, or several files separated by colons. $KUBECONFIG is ignored.  "
        "[default: this pod's service account]",
    ),
    _text(
        "master",
        "The API server's address; overrides the kubeconfig. Without a kubeconfig, only a user and password in this URL are sent as credentials.",
        default="",
    ),
    _text(
        "kube-api-content-type",
        "The encoding of lists and watches: application/json or application/vnd.kubernetes.protobuf.  [default: application/vnd.kubernetes.protobuf]",
    ),
    _text(
        "kube-api-qps",
        "Requests per second, without watches. A negative number means no limit.  [default: 5]",
        type=float,
    ),
    _number(
        "kube-api-burst",
        "Requests that may be sent at once after a quiet time, without watches.  [default: 10]",
    ),
    _text("hostname-override", "This node's name.  [default: this host's name]"),
    _text(
        "config-sync-period",
        "Has no effect, because watches need no regular refresh; kproxy warns.  [default: 15m]",
    ),
    _list(
        "feature-gates",
        "AllowServiceExternalIPs=false: no rules for externalIPs. WatchListClient=false: no lists as streams. "
        "Other gates have no effect; kproxy warns.",
        gates,
    ),
)

_SERVERS = (
    _text(
        "bind-address",
        "The node's address; 0.0.0.0 or :: means the address in the Node object.  [default: 0.0.0.0]",
    ),
    _switch("bind-address-hard-fail", "Exit if a server cannot listen on its address.  [default: false]"),
    _text(
        "healthz-bind-address",
        "The address of the health server; empty for no server.  [default: 0.0.0.0:10256]",
    ),
    _text(
        "metrics-bind-address",
        "The address of the metrics server; empty for no server.  [default: 127.0.0.1:10249]",
    ),
    _number("healthz-port", "", hidden=True),
    _number("metrics-port", "", hidden=True),
    _switch("profiling", "Has no effect, because there are no profiling pages; kproxy warns."),
)

_RULES = (
    _text("proxy-mode", "The proxy mode: iptables or nftables.  [default: iptables]"),
    _text("cluster-cidr", "The networks of pod addresses, one CIDR per family."),
    _text(
        "detect-local-mode",
        f"How traffic of this node's pods is detected: {', '.join(DetectLocalMode)}.  [default: ClusterCIDR]",
    ),
    _text("pod-bridge-interface", "For BridgeInterface: the bridge of this node's pods."),
    _text(
        "pod-interface-name-prefix",
        "For InterfaceNamePrefix: the first letters of the names of pod interfaces.",
    ),
    _list(
        "nodeport-addresses",
        "The addresses that have node ports: CIDRs, or the words primary, localhost, all.",
    ),
    _switch("masquerade-all", "Masquerade all traffic to cluster IPs."),
    _switch("iptables-localhost-nodeports", "Node ports answer on 127.0.0.1 too.  [default: true]"),
    _number("iptables-masquerade-bit", "The bit of the packet mark.  [default: 14]"),
    _text("iptables-sync-period", "The longest time between two checks of the rules.  [default: 30s]"),
    _text("iptables-min-sync-period", "The shortest time between two writes of rules.  [default: 1s]"),
)

_SYSTEM = (
    _number(
        "conntrack-max-per-core",
        "The most tracked connections per core; 0 leaves the kernel's limit.  [default: 32768]",
    ),
    _number("conntrack-min", "The lower bound of that limit for the whole node.  [default: 131072]"),
    _text(
        "conntrack-tcp-timeout-established",
        "The time-out of idle TCP connections; 0 leaves the kernel's.  [default: 24h]",
    ),
    _text(
        "conntrack-tcp-timeout-close-wait",
        "The time-out of half-closed TCP connections; 0 leaves the kernel's.  [default: 1h]",
    ),
    _switch("conntrack-tcp-be-liberal", "Let packets pass that conntrack marks as invalid."),
    _text(
        "conntrack-udp-timeout",
        "The time-out of UDP flows without an answer; 0 leaves the kernel's.  [default: 0]",
    ),
    _text(
        "conntrack-udp-timeout-stream",
        "The time-out of UDP flows with an answer; 0 leaves the kernel's.  [default: 0]",
    ),
    _number(
        "oom-score-adj",
        "The kernel's score for ending this process when memory is short: -1000 (last) to 1000 (first).  [default: -999]",
    ),
)

_LOGGING = (
    click.option(
        "-v", "--v", type=Verbosity(), help="The verbosity of the log. From 3 on, every sync is logged."
    ),
    _list("vmodule", "The verbosity of single modules, such as loop=4.", modules),
    _text("logging-format", f"The format of the log: {' or '.join(LogFormat)}.  [default: text]"),
)

_OURS = (
    _text(
        "manifests",
        "Watch this directory of manifests instead of a cluster.",
        type=click.Path(path_type=Path),
    ),
    _text(
        "iptables-backend",
        "The variant of the iptables programs. auto: the variant that this host uses.",
        type=click.Choice([AUTO, *map(str, Variant)]),
        default=AUTO,
        show_default=True,
    ),
    _text(
        "templates",
        "A directory with templates that replace kproxy's own, in iptables/ or nftables/.",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
    ),
    _text(
        "state-dir",
        "The directory for the record of written rules, which the next agent reads. Mount it from the host.",
        # the agent checks whether it can use the directory: --version needs no directory
        type=click.Path(path_type=Path, file_okay=False, readable=False),
        default=Path("/run/kproxy"),
        show_default=True,
    ),
)

_REFUSED = tuple(
    _text(flag, "", hidden=True, callback=_refuse, expose_value=False) for flag in (*_IPVS, *_WINDOWS)
)
_IGNORED = tuple(
    _text(flag, "", hidden=True, is_flag=False, flag_value="true") for flag in sorted(WITHOUT_EFFECT)
)


def agent_flags(command: Any) -> Any:
    """Add all flags to a command."""
    groups = (_OURS, _ACTIONS, _CLUSTER, _SERVERS, _RULES, _SYSTEM, _LOGGING, _REFUSED, _IGNORED)
    for option in reversed([option for group in groups for option in group]):
        command = option(command)
    return command
