"""Credential plugins as real processes: when they run, their input, and the message if they fail."""

import datetime as dt
import json
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from credentialplugins import PluginProgram, credential, in_seconds, make_pair
from kproxy.client.credentials import exec_plugin
from kproxy.client.credentials.exec_config import V1, V1BETA1, ClusterInfo, ExecConfig
from kproxy.client.credentials.exec_facts import Called, CallStatus, Expires, Fact, Rotated, watch_plugins
from kproxy.client.credentials.exec_plugin import ExecPlugin
from kproxy.client.kubeconfig.targets import find_target
from kproxy.client.target import ClientCertificate, Credentials
from kproxy.errors import EnvironmentLacking

NAMED = "of the kubeconfig /etc/kubeconfig"
BOUND_S = 20.0


@pytest.fixture
def program(tmp_path: Path) -> PluginProgram:
    return PluginProgram(tmp_path)


@pytest.fixture
def facts() -> Iterator[list[Fact]]:
    told: list[Fact] = []
    forget = watch_plugins(told.append)
    yield told
    forget()


def bearer(plugin: ExecPlugin) -> str:
    return plugin.headers()["Authorization"]


def failure(config: ExecConfig) -> str:
    with pytest.raises(EnvironmentLacking) as failed:
        ExecPlugin(config).headers()
    said = str(failed.value)
    assert said.isprintable()
    return said


def test_token_without_an_expiry_is_used_by_all_connections_until_it_is_refused(
    program: PluginProgram,
) -> None:
    program.gives(token="first")
    connections = [ExecPlugin(program.config()) for _ in range(5)]
    assert {"Bearer first"} == {bearer(each) for each in connections for _ in range(4)}
    assert 1 == program.runs
    program.gives(token="second")
    for each in connections:
        each.refused()  # the first token of each was refused
    assert {"Bearer second"} == {bearer(ExecPlugin(program.config())) for _ in range(5)}
    assert 2 == program.runs


def test_token_is_used_until_it_expires_over_reconnections(program: PluginProgram) -> None:
    program.gives(token="first", expirationTimestamp=in_seconds(1.5))
    began_at = time.monotonic()
    while time.monotonic() < began_at + 1.0:
        assert "Bearer first" == bearer(ExecPlugin(program.config()))
    assert 1 == program.runs
    program.gives(token="second", expirationTimestamp=in_seconds(90))
    time.sleep(0.7)
    assert ["Bearer second"] * 20 == [bearer(ExecPlugin(program.config())) for _ in range(20)]
    assert 2 == program.runs


def test_refusal_of_a_token_that_was_renewed_meanwhile_runs_no_plugin(program: PluginProgram) -> None:
    program.gives(token="first")
    early, late = ExecPlugin(program.config()), ExecPlugin(program.config())
    bearer(early), bearer(late)
    program.gives(token="second")
    early.refused()
    bearer(early)
    late.refused()
    assert "Bearer second" == bearer(late)
    assert 2 == program.runs


def test_one_plugin_object_serves_several_threads(program: PluginProgram) -> None:
    program.gives(token="first")
    shared = ExecPlugin(program.config())
    together = threading.Barrier(2)

    def ask_be_refused_and_ask() -> None:
        bearer(shared)
        together.wait(BOUND_S)
        shared.refused()
        bearer(shared)

    in_threads([ask_be_refused_and_ask] * 2)
    assert program.runs in (2, 3)
    bearer(shared)
    assert program.runs in (2, 3)


def in_threads(works: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND_S)


def test_connections_that_ask_at_once_wait_for_one_process(program: PluginProgram) -> None:
    program.does(f"sleep 0.3; echo '{credential({'token': 'only'})}'")
    got: list[str] = []
    in_threads([lambda: got.append(bearer(ExecPlugin(program.config())))] * 5)
    assert (["Bearer only"] * 5, 1) == (got, program.runs)


def test_connections_that_wait_share_the_failure(program: PluginProgram) -> None:
    program.does("sleep 0.3; echo no way >&2; exit 1")
    said: list[str] = []
    in_threads([lambda: said.append(failure(program.config()))] * 5)
    assert 5 == len(said)
    assert 1 == program.runs
    failure(program.config())
    assert 2 == program.runs


def test_plugins_of_different_configurations_are_not_shared(program: PluginProgram) -> None:
    program.does(f"""printf '{credential({"token": "for %s"})}' "$WHO" """)
    tokens = {bearer(ExecPlugin(program.config(env=(("WHO", who),)))) for who in ("a", "b")}
    assert {"Bearer for a", "Bearer for b"} == tokens


def test_answer_that_is_already_expired_serves_connections_that_begin_together_and_is_reported(
    program: PluginProgram, caplog: pytest.LogCaptureFixture
) -> None:
    program.gives(token="stale", expirationTimestamp=in_seconds(-60))
    for _ in range(5):
        connection = ExecPlugin(program.config())
        assert ("Bearer stale", None) == (bearer(connection), connection.certificate())
    assert 1 == program.runs
    assert "answers with credentials that have expired" in caplog.text
    time.sleep(1.2)
    bearer(ExecPlugin(program.config()))
    assert 2 == program.runs


def test_answer_that_expires_is_not_used_when_the_plugin_fails(program: PluginProgram) -> None:
    program.gives(token="first", expirationTimestamp=in_seconds(0.3))
    bearer(ExecPlugin(program.config()))
    program.does("echo the server is away >&2; exit 1")
    time.sleep(0.5)
    assert "it failed with exit code 1: the server is away" in failure(program.config())
    program.gives(token="second")
    assert "Bearer second" == bearer(ExecPlugin(program.config()))


def test_certificate_of_a_plugin_is_used_and_its_rotation_noted(
    program: PluginProgram, facts: list[Fact]
) -> None:
    old, new = make_pair(age=dt.timedelta(hours=3)), make_pair()
    program.gives(clientCertificateData=old.certificate, clientKeyData=old.key)
    plugin = ExecPlugin(program.config())
    assert ({}, ClientCertificate(old.certificate.encode(), old.key.encode())) == (
        plugin.headers(),
        plugin.certificate(),
    )
    program.gives(clientCertificateData=new.certificate, clientKeyData=new.key)
    plugin.refused()
    assert ClientCertificate(new.certificate.encode(), new.key.encode()) == plugin.certificate()
    program.gives(token="no certificate any more")
    plugin.refused()
    assert plugin.certificate() is None
    called, expires, called_again, rotated, *_ = facts
    assert [Called(0, CallStatus.NO_ERROR)] * 2 == [called, called_again]
    assert isinstance(rotated, Rotated)
    assert abs(rotated.age_s - 3 * 3600) < 60
    assert isinstance(expires, Expires)
    assert expires.at is not None
    assert abs(expires.at - time.time() - 21 * 3600) < 60
    assert Expires(None) == facts[-1]


@pytest.mark.parametrize(
    ("script", "said", "called"),
    [
        ("echo some; echo 'no way' >&2; echo >&2; exit 3", "it failed with exit code 3: no way", 3),
        ("exit 1", "it failed with exit code 1, without a message; run it by hand to see why", 1),
        ("kill -SEGV $$", "signal 11 ended it, without a message; run it by hand to see why", -1),
        ("printf 'a\\033[31mb\\tc' >&2; exit 1", r"it failed with exit code 1: 'a\x1b[31mb c'", 1),
        ("printf '\\377' >&2; exit 1", "it failed with exit code 1: \ufffd", 1),
    ],
)
def test_plugin_that_fails_is_reported_with_its_last_line(
    script: str, said: str, called: int, program: PluginProgram, facts: list[Fact]
) -> None:
    program.does(script)
    assert failure(program.config()).endswith(f"{program.path} {NAMED}: {said}")
    assert [Called(called, CallStatus.EXECUTION_ERROR)] == facts


@pytest.mark.parametrize(
    "script", ["sleep 60", "sleep 60 & sleep 60", "trap '' TERM; echo waiting >&2; sleep 60"]
)
def test_plugin_that_hangs_is_ended_and_reported(
    script: str, program: PluginProgram, facts: list[Fact], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exec_plugin, "_PATIENCE_S", 0.5)
    program.does(script)
    assert "it did not end within 0.5 s" in failure(program.config())
    assert [Called(-1, CallStatus.EXECUTION_ERROR)] == facts


def test_plugin_that_never_stops_writing_is_ended_and_reported(program: PluginProgram) -> None:
    program.does("exec cat /dev/zero")
    assert "it wrote more than 1024 KiB" in failure(program.config())


def test_plugin_whose_child_keeps_stdout_open_has_answered(program: PluginProgram) -> None:
    program.does(f"echo '{credential({'token': 'sesame'})}'; sleep 60 &")
    began_at = time.monotonic()
    assert "Bearer sesame" == bearer(ExecPlugin(program.config()))
    assert time.monotonic() - began_at < 5


@pytest.mark.parametrize("hint", ["", "apt-get install\nthe-plugin"])
@pytest.mark.parametrize("command", ["no-such-plugin", "/nonexistent/plugin", "./no-such-plugin"])
def test_missing_plugin_is_reported_with_its_hint(
    command: str, hint: str, program: PluginProgram, facts: list[Fact]
) -> None:
    said = failure(replace(program.config(install_hint=hint), command=command))
    assert f"the credential plugin {command} {NAMED} is not installed" in said
    assert said.endswith("apt-get install the-plugin" if hint else "install it, or correct exec.command")
    assert [Called(1, CallStatus.NOT_FOUND)] == facts


@pytest.mark.parametrize("command", ["/" + "x" * 5000, "x" * 5000, "/etc", "/etc/hosts/x"])
def test_command_that_no_program_can_have_is_reported(command: str, program: PluginProgram) -> None:
    assert "is not a program that we may run" in failure(replace(program.config(), command=command))


def test_command_that_contains_its_arguments_is_reported(program: PluginProgram) -> None:
    said = failure(replace(program.config(), command="aws eks get-token"))
    assert said.endswith(
        "aws eks get-token is not a program that we may run; put its arguments into exec.args"
    )


def test_command_with_a_slash_is_found_from_the_folder_of_the_kubeconfig(
    program: PluginProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.gives(token="sesame")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for command in ("./plugin", "elsewhere/../plugin"):
        assert {"Authorization": "Bearer sesame"} == credentials_by(command, tmp_path).headers()
    with pytest.raises(EnvironmentLacking, match="is not a program that we may run"):
        credentials_by("../plugin", tmp_path).headers()


def credentials_by(command: str, folder: Path) -> Credentials:
    """The credentials of a kubeconfig in this folder that names this command."""
    path = folder / "kubeconfig"
    plugin = {"apiVersion": V1, "command": command, "interactiveMode": "Never"}
    path.write_text(
        json.dumps(
            {
                "clusters": [{"name": "c", "cluster": {"server": "https://c.example"}}],
                "users": [{"name": "u", "user": {"exec": plugin}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    return find_target(path, "").credentials


def test_command_without_a_slash_is_found_by_path_alone(
    program: PluginProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.gives(token="sesame")
    bare = replace(program.config(), command="plugin")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", ".:/usr/bin:/bin")
    assert "(PATH has '.', which is not an absolute path: the plugin there is not used)" in failure(bare)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert "Bearer sesame" == bearer(ExecPlugin(bare))


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_file_that_may_not_be_run_is_not_used_as_a_plugin(mode: int, program: PluginProgram) -> None:
    program.gives(token="sesame")
    program.path.chmod(mode)
    assert "is not a program that we may run" in failure(program.config())


def seen_by(program: PluginProgram, config: ExecConfig) -> dict[str, Any]:
    """The KUBERNETES_EXEC_INFO that the plugin got."""
    seen = program.folder / "seen"
    program.does(f"""printf %s "$KUBERNETES_EXEC_INFO" > {seen}; echo '{credential({"token": "t"})}'""")
    ExecPlugin(config).headers()
    found: dict[str, Any] = json.loads(seen.read_text())
    return found


def test_plugin_gets_its_version_and_that_it_has_no_terminal(program: PluginProgram) -> None:
    expected = {"kind": "ExecCredential", "apiVersion": V1, "spec": {"interactive": False}}
    assert expected == seen_by(program, program.config(env=(("KUBERNETES_EXEC_INFO", "mine"),)))


def test_plugin_that_asks_for_the_cluster_gets_it(program: PluginProgram) -> None:
    cluster = ClusterInfo(
        "https://10.0.0.1:6443",
        tls_server_name="api",
        is_verified=False,
        authority=b"PEM",
        proxy_url="http://proxy:3128",
        takes_compressed=False,
        extension='{"audience": ["a"]}',
    )
    assert {
        "server": "https://10.0.0.1:6443",
        "tls-server-name": "api",
        "insecure-skip-tls-verify": True,
        "certificate-authority-data": "UEVN",
        "proxy-url": "http://proxy:3128",
        "disable-compression": True,
        "config": {"audience": ["a"]},
    } == seen_by(program, replace(program.config(), cluster=cluster))["spec"]["cluster"]


def test_plugin_gets_only_the_address_of_a_plain_cluster(program: PluginProgram) -> None:
    config = replace(program.config(), cluster=ClusterInfo("https://10.0.0.1:6443"))
    assert {"server": "https://10.0.0.1:6443"} == seen_by(program, config)["spec"]["cluster"]


def test_authority_that_is_too_large_for_an_environment_is_reported(program: PluginProgram) -> None:
    program.gives(token="t")
    config = replace(
        program.config(), cluster=ClusterInfo("https://10.0.0.1:6443", authority=b"x" * (1 << 18))
    )
    assert "is not run: it cannot be started: Argument list too long; shorten its arguments, " in failure(
        config
    )


def test_environment_is_ours_with_the_files_in_order(
    program: PluginProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS", "ours")
    monkeypatch.setenv("BOTH", "ours")
    monkeypatch.delenv("LC_ALL", raising=False)
    program.does(
        f"""printf '{credential({"token": "%s %s %s %s"})}' "$OURS" "$BOTH" "$TWICE" "${{LC_ALL-none}}" """
    )
    env = (("BOTH", "file"), ("TWICE", "first"), ("TWICE", "second"))
    assert "Bearer ours file second none" == bearer(ExecPlugin(program.config(env=env)))


def test_arguments_reach_the_plugin_unchanged(program: PluginProgram) -> None:
    program.does(f"""printf '{credential({"token": "%s|%s"})}' "$1" "$2" """)
    assert "Bearer a b|$(id)" == bearer(ExecPlugin(program.config(args=("a b", "$(id)"))))


def test_plugin_that_needs_a_person_is_not_run_without_a_terminal(program: PluginProgram) -> None:
    program.gives(token="t")
    asking = (
        "import sys, pathlib\n"
        "sys.path.insert(0, 'tests')\n"
        "from credentialplugins import PluginProgram\n"
        "from kproxy.client.credentials.exec_plugin import ExecPlugin\n"
        f"ExecPlugin(PluginProgram(pathlib.Path({str(program.folder)!r})).config(interactive_mode='Always')).headers()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", asking],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )
    assert (
        "(exec.interactiveMode is Always), and stdin is not a terminal; use a plugin that needs no person"
        in done.stderr
    )
    assert 0 == program.runs


AT_A_TERMINAL = """
import pathlib, sys
sys.path.insert(0, "tests")
from credentialplugins import PluginProgram
from kproxy.client.credentials.exec_plugin import ExecPlugin
plugin = PluginProgram(pathlib.Path(sys.argv[1]))
print(ExecPlugin(plugin.config(interactive_mode=sys.argv[2])).headers()["Authorization"])
"""


@pytest.mark.parametrize(
    ("mode", "typed", "expected"),
    [
        ("Always", "sesame\n", "Bearer sesame true"),
        ("IfAvailable", "sesame\n", "Bearer sesame true"),
        ("Never", "", "Bearer false"),
    ],
)
def test_plugin_talks_to_the_person_at_the_terminal_if_it_may(
    mode: str, typed: str, expected: str, program: PluginProgram
) -> None:
    program.does(
        "echo 'your password?' >&2; read word; interactive=${KUBERNETES_EXEC_INFO#*interactive\\\":}\n"
        f"""printf '{credential({"token": "%s %s"})}' "$word" "${{interactive%%\\}}*}}" """
    )
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", AT_A_TERMINAL, str(program.folder), mode])  # noqa: S606
    shown = b""
    try:
        if typed:
            shown = read_until(terminal, b"password?")
            os.write(terminal, typed.encode())
        shown += read_until(terminal, expected.encode())
    finally:
        os.close(terminal)
        os.waitpid(child, 0)
    assert ("password?" in shown.decode()) == bool(typed)


def read_until(terminal: int, mark: bytes) -> bytes:
    shown = b""
    while mark not in shown:
        shown += os.read(terminal, 1024)
    return shown


SECRET = "sesame-open-0815"


@pytest.mark.parametrize(
    "script",
    [
        f"echo 'the token {SECRET} is bad' >&2",
        f"echo 'HTTP 401 for Authorization: Bearer {SECRET}' >&2",
        f"echo 'config: password={SECRET}' >&2",
        f"""echo '{{"token":"{SECRET}"}}' >&2""",
        f"echo 'https://user:{SECRET}@idp.example/ refuses' >&2",
        f"echo '{credential({'token': SECRET})}'; echo 'not stored: {SECRET}' >&2",
        f"echo '{credential({'token': 'sesame'})}'; echo 'not stored: sesame' >&2",
        'echo "no $SECRET" >&2',
        'echo "no $2" >&2',
    ],
)
def test_secret_in_the_last_line_is_masked(script: str, program: PluginProgram) -> None:
    program.does(f"{script}; exit 1")
    said = failure(program.config(env=(("SECRET", SECRET),), args=("--client-secret", SECRET)))
    assert "***" in said
    assert "sesame" not in said


def test_long_words_of_the_last_line_are_masked_and_others_kept(program: PluginProgram) -> None:
    program.does(
        "echo 'AADSTS50011: the token eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.e30.c2lnbmF0dXJl of /etc/azure.json' >&2; exit 1"
    )
    assert failure(program.config()).endswith("exit code 1: AADSTS50011: the token *** of /etc/azure.json")


@pytest.mark.parametrize("version", [V1, V1BETA1])
def test_garbage_is_refused_without_repeating_it(version: str, program: PluginProgram) -> None:
    program.prints(f"Welcome! {SECRET}")
    said = failure(replace(program.config(), api_version=version))
    assert "answers with 25 bytes that are not an ExecCredential in JSON" in said
    assert SECRET not in said
