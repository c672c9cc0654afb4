"""A real agent whose credentials come from a plugin: it works by it, tells its failures, and ends with it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from credentialplugins import PluginProgram, in_seconds
from kproxy.client.credentials.exec_config import V1
from namespaces import DIES_WITH_ITS_PARENT, fresh_namespace, inside
from running import BOUND_S, NODE, eventually, running_agent
from stubapi import StubApi
from stubapi.manifests import node

pytestmark = pytest.mark.netns

SOON_S = 3.0
"""An agent that is asked to end does, with its plugin."""


@pytest.fixture
def api() -> Iterator[StubApi]:
    with fresh_namespace() as name, inside(name), StubApi() as stub:
        stub.put("Node", node(NODE))
        yield stub


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def program(tmp_path: Path) -> PluginProgram:
    folder = tmp_path / "plugin"
    folder.mkdir()
    return PluginProgram(folder)


def write_kubeconfig(api: StubApi, program: PluginProgram, log: Path) -> str:
    path = api.write_kubeconfig(log.parent / "kubeconfig")
    configuration = json.loads(path.read_text())
    plugin = {"apiVersion": V1, "command": str(program.path), "interactiveMode": "Never"}
    configuration["users"][0]["user"] = {"exec": plugin}
    path.write_text(json.dumps(configuration))
    return str(path)


def processes_with(word: str) -> list[int]:
    """Those that have it in their command, but for what has ended."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and word.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


HANGS = {
    "alone": "exec sleep 3600",
    "with children": "sleep 3600 & timeout 3600 sleep 3600",
    "deaf": "trap '' TERM INT HUP; sleep 3600; sleep 3600; sleep 3600",
    "with a child in a session of its own": "setsid sleep 3600 & wait",
    "writing": "while :; do echo noise >&2; sleep 0.01; done",
}


@pytest.mark.parametrize("script", HANGS.values(), ids=HANGS)
def test_agent_whose_plugin_hangs_ends_with_it_within_3_s(
    script: str, api: StubApi, program: PluginProgram, log: Path
) -> None:
    marked = script.replace("3600", str(3600 + os.getpid()))  # to be told from other tests' sleepers
    program.does(marked)
    kubeconfig = write_kubeconfig(api, program, log)
    with running_agent("--kubeconfig", kubeconfig, log=log) as agent:
        eventually(lambda: program.runs > 0, "the plugin runs", log)
        time.sleep(0.5)  # with all its children
        began_at = time.monotonic()
        agent.send_signal(signal.SIGTERM)
        assert 0 == agent.wait(timeout=BOUND_S)
        took_s = time.monotonic() - began_at
    assert [] == processes_with(str(program.folder)) + processes_with(f"sleep\0{3600 + os.getpid()}")
    assert took_s < SOON_S
    assert "defect" not in log.read_text()
    assert [] == api.requests


@pytest.mark.parametrize(
    ("asked", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + 15), (signal.SIGHUP, 128 + 1)]
)
def test_render_whose_plugin_hangs_ends_with_it(
    asked: signal.Signals, code: int, api: StubApi, program: PluginProgram, log: Path
) -> None:
    mark = 10_000 + os.getpid()
    program.does(f"setsid sleep {mark} & timeout {mark} sleep {mark}")
    # a shell that runs the tests in the background, or nohup, ignores these signals, and so would the command
    heeding = [*DIES_WITH_ITS_PARENT, "env", "--default-signal=HUP,INT,TERM"]
    command = [*heeding, sys.executable, "-m", "kproxy", "render", "--from-cluster", "--node", NODE]
    with log.open("wb") as output:
        render = subprocess.Popen(
            [*command, "--kubeconfig", write_kubeconfig(api, program, log)],
            stdout=output,
            stderr=output,
        )
    eventually(lambda: len(processes_with(f"sleep\0{mark}")) == 3, "the plugin runs", log)
    render.send_signal(asked)
    assert code == render.wait(timeout=SOON_S)
    assert [] == processes_with(f"sleep\0{mark}")
    assert "Traceback" not in log.read_text()


def test_killed_agent_leaves_no_plugin_behind(api: StubApi, program: PluginProgram, log: Path) -> None:
    program.does(f"exec sleep {7200 + os.getpid()}")
    with running_agent("--kubeconfig", write_kubeconfig(api, program, log), log=log) as agent:
        eventually(lambda: bool(processes_with(f"sleep\0{7200 + os.getpid()}")), "the plugin runs", log)
        agent.kill()
        agent.wait(timeout=BOUND_S)
        eventually(lambda: not processes_with(f"sleep\0{7200 + os.getpid()}"), "the plugin has ended", log)


@pytest.mark.long
def test_agent_runs_its_plugin_once_for_a_token_and_once_more_when_that_is_refused(
    api: StubApi, program: PluginProgram, log: Path
) -> None:
    program.gives(token=api.token, expirationTimestamp=in_seconds(90))
    with running_agent("--kubeconfig", write_kubeconfig(api, program, log), log=log):
        watched(api, 1)
        eventually(lambda: bool(api.created), "an Event is posted", log)
        for times in (2, 3):
            api.close_streams()
            watched(api, times)
        assert 1 == program.runs
        api.rotate_token()
        program.gives(token=api.token, expirationTimestamp=in_seconds(90))
        api.close_streams()
        watched(api, 4)
        assert 2 == program.runs


def watched(api: StubApi, times: int) -> None:
    """Wait until each kind has been watched so often."""
    for kind in ("Service", "EndpointSlice", "Node"):
        api.wait_for_streams(kind, times)


def test_agent_tells_the_last_line_of_a_plugin_that_fails_and_waits_before_it_tries_again(
    api: StubApi, program: PluginProgram, log: Path
) -> None:
    program.does("echo 'some noise' >&2; echo 'the login server is away' >&2; exit 7")
    with running_agent("--kubeconfig", write_kubeconfig(api, program, log), log=log):
        eventually(lambda: "exit code 7: the login server is away" in log.read_text(), "it is told", log)
        time.sleep(3)
        assert program.runs < 20
        assert [] == api.requests
        program.gives(token=api.token)
        api.wait_for_streams("Service", 1)
    assert "some noise" not in log.read_text()
    assert api.token not in log.read_text()
