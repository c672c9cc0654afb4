"""Every chain name that a node is likely to have, and its owner."""

import pytest

from kproxy.ruleset.chain import BUILT_IN, Chain
from kproxy.ruleset.iptables.names import tree_chain
from kproxy.ruleset.iptables.ownership import (
    GUARD,
    MARKING,
    PREFIX,
    SERVICES,
    is_of_a_service,
    may_be_ours,
    owner_of,
    tells_the_variant,
)
from kproxy.ruleset.owner import Owner

HASH = "NPX46M4PTMTKRN6Y"

NAMES = {
    # kube-proxy 1.36, pkg/proxy/iptables/proxier.go: each name in every table that iptablesJumpChains,
    # iptablesEnsureChains, Monitor and cleanup.go use for it
    Owner.NODE: (
        "nat KUBE-SERVICES",
        "filter KUBE-SERVICES",
        "filter KUBE-EXTERNAL-SERVICES",
        "nat KUBE-NODEPORTS",
        "filter KUBE-NODEPORTS",
        "nat KUBE-POSTROUTING",
        "filter KUBE-FORWARD",
        "filter KUBE-PROXY-FIREWALL",
        "mangle KUBE-PROXY-CANARY",
        "nat KUBE-PROXY-CANARY",
        "filter KUBE-PROXY-CANARY",
    ),
    Owner.SERVICE: (
        f"nat KUBE-SVC-{HASH}",
        f"nat KUBE-SVL-{HASH}",
        f"nat KUBE-EXT-{HASH}",
        f"nat KUBE-FW-{HASH}",
        f"nat KUBE-SEP-{HASH}",
        # kproxy's groups of endpoints, and its trees below the dispatch chains
        f"nat KUBE-SVC-{HASH}-A",
        f"nat KUBE-SVL-{HASH}-AB",
        f"nat {tree_chain('KUBE-SERVICES', '10.96.0.0/12')}",
        f"filter {tree_chain('KUBE-SERVICES', '10.96.0.0/12')}",
        f"nat {tree_chain('KUBE-NODEPORTS', 'tcp-30000/4')}",
        f"filter {tree_chain('KUBE-EXTERNAL-SERVICES', '2001:db8::/32')}",
        f"filter {tree_chain('KUBE-PROXY-FIREWALL', '203.0.113.0/24')}",
    ),
    # kube-proxy 1.36, pkg/proxy/ipvs/proxier.go, beside those that it shares with mode iptables
    Owner.IPVS: (
        "nat KUBE-LOAD-BALANCER",
        "nat KUBE-NODE-PORT",
        "filter KUBE-NODE-PORT",
        "filter KUBE-SOURCE-RANGES-FIREWALL",
        "filter KUBE-IPVS-FILTER",
        "filter KUBE-IPVS-OUT-FILTER",
    ),
    Owner.SHARED_WITH_PLUGINS: ("nat KUBE-MARK-MASQ",),
    # the kubelet, pkg/kubelet/kubelet_network_linux.go; KUBE-MARK-DROP until 1.27
    Owner.SHARED_WITH_KUBELET: ("filter KUBE-FIREWALL",),
    Owner.KUBELET: (
        "mangle KUBE-IPTABLES-HINT",
        "mangle KUBE-KUBELET-CANARY",
        "nat KUBE-KUBELET-CANARY",
        "filter KUBE-KUBELET-CANARY",
        "nat KUBE-MARK-DROP",
    ),
    Owner.KUBERNETES: (
        "nat KUBE-MINE",  # of a template that the user wrote
        "filter KUBE-ROUTER-INPUT",  # kube-router
        "filter KUBE-NWPLCY-DEFAULT",  # kube-router
        "nat KUBE-HOSTPORTS",  # dockershim
        "nat KUBE-FIREWALL",  # mode ipvs, until 1.17
        "nat KUBE-PORTALS-HOST",  # kube-proxy's mode userspace, until 1.25
        f"nat KUBE-XLB-{HASH}",  # kube-proxy until 1.23
        f"filter KUBE-SVC-{HASH}",  # nobody: chains of Services are in nat
        f"nat KUBE-S-{HASH}",  # nobody: chains of trees end in a length
        "nat KUBE-SVC",
        "nat KUBE-",
    ),
    Owner.BUILT_IN: tuple(
        f"{table} {name}" for table in ("filter", "nat", "mangle") for name in sorted(BUILT_IN)
    ),
    Owner.FOREIGN: (
        # Docker, daemon/libnetwork/drivers/bridge and drivers/overlay
        "nat DOCKER",
        "filter DOCKER",
        "filter DOCKER-USER",
        "filter DOCKER-FORWARD",
        "filter DOCKER-BRIDGE",
        "filter DOCKER-CT",
        "filter DOCKER-INTERNAL",
        "filter DOCKER-INGRESS",
        "nat DOCKER-INGRESS",
        "filter DOCKER-ISOLATION-STAGE-1",
        "filter DOCKER-ISOLATION-STAGE-2",
        # Calico, felix/rules/rule_defs.go
        "filter cali-INPUT",
        "filter cali-FORWARD",
        "filter cali-OUTPUT",
        "raw cali-PREROUTING",
        "raw cali-untracked-flows",
        "filter cali-failsafe-in",
        "nat cali-PREROUTING",
        "nat cali-POSTROUTING",
        "nat cali-nat-outgoing",
        "nat cali-fip-dnat",
        "mangle cali-POSTROUTING",
        "filter cali-from-wl-dispatch",
        "filter cali-tw-cali0123456789a",
        # Cilium, pkg/datapath/iptables/iptables.go
        "filter CILIUM_INPUT",
        "filter CILIUM_OUTPUT",
        "filter CILIUM_FORWARD",
        "raw CILIUM_OUTPUT_raw",
        "raw CILIUM_PRE_raw",
        "nat CILIUM_PRE_nat",
        "nat CILIUM_POST_nat",
        "nat CILIUM_OUTPUT_nat",
        "nat OLD_CILIUM_POST_nat",
        "mangle CILIUM_PRE_mangle",
        "mangle CILIUM_POST_mangle",
        # flannel, pkg/trafficmngr/iptables
        "nat FLANNEL-POSTRTG",
        "filter FLANNEL-FWD",
        # the CNI plugin portmap
        "nat CNI-HOSTPORT-DNAT",
        "nat CNI-HOSTPORT-SETMARK",
        "nat CNI-HOSTPORT-MASQ",
        "nat CNI-DN-2f3a1c0d9e8b7a6f5e4d3",
        # ufw, firewalld, Tailscale, and names that only look alike
        "filter ufw-user-input",
        "filter FWD_public",
        "nat ts-postrouting",
        "nat kube-services",
        "nat XKUBE-SERVICES",
        "nat MINE",
        # in nftables mode the whole table has an owner, and its chains are not asked about
        "kube-proxy services",
        "kube-proxy mark-for-masquerade",
        "kproxy services",
    ),
}


def chain(text: str) -> Chain:
    return Chain(*text.split(" "))


OWNERS = [(chain(text), owner) for owner, names in NAMES.items() for text in names]


@pytest.mark.parametrize(("chain", "owner"), OWNERS)
def test_chain_has_the_owner_that_its_name_tells(chain: Chain, owner: Owner) -> None:
    assert owner is owner_of(chain)


@pytest.mark.parametrize(("chain", "owner"), OWNERS)
def test_questions_follow_from_the_owner(chain: Chain, owner: Owner) -> None:
    assert (owner is Owner.SERVICE) == is_of_a_service(chain)
    assert (
        (owner not in {Owner.BUILT_IN, Owner.FOREIGN}) == may_be_ours(chain) == chain.name.startswith(PREFIX)
    )


def test_every_owner_of_chains_is_in_the_table() -> None:
    assert set(Owner) == NAMES.keys()


def test_every_owner_has_a_reason_and_a_source_of_its_own() -> None:
    assert len(Owner) == len({owner.reason for owner in Owner})
    assert all(owner.source for owner in Owner)


def test_chains_with_a_name_in_the_code_have_their_owners() -> None:
    expected = [Owner.SHARED_WITH_KUBELET, Owner.SHARED_WITH_PLUGINS, Owner.NODE]
    assert expected == [owner_of(each) for each in (GUARD, MARKING, SERVICES)]


@pytest.mark.parametrize(
    ("name", "tells"),
    [
        ("KUBE-IPTABLES-HINT", True),
        ("KUBE-KUBELET-CANARY", True),
        ("KUBE-MARK-DROP", False),
        ("KUBE-PROXY-CANARY", False),
    ],
)
def test_variant_is_told_by_the_chains_that_iptables_wrappers_asks_for(name: str, tells: bool) -> None:
    assert tells == tells_the_variant(name)
