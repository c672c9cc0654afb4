"""A change of mode removes the rules of the other mode, and leaves those of others."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kproxy import process
from kproxy.cleanup.clean_up import (
    end_iptables_mode,
    end_nftables_mode,
    end_other_variant_and_nftables_mode,
)
from kproxy.errors import KproxyError
from kproxy.kernel.netlink.accounting import ensure_counters
from kproxy.kernel.netlink.chains import generation
from kproxy.kernel.programs.iptables import Variant
from kproxy.ruleset.layout import FLAT, TREE, Layout
from kproxy.values import Family
from namespaces import fresh_namespace, inside
from recordings import CLUSTERS, DUMP
from scenarios import REGRESSIONS, Scenario
from wire import OUTSIDE
from wire.node import host_of

pytestmark = pytest.mark.netns

PROGRAM = {Family.IPV4: "iptables", Family.IPV6: "ip6tables"}
RECORDED = next(cluster for cluster in CLUSTERS if cluster.name == "seed-kinds")
FOREIGN = """*filter
:MINE - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
-A INPUT -j MINE
-A MINE -p 47 -j DROP
-A FORWARD -p 47 -m comment --comment "looks like -j KUBE-SERVICES" -j DROP
COMMIT
*nat
COMMIT
"""


THEIRS = {"-A MINE -p gre -j KUBE-FORWARD", "-A MINE -p gre -j KUBE-SERVICES"}
KUBELETS = """*mangle
:KUBE-IPTABLES-HINT - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
COMMIT
*filter
:KUBE-FIREWALL - [0:0]
-A INPUT -j KUBE-FIREWALL
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
COMMIT
*nat
:KUBE-MARK-DROP - [0:0]
:KUBE-MARK-MASQ - [0:0]
:CNI-HOSTPORT-SETMARK - [0:0]
-A CNI-HOSTPORT-SETMARK -j KUBE-MARK-MASQ
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
COMMIT
"""


@pytest.fixture(autouse=True)
def kernel() -> Iterator[None]:
    with fresh_namespace() as name, inside(name):
        yield


def saved(variant: Variant, family: Family) -> set[str]:
    """Chains and rules, without counters."""
    lines = process.run([f"{PROGRAM[family]}-{variant}-save"]).splitlines()
    return {line.partition(" [")[0] for line in lines if line.startswith((":", "-A"))}


def ours(lines: set[str]) -> set[str]:
    """Kubernetes' chains, all rules of theirs, and jumps to them; but for what is the kubelet's too."""
    shared = ("KUBE-FIREWALL", "KUBELET")
    return {line for line in lines if "KUBE-" in line and not any(word in line for word in shared)}


def restore(variant: Variant, family: Family, text: str) -> None:
    process.run([f"{PROGRAM[family]}-{variant}-restore", "--noflush"], stdin=text)


@pytest.mark.parametrize("variant", Variant)
@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("layout", [FLAT, TREE], ids=["flat", "tree"])
def test_chains_of_iptables_mode_go_and_those_of_others_stay(
    variant: Variant, family: Family, layout: Layout
) -> None:
    restore(variant, family, FOREIGN)
    before = saved(variant, family)
    restore(variant, family, Scenario.load(REGRESSIONS[0]).rules(host_of((OUTSIDE,)), family, layout))
    end_iptables_mode(family)
    assert not ours(saved(variant, family) - before)
    assert before <= saved(variant, family)


@pytest.mark.parametrize("variant", Variant)
@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("rules", ["ours", "kube-proxys"])
def test_chains_in_the_other_backend_go_and_those_of_others_and_of_this_one_stay(
    variant: Variant, family: Family, rules: str
) -> None:
    (other,) = (each for each in Variant if each is not variant)
    ours_there = Scenario.load(REGRESSIONS[0]).rules(host_of((OUTSIDE,)), family, FLAT)
    if rules == "kube-proxys":
        assert ensure_counters()
        ours_there = (RECORDED / DUMP[family]).read_text()
    restore(other, family, FOREIGN)
    before = saved(other, family)
    for each in Variant:
        restore(each, family, ours_there)
    here = saved(variant, family)
    end_other_variant_and_nftables_mode(variant, family)
    assert not ours(saved(other, family) - before)
    assert before <= saved(other, family)
    assert here == saved(variant, family)


@pytest.mark.parametrize("variant", Variant)
def test_nothing_is_made_or_committed_where_the_other_backend_holds_nothing(variant: Variant) -> None:
    before = generation()
    for family in Family:
        end_other_variant_and_nftables_mode(variant, family)
    assert before == generation()
    assert "" == Path("/proc/thread-self/net/ip_tables_names").read_text()


@pytest.mark.parametrize("variant", Variant)
def test_chains_of_the_kubelet_and_marks_that_others_use_stay_in_the_other_backend(variant: Variant) -> None:
    (other,) = (each for each in Variant if each is not variant)
    restore(other, Family.IPV4, KUBELETS)
    before = saved(other, Family.IPV4)
    restore(other, Family.IPV4, "*nat\n:KUBE-SERVICES - [0:0]\n-A OUTPUT -j KUBE-SERVICES\nCOMMIT\n")
    end_other_variant_and_nftables_mode(variant, Family.IPV4)
    assert before == saved(other, Family.IPV4)


@pytest.mark.parametrize("variant", Variant)
@pytest.mark.parametrize("family", Family)
def test_chains_that_rules_of_others_lead_to_stay_empty_and_are_told_and_all_others_go(
    variant: Variant, family: Family
) -> None:
    restore(variant, family, Scenario.load(REGRESSIONS[0]).rules(host_of((OUTSIDE,)), family, FLAT))
    restore(variant, family, "*filter\n:MINE - [0:0]\n-A MINE -p 47 -j KUBE-FORWARD\nCOMMIT\n")
    restore(variant, family, "*nat\n:MINE - [0:0]\n-A MINE -p 47 -j KUBE-SERVICES\nCOMMIT\n")
    with pytest.raises(KproxyError, match="lead to KUBE-FORWARD in filter, KUBE-SERVICES in nat"):
        end_iptables_mode(family)
    left = {line for line in ours(saved(variant, family)) if "KUBE-MARK" not in line}
    assert {":KUBE-FORWARD -", ":KUBE-SERVICES -", *THEIRS} == left
    restore(variant, family, "*filter\n:MINE - [0:0]\nCOMMIT\n*nat\n:MINE - [0:0]\nCOMMIT\n")
    end_iptables_mode(family)
    assert not ours(saved(variant, family))


def test_chain_that_a_map_of_nft_leads_to_stays_and_all_others_go() -> None:
    restore(
        Variant.NFT, Family.IPV4, Scenario.load(REGRESSIONS[0]).rules(host_of((OUTSIDE,)), Family.IPV4, FLAT)
    )
    process.run(["nft", 'add rule ip filter FORWARD iifname vmap { "lo" : jump KUBE-FORWARD }'])
    with pytest.raises(KproxyError, match="lead to KUBE-FORWARD in filter;"):
        end_iptables_mode(Family.IPV4)
    listed = process.run(["nft", "list", "ruleset"])
    assert {"KUBE-FORWARD"} == {
        word for word in re.findall("KUBE-[A-Z0-9-]+", listed) if word != "KUBE-FIREWALL"
    }


@pytest.mark.parametrize("family", Family)
def test_chains_of_kube_proxy_go(family: Family) -> None:
    assert ensure_counters()
    restore(Variant.NFT, family, (RECORDED / DUMP[family]).read_text())
    end_iptables_mode(family)
    assert not ours(saved(Variant.NFT, family))


def test_tables_go_in_nftables_and_no_other() -> None:
    for name in ("kproxy", "kube-proxy", "other"):
        process.run(["nft", f"add table ip {name}; add chain ip {name} some"])
    end_iptables_mode(Family.IPV4)
    assert ["ip kproxy", "ip other"] == tables()
    end_nftables_mode(Family.IPV4)
    assert ["ip other"] == tables()


def tables() -> list[str]:
    return sorted(line.removeprefix("table ") for line in process.run(["nft", "list", "tables"]).splitlines())


def test_clean_node_is_left_clean() -> None:
    for family in Family:
        end_iptables_mode(family)
        end_nftables_mode(family)
    assert [] == tables()


def test_nothing_is_committed_where_nftables_holds_no_table_of_the_other_mode() -> None:
    process.run(["nft", "add table ip other"])
    before = generation()
    for family in Family:
        end_nftables_mode(family)
    assert before == generation()
