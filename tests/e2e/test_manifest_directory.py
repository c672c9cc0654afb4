"""An agent that follows a directory: what it says of manifests of which nothing comes, and of a directory that is empty."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kproxy import process
from namespaces import fresh_namespace, inside
from running import eventually, running_agent

pytestmark = pytest.mark.netns

CASE = """\
apiVersion: v1
kind: Pod
metadata: {name: nginx-pod, labels: {app: nginx}}
---
apiVersion: v1
kind: Service
metadata: {name: nginx-service}
spec:
  type: NodePort
  selector: {app: nginx}
  externalIP: [192.0.2.1]
  ports: [{port: 30022, nodePort: 30022, targetPort: nginx-port}]
---
apiVersion: v1
kind: Servce
metadata: {name: other}
"""
WEB = """\
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{clusterIP: {address}, ports: [{{port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{port: 8080}}]
endpoints: [{{addresses: [10.128.1.5]}}]
"""

Rules = Callable[[], str]


@pytest.fixture(autouse=True)
def _here() -> Iterator[None]:
    with fresh_namespace() as name, inside(name):
        yield


@pytest.fixture(params=["nft", "legacy", "nftables"])
def how(request: pytest.FixtureRequest) -> tuple[list[str], Rules]:
    """The flags of a mode and backend, and what is in the kernel then."""
    if request.param == "nftables":
        return ["--proxy-mode=nftables"], lambda: process.run(["nft", "list", "ruleset"])
    backend = f"--iptables-backend={request.param}"
    return [backend], lambda: process.run([f"iptables-{request.param}-save"])


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    path = tmp_path / "manifests"
    path.mkdir()
    return path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def said(words: str, log: Path) -> Callable[[], bool]:
    return lambda: words in log.read_text()


def test_manifests_as_people_write_them_are_told_once_what_they_lack(
    how: tuple[list[str], Rules], manifests: Path, log: Path
) -> None:
    flags, _ = how
    (manifests / "nginx.yaml").write_text(CASE)
    expected = (
        "spec.externalIP: there is no such field, so it is ignored; did you mean externalIPs?",
        "kind Servce decides no rule, so the object is ignored; did you mean Service?",
        "Service default/nginx-service yields no rule: it has no spec.clusterIP",
        "Service default/nginx-service has no endpoints: no EndpointSlice names it; Pods match its selector",
    )
    with running_agent("--manifests", str(manifests), *flags, log=log):
        for words in expected:
            eventually(said(words, log), words, log)
        (manifests / "web.yaml").write_text(WEB.format(name="web", address="10.96.0.10"))
        eventually(said("synced 1 service ports", log), "the other Service is programmed", log)
    assert [1] * len(expected) == [log.read_text().count(words) for words in expected]


def test_directory_that_turns_empty_keeps_its_rules_also_across_a_restart(
    how: tuple[list[str], Rules], manifests: Path, log: Path
) -> None:
    flags, rules = how
    for number, name in enumerate(("web", "shop"), start=10):
        (manifests / f"{name}.yaml").write_text(WEB.format(name=name, address=f"10.96.0.{number}"))
    with running_agent("--manifests", str(manifests), *flags, log=log):
        eventually(said("IPv6: synced", log), "the first sync", log)
        for path in manifests.iterdir():
            path.unlink()
        eventually(said("holds no manifest any more", log), "it is told", log)
        assert {"10.96.0.10", "10.96.0.11"} <= set(addresses_in(rules()))
    again = log.with_name("again")
    with running_agent("--manifests", str(manifests), *flags, log=again):
        eventually(said("no rule is written or removed until one can", again), "it is told again", again)
        assert {"10.96.0.10", "10.96.0.11"} <= set(addresses_in(rules()))
        (manifests / "shop.yaml").write_text(WEB.format(name="shop", address="10.96.0.11"))
        eventually(lambda: "10.96.0.10" not in addresses_in(rules()), "what is gone is removed then", again)
        assert "10.96.0.11" in addresses_in(rules())


def test_directory_that_vanishes_keeps_its_rules_and_one_that_is_withdrawn_does_not(
    how: tuple[list[str], Rules], manifests: Path, log: Path
) -> None:
    flags, rules = how
    (manifests / "web.yaml").write_text(WEB.format(name="web", address="10.96.0.10"))
    with running_agent("--manifests", str(manifests), *flags, log=log):
        eventually(said("IPv6: synced", log), "the first sync", log)
        shutil.move(manifests, manifests.with_name("aside"))
        eventually(said("the last known state stays in force", log), "it is told", log)
        assert "10.96.0.10" in addresses_in(rules())
        shutil.move(manifests.with_name("aside"), manifests)
        (manifests / "web.yaml").write_text("kind: List\nitems: []\n")
        eventually(lambda: "10.96.0.10" not in addresses_in(rules()), "an empty List is believed", log)


def addresses_in(rules: str) -> list[str]:
    return [word.removesuffix("/32") for word in rules.split() if word.startswith("10.96.")]
