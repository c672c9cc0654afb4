"""The `kproxy` program, which is also the kubectl plugin `kubectl kproxy`."""

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module, metadata
from typing import cast

import click

from kproxy.errors import EnvironmentLacking, InputError, KproxyError
from kproxy.state.printable import indented

_COMMANDS = {
    "agent": "kproxy.cli.agent:command",
    "render": "kproxy.cli.render:command",
}
_NOT_WRITTEN = {
    errno.ENOSPC: "its disk is full; make room",
    errno.EDQUOT: "its disk quota is used up; make room",
    errno.EFBIG: "it grows beyond the size that a file may have here; raise the limit (`ulimit -f`)",
    errno.EBADF: "stdout is open for reading only; redirect it with >",
}
_FAILED, _WRONG_INPUT, _ENVIRONMENT_LACKS, _INTERRUPTED = 1, 2, 3, 130


class _LazyGroup(click.Group):
    """Imports a command when it is called: `render` must not pay for the imports of `agent`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        return cast("click.Command", getattr(import_module(module), attribute))

    def invoke(self, ctx: click.Context) -> object:
        """Run the command. A reader that leaves early, such as `head`, is no error.

        Raises EnvironmentLacking if the output cannot be written.
        """
        try:
            answer = super().invoke(ctx)
            if sys.stdout:  # a daemon may have been started without stdout
                sys.stdout.flush()
        except BrokenPipeError:
            _drop_unwritten_output()
            return 0
        except OSError as failed:
            remedy = _NOT_WRITTEN.get(failed.errno or 0)
            if not remedy:
                raise
            _drop_unwritten_output()
            raise EnvironmentLacking(
                f"the output is not complete: {remedy}, or write it elsewhere"
            ) from failed
        return answer


def _drop_unwritten_output() -> None:
    # the rest of Python's buffer would fail again when Python closes stdout
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(metadata.version("kproxy"), prog_name="kproxy", message="%(prog)s %(version)s")
def program() -> None:
    """A Kubernetes service proxy: it turns Services and EndpointSlices into iptables or nftables rules."""


def main() -> None:
    """Run the command line and exit with its exit code."""
    sys.exit(_exit_code())


def kube_proxy() -> None:
    """Run `kproxy agent` with the name and the arguments of kube-proxy, which it replaces."""
    sys.exit(_exit_code(["agent", *sys.argv[1:]]))


def _exit_code(arguments: Sequence[str] | None = None) -> int:
    try:
        code = program(arguments, prog_name="kproxy", standalone_mode=False)
    except click.ClickException as wrong:
        wrong.show()
        return _WRONG_INPUT
    except click.Abort:
        return _INTERRUPTED
    except InputError as wrong:
        return _failed(wrong, _WRONG_INPUT)
    except EnvironmentLacking as lacking:
        return _failed(lacking, _ENVIRONMENT_LACKS)
    except KproxyError as failed:
        return _failed(failed, _FAILED)
    return code if isinstance(code, int) else 0


def _failed(reason: object, code: int) -> int:
    click.echo(f"kproxy: {indented(str(reason))}", err=True)
    return code
