"""The owners of tables of nftables: a service proxy has three, and no other is touched."""

import pytest

from kproxy.ruleset.nftables.ownership import KPROXYS_TABLES, owner_of
from kproxy.ruleset.owner import Owner

FOREIGN = (
    "filter",  # iptables-nft
    "nat",
    "mangle",
    "calico",  # felix/nftables
    "docker-bridges",  # Docker
    "flannel-ipv4",  # flannel
    "cni_hostport",  # the CNI plugin portmap
    "firewalld",
    "kube-proxy-2",
    "kproxy-probe",
    "",
)


@pytest.mark.parametrize("table", ["kube-proxy", "kproxy", "kproxy-model"])
def test_tables_of_kube_proxy_and_kproxy_are_of_nftables_mode(table: str) -> None:
    assert Owner.NFTABLES is owner_of(table)
    assert (table != "kube-proxy") == (table in KPROXYS_TABLES)


@pytest.mark.parametrize("table", FOREIGN)
def test_other_tables_are_foreign(table: str) -> None:
    assert Owner.FOREIGN is owner_of(table)
