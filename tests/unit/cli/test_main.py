"""The program as a process: exit codes, what goes to stderr, and what it imports."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kproxy.cli.main import main

RECORDED = Path(__file__).parents[2] / "conformance" / "recorded" / "catalogue" / "many-services"
RENDER = ("render", "-f", str(RECORDED / "objects.json"), "--node", "node-1", "--nfacct", "off")


def kproxy(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kproxy", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_version_is_printed() -> None:
    done = kproxy("--version")
    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout.startswith("kproxy ")


def test_help_lists_each_command() -> None:
    done = kproxy("--help")
    assert 0 == done.returncode
    for command in ("agent", "render"):
        assert f"\n  {command} " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "Usage: kproxy"),
        (("--no-such-option",), "--no-such-option"),
        (("no-such-command",), "no-such-command"),
        (("render", "--no-such-option"), "Usage: kproxy render"),
    ],
)
def test_wrong_usage_ends_with_2_and_shows_the_usage(arguments: tuple[str, ...], says: str) -> None:
    done = kproxy(*arguments)
    assert (2, "") == (done.returncode, done.stdout)
    assert says in done.stderr


def test_wrong_input_ends_with_2_and_one_sentence(tmp_path: Path) -> None:
    configuration = tmp_path / "config.yaml"
    configuration.write_text(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n"
    )
    done = kproxy(*RENDER, "--config", str(configuration))
    assert (2, "") == (done.returncode, done.stdout)
    assert "kproxy: mode: 'ipvs' is not a mode of kproxy; write iptables or nftables\n" == done.stderr


AFFINITY = RECORDED.parent / "session-affinity" / "objects.json"


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
@pytest.mark.parametrize("fault", ["{{ nosuch }}", "{{ 1 / 0 }}"])
def test_service_for_which_a_template_fails_is_told_with_its_file_and_line_and_all_others_are_printed(
    tmp_path: Path, mode: str, fault: str
) -> None:
    template = tmp_path / mode / "service-port.j2"
    template.parent.mkdir()
    template.write_text(fault)
    objects = tmp_path / "objects"
    objects.mkdir()
    (objects / "ill.json").write_text(AFFINITY.read_text())
    rendered = ("render", "--node", "node-1", "--nfacct", "off", "--mode", mode)
    done = kproxy(*rendered, "-f", str(objects), "--templates", str(tmp_path))
    assert 1 == done.returncode
    assert "KUBE-MARK-MASQ" in done.stdout or "table ip kproxy" in done.stdout
    assert f"is left out: {template}, line 1: " in done.stderr
    assert "Traceback" not in done.stderr
    change = kproxy(*rendered, "-f", str(objects), "--before", str(objects), "--templates", str(tmp_path))
    assert (1, "") == (change.returncode, change.stdout)
    assert f"keeps the rules that it had: {template}, line 1: " in change.stderr


def test_lacking_environment_ends_with_3_and_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kproxy.render.templates._PLACES", (Path("/nowhere"), Path("/no/templates")))
    monkeypatch.setattr(sys, "argv", ["kproxy", *RENDER])
    with pytest.raises(SystemExit) as ended:
        main()
    assert 3 == ended.value.code
    captured = capsys.readouterr()
    assert "" == captured.out
    assert captured.err.startswith("kproxy: kproxy's templates are neither in /nowhere nor in /no/templates")


def test_reader_that_leaves_early_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "kproxy", *RENDER], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        said = process.stderr.read()
    assert (0, b"") == (process.returncode, said)


def test_full_disk_ends_with_3_and_one_sentence() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "kproxy", *RENDER],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert 3 == done.returncode
    assert (
        "kproxy: the output is not complete: its disk is full; make room, or write it elsewhere\n"
        == done.stderr
    )


def test_missing_stdout_is_no_error() -> None:
    command = "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, '-m', 'kproxy', *sys.argv[1:]])"
    done = subprocess.run([sys.executable, "-c", command, *RENDER], stderr=subprocess.PIPE, check=False)
    assert (0, b"") == (done.returncode, done.stderr)


def test_interrupt_ends_with_130_and_no_words() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "kproxy", "render", "-f", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        process.stdin.write(b"#" * 2**18)  # more than a pipe holds: it is written once kproxy reads
        process.send_signal(signal.SIGINT)
        # closes stdin: Python looks at a signal that came just before read(2) only when that returns
        said = process.communicate(timeout=60)
    assert (130, (b"", b"")) == (process.returncode, tuple(part.strip() for part in said))


def test_render_imports_no_cluster_client_and_no_agent() -> None:
    program = (
        "import sys, kproxy.cli.main as main\n"
        f"main.program({list(RENDER)!r}, standalone_mode=False)\n"
        "sys.exit(sorted({'kubernetes', 'kproxy.agent', 'prometheus_client'} & sys.modules.keys()) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
