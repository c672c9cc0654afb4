"""The tables of a service proxy in nftables mode: a table belongs to one program, with all that is in it."""

from kproxy.ruleset.nftables.table import TABLE

KUBE_PROXYS_TABLE = "kube-proxy"
"""kube-proxy's own (pkg/proxy/nftables/proxier.go)."""

REFERENCE_TABLE = f"{TABLE}-model"
"""The table in which kproxy has `nft` write chains for a moment, to compare them with those of its own table."""

TABLES = (KUBE_PROXYS_TABLE, TABLE, REFERENCE_TABLE)
"""All of them, in families ip and ip6, in the order in which they are removed. Every other table is foreign."""
