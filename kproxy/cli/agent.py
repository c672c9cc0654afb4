"""`kproxy agent`: the flags of the node agent."""

import logging
from pathlib import Path

import click

from kproxy.agent.daemon import Options, run
from kproxy.cli.inputs import load_configuration, node_name, tell
from kproxy.configuration import Configuration, decode_configuration
from kproxy.configuration.flags import FLAGS_BESIDE_CONFIG, flags_to_data
from kproxy.kernel.iptables import Backend

_AUTO = "auto"
_DEBUG_VERBOSITY = 3


def _verbosity(_context: click.Context, _option: click.Parameter, value: str) -> int:
    """`-v 2` and, as Go programs write it, `-v=2`."""
    try:
        return int(value.removeprefix("="))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a number; write -v=2") from None
