"""`kproxy agent --cleanup` where a program is missing, where nothing is to be done, and what it says about the rest."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from socket import create_server

import pytest

from kproxy import process
from kproxy.cleanup.clean_up import end_iptables_mode, end_nftables_mode
from kproxy.kernel.netlink.chains import generation, has_table
from kproxy.kernel.netlink.ipvs import has_interface
from kproxy.kernel.node import sysctl
from kproxy.kernel.programs.iptables import Variant
from kproxy.ruleset.layout import FLAT, TREE, Layout
from kproxy.values import Family
from namespaces import DIES_WITH_ITS_PARENT, fresh_namespace, inside
from newer_nft import add_table_of_newer_nft, let_nft_crash
from running import BOUND_S, eventually, running_agent
from scenarios import REGRESSIONS, Scenario
from wire import OUTSIDE
from wire.node import host_of

pytestmark = pytest.mark.netns

PROGRAM = {Family.IPV4: "iptables", Family.IPV6: "ip6tables"}
NOTHING = "nothing of kproxy or kube-proxy was there"


@pytest.fixture(autouse=True)
def kernel() -> Iterator[None]:
    with fresh_namespace() as name, inside(name):
        yield


WITHOUT_PROGRAMS = (
    "unshare",
    "--mount",
    "sh",
    "-c",
    'mount -t tmpfs none /usr/sbin && PATH=/nowhere exec "$0" "$@"',
)
"""Before a command: neither PATH nor the directories of the system have any program of netfilter's or iproute2's."""


def clean_up(*before: str) -> tuple[int, str]:
    """Its exit code, and all that it said."""
    command = [*DIES_WITH_ITS_PARENT, *before, sys.executable, "-m", "kproxy", "agent", "--cleanup"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return ended.returncode, ended.stderr


def would_remove(*before: str) -> tuple[int, str, str]:
    """The exit code of a dry run, the parts that it prints, and all that it says besides."""
    command = [
        *DIES_WITH_ITS_PARENT,
        *before,
        sys.executable,
        "-m",
        "kproxy",
        "agent",
        "--cleanup",
        "--dry-run",
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return ended.returncode, ended.stdout, ended.stderr


def saved(variant: Variant, family: Family) -> list[str]:
    """All chains and rules, without counters."""
    lines = process.run([f"{PROGRAM[family]}-{variant}-save"]).splitlines()
    return [line.partition(" [")[0] for line in lines if line.startswith((":", "-A"))]


def add_chain(variant: Variant, family: Family, chain: str, table: str = "nat") -> None:
    process.run([f"{PROGRAM[family]}-{variant}", "-t", table, "-N", chain])


@pytest.mark.parametrize("variant", Variant)
@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("chain", ["KUBE-SERVICES", "KUBE-SVC-AAAAAAAAAAAAAAAA", "KUBE-MARK-MASQ"])
def test_rules_whose_program_is_missing_are_told_with_exit_code_3(
    variant: Variant, family: Family, chain: str
) -> None:
    add_chain(variant, family, chain)
    code, said = clean_up(*WITHOUT_PROGRAMS)
    assert 3 == code, said
    assert f"{PROGRAM[family]}-{variant}" in said
    assert "not installed" in said
    assert chain in said


def test_one_program_that_is_missing_does_not_keep_the_other_rules() -> None:
    for table in ("kproxy", "kube-proxy"):
        process.run(["nft", f"add table ip {table}; add table ip6 {table}"])
    add_chain(Variant.NFT, Family.IPV4, "KUBE-SERVICES")
    code, said = clean_up(*WITHOUT_PROGRAMS)
    assert 3 == code
    assert 4 == said.count("removed table")


def test_nothing_to_clean_up_is_told_and_needs_no_program() -> None:
    before = generation()
    code, said = clean_up(*WITHOUT_PROGRAMS)
    assert (0, True) == (code, NOTHING in said), said
    assert before == generation()


@pytest.mark.parametrize("variant", Variant)
def test_foreign_chains_alone_need_no_program(variant: Variant) -> None:
    add_chain(variant, Family.IPV4, "MINE")
    add_chain(variant, Family.IPV6, "KUBE-KUBELET-CANARY")
    add_chain(variant, Family.IPV4, "KUBE-FIREWALL", "filter")
    process.run([f"iptables-{variant}", "-A", "KUBE-FIREWALL", "-p", "47", "-j", "DROP"])
    code, said = clean_up(*WITHOUT_PROGRAMS)
    assert (0, True) == (code, NOTHING in said), said


@pytest.mark.parametrize("variant", Variant)
def test_second_cleanup_finds_nothing(variant: Variant) -> None:
    for family in Family:
        add_chain(variant, family, "KUBE-SERVICES")
    assert [(0, False), (0, True)] == [(code, NOTHING in said) for code, said in (clean_up(), clean_up())]


FOREIGN = """*filter
:MINE - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
-A INPUT -j MINE
-A MINE -p 47 -j DROP
-A FORWARD -p 47 -m comment --comment "looks like -j KUBE-SERVICES" -j DROP
COMMIT
*nat
:CNI-HOSTPORT-SETMARK - [0:0]
-A OUTPUT -p 47 -j ACCEPT
COMMIT
"""


@pytest.mark.parametrize("variant", Variant)
@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("layout", [FLAT, TREE], ids=["flat", "tree"])
def test_text_of_a_dry_run_removes_what_cleanup_removes(
    variant: Variant, family: Family, layout: Layout
) -> None:
    restore = [f"{PROGRAM[family]}-{variant}-restore", "--noflush"]
    process.run(restore, stdin=FOREIGN)
    foreign = saved(variant, family)
    process.run(restore, stdin=Scenario.load(REGRESSIONS[0]).rules(host_of((OUTSIDE,)), family, layout))
    before, generation_before = saved(variant, family), generation()
    assert set(foreign) < set(before)
    code, text, said = would_remove()
    assert (0, before, generation_before) == (code, saved(variant, family), generation()), said
    first, _, rest = text.partition("\n")
    assert f"# {PROGRAM[family]}-{variant}" == first
    process.run(restore, stdin=rest)
    assert NOTHING in clean_up()[1]
    # the guard has a rule, and stays
    assert foreign == [line for line in saved(variant, family) if "KUBE-FIREWALL" not in line]


def test_dry_run_prints_every_part_that_cleanup_removes() -> None:
    process.run(["nft", "add table ip kproxy; add table ip6 kube-proxy"])
    add_chain(Variant.LEGACY, Family.IPV6, "KUBE-SVC-AAAAAAAAAAAAAAAA")
    add_interface("kube-ipvs0", "10.96.0.10/32")
    code, text, said = would_remove()
    assert (0, True, True) == (code, has_table(Family.IPV4, "kproxy"), has_interface()), said
    assert text == (
        "# nftables, IPv4\ndelete table ip kproxy\n"
        "# ip6tables-legacy\n*nat\n:KUBE-SVC-AAAAAAAAAAAAAAAA - [0:0]\n-X KUBE-SVC-AAAAAAAAAAAAAAAA\nCOMMIT\n"
        "# nftables, IPv6\ndelete table ip6 kube-proxy\n"
        "# kube-ipvs0\nip link delete dev kube-ipvs0\n"
    )
    assert 0 == clean_up()[0]
    assert (0, "") == would_remove()[:2]


@pytest.mark.parametrize("variant", Variant)
def test_dry_run_shows_a_jump_beside_rules_of_others_at_its_place(variant: Variant) -> None:
    add_chain(variant, Family.IPV4, "KUBE-SERVICES")
    program = f"iptables-{variant}"
    for rule in ("-p 47 -j ACCEPT", "-p 6 -j KUBE-SERVICES", "-p 47 -j ACCEPT", "-p 17 -j KUBE-SERVICES"):
        process.run([program, "-t", "nat", "-A", "OUTPUT", *rule.split(" ")])
    _, text, _ = would_remove()
    jumps = [line for line in text.splitlines() if line.startswith("-D")]
    by_place = ["-D OUTPUT 4", "-D OUTPUT 2"]
    by_text = ["-D OUTPUT -p tcp -j KUBE-SERVICES", "-D OUTPUT -p udp -j KUBE-SERVICES"]
    assert jumps == (by_place if variant is Variant.NFT else by_text)


def test_dry_run_says_that_a_chain_may_stay_that_others_use() -> None:
    add_chain(Variant.NFT, Family.IPV4, "KUBE-MARK-MASQ")
    process.run(["iptables-nft", "-t", "nat", "-A", "OUTPUT", "-p", "47", "-j", "KUBE-MARK-MASQ"])
    code, text, _ = would_remove()
    assert (0, True) == (code, "# KUBE-MARK-MASQ stays if rules of others lead to it\n*nat\n" in text)


def test_dry_run_without_a_program_fails_as_cleanup_does() -> None:
    process.run(["nft", "add table ip kproxy"])
    add_chain(Variant.NFT, Family.IPV4, "KUBE-SERVICES")
    code, text, said = would_remove(*WITHOUT_PROGRAMS)
    assert (3, "# nftables, IPv4\ndelete table ip kproxy\n") == (code, text)
    assert "iptables-nft is not installed" in said
    assert has_table(Family.IPV4, "kproxy")


def test_dry_run_of_a_clean_node_prints_nothing_and_makes_nothing() -> None:
    before = generation()
    code, text, said = would_remove()
    assert (0, "", before) == (code, text, generation())
    assert "nothing of kproxy or kube-proxy is there to be removed" in said
    assert "" == Path("/proc/thread-self/net/ip_tables_names").read_text()


def test_dry_run_without_cleanup_is_refused() -> None:
    command = [sys.executable, "-m", "kproxy", "agent", "--dry-run", "--manifests", "/nowhere"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert 2 == ended.returncode
    assert "it needs --cleanup" in ended.stderr


def test_agent_that_still_runs_is_told_of() -> None:
    assert "an agent seems to run here" not in clean_up()[1]
    with closing(create_server(("127.0.0.1", 10256))):
        assert "an agent seems to run here" in clean_up()[1]


@pytest.mark.parametrize("variant", Variant)
def test_what_stays_is_told(variant: Variant) -> None:
    _, said = clean_up()
    assert "stays" not in said
    add_chain(variant, Family.IPV4, "KUBE-FIREWALL", "filter")
    process.run([f"iptables-{variant}", "-A", "KUBE-FIREWALL", "-p", "47", "-j", "DROP"])
    sysctl.ensure(sysctl.ROUTE_LOCALNET, "1", consequence="")
    code, said = clean_up()
    assert 0 == code
    assert f"KUBE-FIREWALL stays in filter (iptables-{variant})" in said
    assert "net.ipv4.conf.all.route_localnet stays 1" in said
    assert "sysctl -w net.ipv4.conf.all.route_localnet=0" in said


def test_tables_go_where_nft_crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process.run(["nft", "add table ip kproxy; add table ip6 kube-proxy"])
    add_table_of_newer_nft()
    let_nft_crash(tmp_path, monkeypatch)
    code, said = clean_up()
    assert (0, 2) == (code, said.count("removed table")), said


def add_interface(name: str, *addresses: str) -> None:
    """Where a kernel has no dummies, a bridge without ports stands for one."""
    process.run(["ip", "link", "add", name, "type", "bridge"])
    for address in addresses:
        process.run(["ip", "address", "add", address, "dev", name])


@pytest.mark.parametrize(
    "end",
    [clean_up, lambda: end_iptables_mode(Family.IPV4), lambda: end_nftables_mode(Family.IPV6)],
    ids=["cleanup", "nftables mode begins", "iptables mode begins"],
)
def test_interface_of_mode_ipvs_goes_with_its_addresses(end: Callable[[], object]) -> None:
    add_interface("kube-ipvs0", "10.96.0.1/32", "10.96.0.10/32", "fd00:10:96::1/128")
    add_interface("kube-ipvs1", "10.96.0.99/32")
    end()
    assert not has_interface()
    left = process.run(["ip", "-oneline", "address", "show"])
    assert "10.96.0.99/32" in left
    assert "10.96.0.1/32" not in left


@pytest.mark.parametrize("addresses", [(), ("10.1.0.1/24",), ("10.96.0.1/32", "10.1.0.1/24")])
def test_interface_of_that_name_to_a_network_stays_and_that_is_told(addresses: tuple[str, ...]) -> None:
    add_interface("kube-ipvs0", *addresses)
    code, said = clean_up()
    assert (1, True) == (code, has_interface())
    assert "kube-ipvs0 is not an interface as kube-proxy makes it, so it stays" in said


def test_interface_of_mode_ipvs_without_iproute2_is_told() -> None:
    add_interface("kube-ipvs0", "10.96.0.1/32")
    code, said = clean_up(*WITHOUT_PROGRAMS)
    assert (3, True) == (code, has_interface())
    assert "kube-ipvs0: ip is not installed" in said


@pytest.mark.parametrize("mode", ["nftables", "iptables"])
def test_interface_of_mode_ipvs_goes_when_an_agent_starts(mode: str, tmp_path: Path) -> None:
    add_interface("kube-ipvs0", "10.96.0.10/32")
    log = tmp_path / "log"
    demo = Path(__file__).parents[2] / "examples" / "demo"
    with running_agent("--manifests", str(demo), f"--proxy-mode={mode}", log=log):
        eventually(lambda: "removed kube-ipvs0" in log.read_text(), "kube-ipvs0 goes", log)
    assert not has_interface()


@pytest.mark.parametrize("mode", ["nftables", "iptables"])
def test_agent_beside_a_table_of_a_newer_nft_works_or_says_why_not(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process.run(["nft", "add table ip kproxy"])
    add_table_of_newer_nft()
    let_nft_crash(tmp_path, monkeypatch)
    log = tmp_path / "log"
    demo = Path(__file__).parents[2] / "examples" / "demo"
    with running_agent("--manifests", str(demo), f"--proxy-mode={mode}", log=log) as running:
        if mode == "nftables":
            assert 3 == running.wait(timeout=BOUND_S)
        else:
            eventually(lambda: not has_table(Family.IPV4, "kproxy"), "the table of nftables mode goes", log)
    said = log.read_text()
    assert "kernel options" not in said
    assert (mode == "nftables") == ("nft 1.1.2 or newer wrote table inet host" in said)
