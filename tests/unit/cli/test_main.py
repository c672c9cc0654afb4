"""The program as a process: its exit codes, its stderr, and its imports."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kproxy.cli.main import main

RECORDED = Path(__file__).parents[2] / "conformance" / "recorded" / "catalogue" / "many-services"
RENDER = ("render", "-f", str(RECORDED / "objects.json"), "--node", "node-1", "--nfacct", "off")


def kproxy(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kproxy", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)


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
    told = f"kproxy: {configuration}: mode: 'ipvs' is not a mode of kproxy; write iptables or nftables\n"
    assert told == done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-f", ".", "--from-cluster"), "-f and --from-cluster exclude each other: leave out one of them"),
        ((), "name the source of the Services: -f FILE, -f DIR, -f - for stdin, or --from-cluster"),
        (
            ("-f", "-", "--before", "-"),
            "-f - and --before - would both read stdin; write one of the two into a file",
        ),
        (("-f", "/dev/null"), "there is nothing to render: /dev/null: this holds no object"),
        (("-f", "-"), "there is nothing to render: stdin: this holds no object"),
        (
            ("-f", "/nowhere"),
            "cannot read /nowhere: No such file or directory; name a file or directory that can be read",
        ),
    ],
)
def test_render_of_nothing_ends_with_2_and_one_sentence(arguments: tuple[str, ...], says: str) -> None:
    done = kproxy("render", *arguments, stdin="# nothing\n")
    assert (2, "", f"kproxy: {says}\n") == (done.returncode, done.stdout, done.stderr)


def test_closed_stdin_ends_with_2_and_one_sentence() -> None:
    command = f"exec {sys.executable} -m kproxy render -f - <&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    told = "kproxy: -f - reads stdin, and stdin is closed; pipe manifests into it, or name a file\n"
    assert (2, "", told) == (done.returncode, done.stdout, done.stderr)


def test_stdin_that_cannot_be_read_ends_with_2_and_one_sentence() -> None:
    command = f"exec {sys.executable} -m kproxy render -f - 0>/dev/null"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    told = "kproxy: -f - cannot read stdin: Bad file descriptor; pipe manifests into it, or name a file\n"
    assert (2, "", told) == (done.returncode, done.stdout, done.stderr)


SERVICE = "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {%s}}\n"
SERVED = SERVICE % "clusterIP: 10.96.0.10, ports: [{port: 80}]"


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_manifests_without_rules_are_rendered_with_1_and_say_why(mode: str, family: str) -> None:
    as_people_write_it = (
        "{apiVersion: v1, kind: Pod, metadata: {name: nginx, labels: {app: nginx}}}\n---\n"
        + SERVICE % "type: NodePort, selector: {app: nginx}, ports: [{port: 80, targetPort: http}]"
    )
    done = kproxy(
        "render", "-f", "-", "--node", "n", "--mode", mode, "--family", family, stdin=as_people_write_it
    )
    assert 1 == done.returncode
    assert done.stdout
    for words in (
        "default/web yields no rule: it has no spec.clusterIP",
        "default/web has no node port for port 80",
        "default/web has no endpoints: no EndpointSlice names it; Pods match its selector (1 of those given)",
        "no Service yields a rule, so these are only the rules that every node has",
    ):
        assert words in done.stderr


def test_service_of_the_other_family_ends_with_0() -> None:
    done = kproxy("render", "-f", "-", "--node", "n", "--family", "ipv6", stdin=SERVED)
    assert 0 == done.returncode
    assert "Service default/web has no IPv6 address; --family ipv4 prints what there is" in done.stderr


def test_object_left_out_of_the_manifests_before_ends_with_1(tmp_path: Path) -> None:
    before = tmp_path / "before.yaml"
    before.write_text(SERVICE % "clusterIP: 10.96.0.10, ports: [{port: 0}]")
    done = kproxy("render", "-f", "-", "--before", str(before), "--node", "n", stdin=SERVED)
    assert 1 == done.returncode
    assert "before.yaml, document 1: Service default/web is left out" in done.stderr


def test_change_from_nothing_is_rendered(tmp_path: Path) -> None:
    done = kproxy("render", "-f", "-", "--before", str(tmp_path), "--node", "n", stdin=SERVED)
    assert 0 == done.returncode
    assert "default/web" in done.stdout


def test_thousands_of_services_without_rules_are_counted() -> None:
    many = "---\n".join((SERVICE % "ports: [{port: 80}]").replace("web", f"web-{at}") for at in range(200))
    said = kproxy("render", "-f", "-", "--node", "n", stdin=many).stderr.splitlines()
    assert 102 == len(said)
    assert (
        "kproxy: 300 more objects yield no rule or have no endpoints; give fewer of them to see why"
        == said[100]
    )


def test_configuration_with_an_error_is_named(tmp_path: Path) -> None:
    configuration = tmp_path / "config.yaml"
    for text, told in (
        ("a: [", "line 2, column 1: while parsing"),
        ("a: 1\n---\nb: 1\n", "this has 2 documents"),
        ("5", "a KubeProxyConfiguration is"),
    ):
        configuration.write_text(text)
        done = kproxy(*RENDER, "--config", str(configuration))
        assert (2, "") == (done.returncode, done.stdout)
        assert done.stderr.startswith(f"kproxy: {configuration}: {told}")


AFFINITY = RECORDED.parent / "session-affinity" / "objects.json"


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
@pytest.mark.parametrize("fault", ["{{ nosuch }}", "{{ 1 / 0 }}"])
def test_service_whose_template_fails_is_reported_with_file_and_line_and_all_others_are_printed(
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
    assert f"keeps the rules that it had, if any: {template}, line 1: " in change.stderr


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


def test_stdout_that_is_open_for_reading_only_ends_with_3_and_one_sentence() -> None:
    with Path("/dev/null").open("rb") as unwritable:
        done = subprocess.run(
            [sys.executable, "-m", "kproxy", *RENDER],
            stdout=unwritable,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert 3 == done.returncode
    assert (
        "kproxy: the output is not complete: stdout is open for reading only; redirect it with >, "
        "or write it elsewhere\n" == done.stderr
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_file_at_its_size_limit_ends_with_3_and_one_sentence(tmp_path: Path, unbuffered: str) -> None:
    with (tmp_path / "rules").open("wb") as limited:
        done = subprocess.run(
            ["sh", "-c", 'ulimit -f 1; exec "$@"', "sh", sys.executable, "-m", "kproxy", *RENDER],
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=limited,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert 3 == done.returncode
    assert done.stderr.startswith("kproxy: the output is not complete: it grows beyond the size")
    assert "Traceback" not in done.stderr


def test_missing_stdout_is_no_error() -> None:
    command = "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, '-m', 'kproxy', *sys.argv[1:]])"
    done = subprocess.run(
        [sys.executable, "-c", command, *RENDER], capture_output=True, text=True, check=False
    )
    assert (0, kproxy(*RENDER).stderr) == (done.returncode, done.stderr)


def test_interrupt_ends_with_130_and_no_output() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it in the background
    with subprocess.Popen(
        [sys.executable, "-m", "kproxy", "render", "-f", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        process.stdin.write(b"#" * 2**18)  # more than a pipe holds: the writing ends when kproxy reads
        process.send_signal(signal.SIGINT)
        # close stdin, because Python handles a signal that came just before read(2) only when read(2) returns
        said = process.communicate(timeout=60)
    signal.signal(signal.SIGINT, before)
    assert (130, (b"", b"")) == (process.returncode, tuple(part.strip() for part in said))


def test_render_imports_no_cluster_client_and_no_agent() -> None:
    program = (
        "import sys, kproxy.cli.main as main\n"
        f"main.program({list(RENDER)!r}, standalone_mode=False)\n"
        "sys.exit(sorted({'kubernetes', 'kproxy.agent', 'prometheus_client', 'urllib3', 'kproxy.state.encodings'} & sys.modules.keys()) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
