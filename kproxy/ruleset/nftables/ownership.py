"""The owner of each table of nftables: a table belongs to one program, with all that is in it."""

from kproxy.ruleset.nftables.table import TABLE
from kproxy.ruleset.owner import Owner

_KUBE_PROXYS_TABLE = "kube-proxy"
REFERENCE_TABLE = f"{TABLE}-model"
"""The table in which kproxy has `nft` write chains for a moment, to compare them with those of its own table."""

KPROXYS_TABLES = (TABLE, REFERENCE_TABLE)


def owner_of(table: str) -> Owner:
    """The owner of a table of family ip or ip6.

    The tables of iptables-nft, as `filter` and `nat`, are foreign as a whole: their chains have owners of their own
    (`kproxy.ruleset.iptables.ownership`).
    """
    return Owner.NFTABLES if table in {_KUBE_PROXYS_TABLE, *KPROXYS_TABLES} else Owner.FOREIGN
