"""`kproxy agent`: the flags of the node agent, most of them kube-proxy's."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from kproxy.agent.daemon import Options, run
from kproxy.cli.inputs import dispatch_option, load_configuration, node_name, tell
from kproxy.configuration import Configuration, Mode
from kproxy.configuration.flags import FLAGS_BESIDE_CONFIG, decode_flags
from kproxy.errors import InputError
from kproxy.kernel.iptables import Backend
from kproxy.ruleset.tree import LAYOUTS

_AUTO = "auto"
_OURS = frozenset({"manifests", "iptables-backend", "templates", "dispatch", "state-dir"})
_DEBUG_VERBOSITY = 3
_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _Verbosity(click.ParamType[int]):
    """A number, also as Go programs are given it: `-v=2`."""

    name = "level"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).removeprefix("=")
        if not text.isdecimal():
            self.fail(f"{value!r} is not a number; write -v=2", param, ctx)
        return int(text)


def _switch(flag: str, text: str) -> Callable[[Any], Any]:
    """A Go-style boolean: `--flag`, `--flag=true` or `--flag=false`."""
    return click.option(f"--{flag}", is_flag=False, flag_value="true", type=bool, metavar="[BOOL]", help=text)


def _words(_context: click.Context, _option: click.Parameter, value: str | None) -> list[str] | None:
    return None if value is None else [word.strip() for word in value.split(",") if word.strip()]


@click.command()
@click.option(
    "--manifests", type=click.Path(path_type=Path), help="Watch a directory of manifests, not a cluster."
)
@click.option("--kubeconfig", help="How to reach the API server.  [default: this pod's service account]")
@click.option("--master", default="", help="The API server's address, instead of the kubeconfig's.")
@click.option(
    "--config", type=click.Path(path_type=Path), help="A KubeProxyConfiguration; most flags are void then."
)
@click.option("--hostname-override", help="This node's name.  [default: this host's name]")
@click.option("--proxy-mode", help="iptables.")
@click.option("--cluster-cidr", help="Where pods' addresses are from, one CIDR for each family.")
@click.option("--detect-local-mode", help="ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix.")
@click.option("--pod-bridge-interface", help="For BridgeInterface: the bridge that this node's pods are on.")
@click.option(
    "--pod-interface-name-prefix", help="For InterfaceNamePrefix: how names of pod interfaces begin."
)
@click.option(
    "--nodeport-addresses", callback=_words, help="CIDRs of addresses with node ports, or 'primary'."
)
@_switch("masquerade-all", "Masquerade all traffic to cluster IPs.")
@_switch("iptables-localhost-nodeports", "Node ports answer on 127.0.0.1 too.  [default: true]")
@click.option("--iptables-masquerade-bit", type=int, help="The bit of the packet mark.  [default: 14]")
@click.option(
    "--iptables-sync-period", help="At the latest, rules are checked after this time.  [default: 30s]"
)
@click.option(
    "--iptables-min-sync-period", help="At the earliest, rules are written after this time.  [default: 1s]"
)
@_switch("conntrack-tcp-be-liberal", "Let packets pass that conntrack calls invalid.")
@click.option(
    "--iptables-backend", type=click.Choice([_AUTO, *map(str, Backend)]), default=_AUTO, show_default=True
)
@dispatch_option
@click.option(
    "--templates",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A directory whose templates win over ours.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/run/kproxy"),
    show_default=True,
    help="Where an agent that starts again finds what it wrote; of use only if it outlives the container.",
)
@click.option("-v", "--v", type=_Verbosity(), help="How much is logged; 3 and more: every sync.")
@click.pass_context
def command(context: click.Context, /, **_: object) -> None:
    """Keep this node's rules up to date.

    Follows a cluster, or a directory of manifests, until SIGTERM; the rules stay. Needs root. Flags have kube-proxy's names, meanings and defaults.
    """
    flags = {name.replace("_", "-"): value for name, value in context.params.items()}
    configuration = _configuration(flags)
    verbosity = configuration.logging.verbosity if flags["v"] is None else flags["v"]
    verbose = verbosity >= _DEBUG_VERBOSITY
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, format=_LOG_FORMAT)
    backend = flags["iptables-backend"]
    kubeconfig = configuration.client_connection.kubeconfig
    run(
        Options(
            configuration=configuration,
            node_name=node_name(flags["hostname-override"], configuration),
            manifests=flags["manifests"],
            kubeconfig=Path(kubeconfig) if kubeconfig else None,
            master=flags["master"],
            backend=None if backend == _AUTO else Backend(backend),
            layout=LAYOUTS[flags["dispatch"]],
            templates=flags["templates"],
            state_directory=flags["state-dir"],
        )
    )


def _configuration(flags: dict[str, Any]) -> Configuration:
    """The file's, or what the flags say; a flag that the file makes void is named."""
    if flags["config"] is None:
        configuration = decode_flags(flags)
    else:
        configuration = load_configuration(flags["config"])
        given = {flag for flag, value in flags.items() if value not in (None, "")}
        for flag in sorted(given - FLAGS_BESIDE_CONFIG - _OURS):
            tell(f"--{flag} is ignored: {flags['config']} decides it")
    if configuration.mode is not Mode.IPTABLES:
        raise InputError(f"mode {configuration.mode} is not there yet; use iptables")
    return configuration
