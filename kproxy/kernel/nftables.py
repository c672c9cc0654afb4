"""Names of nftables chains, straight from the kernel: the listing programs decode every rule."""

from kproxy.errors import ProgramFailed
from kproxy.values import Family

_NFPROTO = {Family.IPV4: 2, Family.IPV6: 10}
"""NFPROTO_IPV4 and NFPROTO_IPV6 of linux/netfilter.h."""


_TRIES = 5


def chain_names(family: Family, table: str) -> list[str]:
    """The names of all chains in one table, read by a netlink dump (NFT_MSG_GETCHAIN).

    A dump that others' changes interrupt is begun again; ProgramFailed if that goes on.
    """
    from pyroute2.netlink import NetlinkError  # pyroute2 costs 0.3 s, spent once at start
    from pyroute2.nftables.main import NFTables

    for _ in range(_TRIES):
        try:
            with NFTables(nfgen_family=_NFPROTO[family]) as netlink:
                return [
                    chain.get_attr("NFTA_CHAIN_NAME")
                    for chain in netlink.get_chains()
                    if chain.get_attr("NFTA_CHAIN_TABLE") == table
                ]
        except NetlinkError as interrupted:
            complaint = str(interrupted)
    raise ProgramFailed("the netlink dump of chains", None, complaint)
