"""Names of nftables chains, straight from the kernel: the listing programs decode every rule."""

from kproxy.values import Family

_NFPROTO = {Family.IPV4: 2, Family.IPV6: 10}
"""NFPROTO_IPV4 and NFPROTO_IPV6 of linux/netfilter.h."""


def chain_names(family: Family, table: str) -> list[str]:
    """The names of all chains in one table, read by one netlink dump (NFT_MSG_GETCHAIN)."""
    from pyroute2.nftables.main import NFTables  # costs 0.3 s, needed once at start

    with NFTables(nfgen_family=_NFPROTO[family]) as netlink:
        return [
            chain.get_attr("NFTA_CHAIN_NAME")
            for chain in netlink.get_chains()
            if chain.get_attr("NFTA_CHAIN_TABLE") == table
        ]
