"""The owner of each chain in the tables of iptables: decided here, and nowhere else.

Observing, comparing, applying and cleaning all ask `owner_of`, or one of the questions below it.
"""

from kproxy.ruleset.chain import Chain
from kproxy.ruleset.iptables.names import PER_SERVICE, depth_in_tree
from kproxy.ruleset.owner import Owner

GUARD = Chain("filter", "KUBE-FIREWALL")
"""The chain in which the kubelet and a service proxy each keep strangers from 127.0.0.1."""

MARKING = Chain("nat", "KUBE-MARK-MASQ")
"""The chain that marks packets for masquerading."""

SERVICES = Chain("nat", "KUBE-SERVICES")
"""The chain that dispatches to Services: where it exists, a service proxy has run in iptables mode."""

PREFIX = "KUBE-"
"""The beginning of every name that Kubernetes, kproxy's templates included, gives to a chain."""

_HINTS = ("KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY")

_BY_CHAIN = {GUARD: Owner.SHARED_WITH_KUBELET, MARKING: Owner.SHARED_WITH_PLUGINS}

_BY_NAME = {
    **dict.fromkeys(
        (
            "KUBE-EXTERNAL-SERVICES",
            "KUBE-FORWARD",
            "KUBE-NODEPORTS",
            "KUBE-POSTROUTING",
            "KUBE-PROXY-CANARY",
            "KUBE-PROXY-FIREWALL",
            "KUBE-SERVICES",
        ),
        Owner.NODE,
    ),
    **dict.fromkeys(
        (
            "KUBE-IPVS-FILTER",
            "KUBE-IPVS-OUT-FILTER",
            "KUBE-LOAD-BALANCER",
            "KUBE-NODE-PORT",
            "KUBE-SOURCE-RANGES-FIREWALL",
        ),
        Owner.IPVS,
    ),
    **dict.fromkeys((*_HINTS, "KUBE-MARK-DROP"), Owner.KUBELET),
}
"""Names that mean the same in every table: kube-proxy and the kubelet use some of them in two or three."""


def owner_of(chain: Chain) -> Owner:
    """The owner of a chain in a table of iptables, such as `filter` or `nat`.

    A table of nftables mode belongs to one program as a whole (`kproxy.ruleset.nftables.ownership`), so its chains are
    not asked about here; they would be FOREIGN.
    """
    if is_of_a_service(chain):
        return Owner.SERVICE
    if chain.is_built_in:
        return Owner.BUILT_IN
    other = Owner.KUBERNETES if chain.name.startswith(PREFIX) else Owner.FOREIGN
    return _BY_CHAIN.get(chain) or _BY_NAME.get(chain.name, other)


def is_of_a_service(chain: Chain) -> bool:
    """Whether the owner is SERVICE: the chain comes and goes with a Service, and a stale one is deleted.

    It is asked for each of 100,000 chains, so it decides without `owner_of`, which takes longer.
    """
    is_per_service = chain.table == "nat" and chain.name.startswith(PER_SERVICE)
    return is_per_service or depth_in_tree(chain.name) is not None


def may_be_ours(chain: Chain) -> bool:
    """Whether kproxy may find its own rules in this chain, and may write to it: its name is of Kubernetes.

    The answer is yes for exactly the chains that are neither built in nor foreign. Only the name is compared, because
    every compiled chain is asked for: `owner_of` would add a tenth to the time that a Service takes.
    """
    return chain.name.startswith(PREFIX)


def tells_the_variant(name: str) -> bool:
    """Whether a chain of this name shows which variant of iptables the kubelet uses (as iptables-wrappers asks)."""
    return name in _HINTS
