"""The cluster that `kproxy render --from-cluster` reads, tested as a process against a server over TLS."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from stubapi import StubApi
from stubapi.manifests import endpoint_slice, node, service

NODE = "node-1"


@pytest.fixture(scope="module")
def api() -> Iterator[StubApi]:
    with StubApi() as stub:
        manifest = service("web")
        manifest["spec"] |= {"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"]}
        stub.put("Node", node(NODE))
        stub.put("Service", manifest)
        stub.put("EndpointSlice", endpoint_slice("web-a", "web", "10.128.1.5"))
        yield stub


@pytest.fixture
def halves(api: StubApi, tmp_path: Path) -> tuple[Path, Path]:
    """A kubeconfig in two files. Neither file is enough alone."""
    whole = json.loads(api.write_kubeconfig(tmp_path / "whole").read_text())
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(json.dumps({name: whole[name] for name in ("users", "current-context")}))
    second.write_text(json.dumps({name: whole[name] for name in ("clusters", "contexts")}))
    return first, second


def rendered(
    *arguments: str, before: Sequence[str] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [
        *before,
        sys.executable,
        "-m",
        "kproxy",
        "render",
        "--from-cluster",
        "--node",
        NODE,
        "--nfacct",
        "off",
    ]
    variables = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, check=False, env={**variables, **environment}
    )


def is_rendered(done: subprocess.CompletedProcess[str]) -> bool:
    assert (0, "") == (done.returncode, done.stderr)
    return "--to-destination 10.128.1.5" in done.stdout


def test_variable_with_a_list_of_files_merges_them(halves: tuple[Path, Path]) -> None:
    assert is_rendered(rendered(KUBECONFIG=f"/nonexistent:{halves[0]}:{halves[1]}:"))


def test_flag_with_a_list_of_files_merges_them(halves: tuple[Path, Path]) -> None:
    assert is_rendered(rendered("--kubeconfig", f"{halves[0]}:{halves[1]}", KUBECONFIG="/nonexistent"))


@pytest.mark.parametrize("variables", [{}, {"KUBECONFIG": ""}], ids=["unset", "empty"])
def test_kubeconfig_without_a_variable_is_the_file_in_the_home_directory(
    api: StubApi, tmp_path: Path, variables: dict[str, str]
) -> None:
    (tmp_path / ".kube").mkdir()
    api.write_kubeconfig(tmp_path / ".kube" / "config")
    assert is_rendered(rendered(HOME=str(tmp_path), **variables))


def test_missing_files_are_wrong_input() -> None:
    done = rendered(KUBECONFIG="/nonexistent:/nowhere")
    said = "kproxy: the kubeconfig /nonexistent:/nowhere does not exist; name an existing file with --kubeconfig\n"
    assert (2, said) == (done.returncode, done.stderr)


def test_boolean_in_quotes_is_wrong_input(api: StubApi, tmp_path: Path) -> None:
    path = api.write_kubeconfig(tmp_path / "kubeconfig")
    data = json.loads(path.read_text())
    data["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = "false"
    path.write_text(json.dumps(data))
    done = rendered("--kubeconfig", str(path))
    said = (
        f"kproxy: the kubeconfig {path} cannot be used: clusters[0] 'stub': insecure-skip-tls-verify: "
        "true or false is expected, and it is text; write true or false without quotes\n"
    )
    assert (2, "", said) == (done.returncode, done.stdout, done.stderr)


def test_server_without_tls_is_sent_no_credentials(api: StubApi, tmp_path: Path) -> None:
    """The stub speaks only TLS, so the request breaks off. The output has no token."""
    path = api.write_kubeconfig(tmp_path / "kubeconfig")
    path.write_text(path.read_text().replace("https://", "http://"))
    done = rendered("--kubeconfig", str(path))
    assert (3, "") == (done.returncode, done.stdout)
    assert "http://127.0.0.1:" in done.stderr
    assert api.token not in done.stderr


def test_file_that_may_not_be_read_is_reported_in_one_line(api: StubApi, tmp_path: Path) -> None:
    path = api.write_kubeconfig(tmp_path / "kubeconfig")
    path.chmod(0)
    capabilities = "-dac_override,-dac_read_search"  # the capabilities that let root read each file
    without = ["setpriv", f"--bounding-set={capabilities}", f"--inh-caps={capabilities}"]
    done = rendered("--kubeconfig", str(path), before=without)
    said = f"kproxy: the kubeconfig {path} cannot be used: it cannot be read: Permission denied; name a readable file\n"
    assert (2, said) == (done.returncode, done.stderr)


def test_warning_about_a_file_begins_as_every_remark(api: StubApi, tmp_path: Path) -> None:
    path = api.write_kubeconfig(tmp_path / "kubeconfig")
    data = json.loads(path.read_text())
    data["clusters"][0]["cluster"]["proxy_url"] = "http://proxy.example"
    path.write_text(json.dumps(data))
    done = rendered("--kubeconfig", str(path))
    said = (
        f"kproxy: the kubeconfig {path}: clusters[0] 'stub': proxy_url: "
        "there is no such field, so it is ignored; did you mean proxy-url?\n"
    )
    assert (0, said) == (done.returncode, done.stderr)
