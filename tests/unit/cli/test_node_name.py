"""The name of the node is kept, put in lower case, or refused. A state directory may belong to another user."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from click.testing import CliRunner

from kproxy.cli.agent import command as agent
from kproxy.cli.inputs import node_name
from kproxy.cli.render import command as render
from kproxy.configuration import Configuration
from kproxy.errors import InputError

REFUSED = [
    "   ",
    "a\nb",
    "node-1\n",
    "node_1",
    "-node",
    "node/1",
    "nöde",
    "a" * 254,
    "node\x1b[2J",
    "a..b",
    "$(NODE_NAME)",
]


@pytest.mark.parametrize(
    ("given", "expected"), [("Node-9", "node-9"), (" node-1 ", "node-1"), ("a.b", "a.b")]
)
def test_node_name_is_put_in_lower_case_without_surrounding_blanks(given: str, expected: str) -> None:
    assert expected == node_name(Configuration(), given)
    assert expected == node_name(Configuration(hostname_override=given))


@pytest.mark.parametrize("given", ["", *REFUSED])
def test_chosen_node_with_an_invalid_name_is_refused_with_a_reason(given: str) -> None:
    with pytest.raises(
        InputError, match=r"^--node: .* is not a DNS subdomain.*; give the name of a Node"
    ) as refused:
        node_name(Configuration(), given)
    assert "\n" not in str(refused.value)
    assert str(refused.value).isprintable()
    result = CliRunner().invoke(render, ["-f", "-", "--node", given], input="")
    assert isinstance(result.exception, InputError)


@pytest.mark.parametrize("given", REFUSED)
def test_hostname_override_with_an_invalid_name_is_refused_with_a_reason(given: str) -> None:
    with pytest.raises(InputError, match=r"^hostnameOverride: .* is not a DNS subdomain"):
        node_name(Configuration(hostname_override=given))


def test_empty_hostname_override_stands_for_the_hosts_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Host-7")
    assert "host-7" == node_name(Configuration(hostname_override=""))


def test_host_with_an_invalid_node_name_is_refused_with_the_flag_to_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "my_host")
    with pytest.raises(InputError, match=r"this host's name: 'my_host' .*--hostname-override or --node"):
        node_name(Configuration())


NOBODY = 65534
PROGRAM = """
import importlib.metadata, os, sys
from kproxy.cli.agent import command
importlib.metadata.version("kproxy")
os.setgroups([]); os.setgid({user}); os.setuid({user})
assert not os.access({state!r}, os.R_OK)
importlib.metadata.version = lambda _: "1"
sys.exit(command.main(["--state-dir", {state!r}, "--version"], standalone_mode=False))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_state_directory_of_another_user_does_not_prevent_version() -> None:
    with TemporaryDirectory() as state:
        script = PROGRAM.format(user=NOBODY, state=state)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (0, "kproxy 1\n", "") == (done.returncode, done.stdout, done.stderr)


def test_state_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    result = CliRunner().invoke(agent, ["--state-dir", str(file), "--version"])
    assert 2 == result.exit_code
