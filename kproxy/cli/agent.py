"""The command `kproxy agent`: it turns flags and the configuration file into options, and calls the agent."""

from difflib import get_close_matches
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from kproxy.agent.configuration_watch import ConfigurationFile
from kproxy.agent.daemon import run
from kproxy.agent.options import Options
from kproxy.cleanup.clean_up import clean_up, show_removals
from kproxy.cli.agent_flags import AUTO, OURS, WITHOUT_EFFECT, agent_flags
from kproxy.cli.inputs import decode_file, dispatch_option, node_name, read_file, tell
from kproxy.cli.logs import set_up_logging
from kproxy.configuration import Configuration
from kproxy.configuration.encode import encode_configuration
from kproxy.configuration.flags import FLAGS_BESIDE_CONFIG, decode_flags, flag_of, override
from kproxy.configuration.idle import idle_fields
from kproxy.configuration.units import GATES_WITH_EFFECT
from kproxy.errors import InputError
from kproxy.kernel.node.privilege import require_net_admin
from kproxy.kernel.programs.iptables import Variant
from kproxy.ruleset.layout import LAYOUTS

_ALIKE = 0.8
"""How alike two names must be, by difflib, before one is suggested for the other."""

_OF_A_CLUSTER = frozenset({"kubeconfig", "master"})


@click.command(context_settings={"token_normalize_func": lambda word: word.replace("_", "-")})
@dispatch_option
@agent_flags
@click.pass_context
def command(context: click.Context, /, **_: object) -> None:
    """Keep this node's rules up to date.

    Follows a cluster, or a directory of manifests, until SIGTERM. The rules stay in the kernel afterwards. Needs root.
    Flags have kube-proxy's names, meanings and defaults.
    """
    flags = {name.replace("_", "-"): value for name, value in context.params.items()}
    given = frozenset(
        name.replace("_", "-")
        for name in context.params
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    )
    if flags["dry-run"] and not flags["cleanup"]:
        raise InputError("--dry-run prints what --cleanup would remove; it needs --cleanup")
    if flags["version"]:
        click.echo(f"kproxy {metadata.version('kproxy')}")
        return
    path = flags["config"]
    file = ConfigurationFile(path, read_file(path)) if path else None
    configure = _configuration_to_clean_up if flags["cleanup"] else _configuration
    configuration = configure(file, flags, given)
    set_up_logging(configuration.logging)
    if flags["write-config-to"]:
        _write(flags["write-config-to"], configuration)
    elif flags["cleanup"]:
        require_net_admin()
        if flags["dry-run"]:
            show_removals(partial(click.echo, nl=False))
        else:
            clean_up()
    else:
        run(_options(flags, configuration, file))


def _options(flags: dict[str, Any], configuration: Configuration, file: ConfigurationFile | None) -> Options:
    variant = flags["iptables-backend"]
    kubeconfig = configuration.client_connection.kubeconfig
    return Options(
        configuration=configuration,
        node_name=node_name(configuration),
        configuration_file=file,
        manifests=flags["manifests"],
        kubeconfig=Path(kubeconfig) if kubeconfig else None,
        master=flags["master"],
        variant=None if variant == AUTO else Variant(variant),
        layout=LAYOUTS[flags["dispatch"]],
        templates=flags["templates"],
        state_directory=flags["state-dir"],
        init_only=bool(flags["init-only"]),
        other_flags={
            flag: _shown(flag, flags[flag]) for flag in (*sorted(OURS - {"dry-run"}), "config", "master")
        },
    )


def _shown(flag: str, value: object) -> str:
    """The value as a page may show it: a URL without user and password, whatever its form."""
    text = "" if value is None else str(value)
    return text.rpartition("@")[2] if flag == "master" else text


def _configuration(
    file: ConfigurationFile | None, flags: dict[str, Any], given: frozenset[str]
) -> Configuration:
    """The configuration of the file, otherwise of the flags.

    Flags that the file overrides or that have no effect are named.
    """
    if file is None:
        configuration = decode_flags(flags)
    else:
        configuration = override(decode_file(*file), flags)
        for flag in sorted(given - FLAGS_BESIDE_CONFIG - OURS - WITHOUT_EFFECT):
            tell(f"--{flag} is ignored: the configuration file {file.path} overrides it")
    for flag in sorted(given & _OF_A_CLUSTER) if flags["manifests"] else ():
        tell(f"--{flag} is ignored: --manifests {flags['manifests']} replaces the cluster")
    for flag in sorted(given & WITHOUT_EFFECT):
        tell(f"--{flag} has no effect in kproxy")
    for gate in configuration.feature_gates:
        if gate not in GATES_WITH_EFFECT:
            near = get_close_matches(gate, GATES_WITH_EFFECT, 1, _ALIKE)
            meant = f"; did you mean {near[0]}?" if near else ""
            tell(f"the feature gate {gate} has no effect in kproxy{meant}")
    for field, reason in idle_fields(configuration):
        tell(f"{field if file else flag_of(field)} has no effect in kproxy: {reason}")
    return configuration


def _configuration_to_clean_up(
    file: ConfigurationFile | None, flags: dict[str, Any], given: frozenset[str]
) -> Configuration:
    """Decode a configuration for --cleanup, which uses only its logging.

    An unusable configuration, such as mode ipvs, is no obstacle.
    """
    try:
        return _configuration(file, flags, given)
    except InputError as refused:
        tell(f"{refused}; --cleanup continues without the configuration")
        return Configuration()


def _write(path: Path, configuration: Configuration) -> None:
    import yaml

    try:
        path.write_text(
            yaml.safe_dump(encode_configuration(configuration), sort_keys=False), encoding="utf-8"
        )
    except OSError as failed:
        raise InputError(f"cannot write {path}: {failed.strerror}") from failed
    tell(f"the configuration is written to {path}")
