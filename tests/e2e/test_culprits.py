"""A real agent and Services whose rules cannot be made or are refused, or kernels that lose what rules need."""

import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from kproxy import process
from kproxy.kernel.netlink.accounting import COUNTERS, have_counters
from kproxy.kernel.netlink.nfnetlink import NFPROTO_UNSPEC, Netlink, text_attribute
from kproxy.kernel.programs.iptables import Variant
from namespaces import fresh_namespace, inside
from running import NODE, eventually, running_agent
from stubapi import StubApi
from stubapi.manifests import endpoint_slice, node, service

pytestmark = pytest.mark.netns

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"
NFNL_MSG_ACCT_DEL, NFACCT_NAME = 7 << 8 | 3, 1


@pytest.fixture
def api() -> Iterator[StubApi]:
    with fresh_namespace() as name, inside(name), StubApi() as stub:
        stub.put("Node", node(NODE))
        for number, each in enumerate(("api", "culprit", "web")):
            put(stub, each, f"10.96.0.{10 + number}", f"10.128.1.{number}")
        yield stub


def put(api: StubApi, name: str, address: str, backend: str) -> None:
    manifest = service(name)
    manifest["spec"] |= {"clusterIP": address, "clusterIPs": [address]}
    api.put("Service", manifest)
    api.put("EndpointSlice", endpoint_slice(f"{name}-a", name, backend))


def holds(variant: Variant, *texts: str) -> Callable[[], bool]:
    def found() -> bool:
        saved = "".join(process.run([f"iptables-{variant}-save", "-t", table]) for table in ("nat", "filter"))
        return all(text in saved for text in texts)

    return found


@pytest.mark.parametrize("variant", Variant)
@pytest.mark.parametrize(
    "fault",
    [
        "{{ nosuch }}",
        "{{ 1 / 0 }}",
        "-A {{ internal_chain }} -p tcp -m tcp --dport 99999999 -j RETURN",
        "-A {{ internal_chain }} -p tcp -m nfacct --nfacct-name none -j RETURN",
    ],
    ids=["undefined", "division", "refused by iptables", "refused by the kernel"],
)
def test_service_at_fault_costs_no_other_its_rules_at_start_and_later(
    api: StubApi, tmp_path: Path, variant: Variant, fault: str
) -> None:
    kubeconfig, log, overriding = tmp_path / "kubeconfig", tmp_path / "agent.log", tmp_path / "templates"
    api.write_kubeconfig(kubeconfig)
    (overriding / "iptables").mkdir(parents=True)
    ours = (TEMPLATES / "iptables" / "service-port.j2").read_text()
    (overriding / "iptables" / "service-port.j2").write_text(
        f'{ours}*nat\n{{% if name|string == "default/culprit" %}}\n{fault}\n{{% endif %}}\n'
    )
    flags = ("--kubeconfig", str(kubeconfig), "--iptables-backend", variant, "--templates", str(overriding))
    with running_agent(*flags, log=log):
        both = ("default/api cluster IP", "default/web cluster IP")
        eventually(holds(variant, *both), "the other Services are programmed", log)
        assert not holds(variant, "default/culprit")()
        put(api, "late", "10.96.0.99", "10.128.1.99")
        api.put("EndpointSlice", endpoint_slice("web-a", "web", "10.128.1.77"))
        eventually(holds(variant, "default/late cluster IP", "10.128.1.77"), "changes are programmed", log)
        api.delete("Service", "default", "culprit")
        put(api, "later", "10.96.0.98", "10.128.1.98")
        eventually(holds(variant, "default/later cluster IP"), "a change later is programmed", log)
    assert "not applied" not in log.read_text()


def is_emptied(variant: Variant) -> bool:
    """Whether all rules and both counters could be deleted: not while a program of the stopped agent still writes rules."""
    for program in (f"iptables-{variant}", f"ip6tables-{variant}"):
        for table in ("filter", "nat"):
            process.run([f"{program}-restore"], stdin=f"*{table}\nCOMMIT\n")
    if variant is Variant.NFT:
        process.run(["nft", "flush", "ruleset"])
    for counter in COUNTERS:
        with suppress(OSError), Netlink() as netlink:
            netlink.tell(NFNL_MSG_ACCT_DEL, NFPROTO_UNSPEC, text_attribute(NFACCT_NAME, counter))
    return not any(have_counters([counter]) for counter in COUNTERS)


@pytest.mark.parametrize("variant", Variant)
def test_agent_whose_rules_and_counters_are_gone_programs_all_again(
    api: StubApi, tmp_path: Path, variant: Variant
) -> None:
    kubeconfig, log = tmp_path / "kubeconfig", tmp_path / "agent.log"
    api.write_kubeconfig(kubeconfig)
    with running_agent("--kubeconfig", str(kubeconfig), "--iptables-backend", variant, log=log) as running:
        programmed = holds(variant, "default/web cluster IP", f"nfacct-name  {COUNTERS[0]}")
        eventually(programmed, "the first list is programmed", log)
        running.send_signal(signal.SIGSTOP)
        eventually(lambda: is_emptied(variant), "no rule and no counter is left", log)
        assert not have_counters()
        running.send_signal(signal.SIGCONT)
        eventually(programmed, "all is programmed again", log)
        assert have_counters()
