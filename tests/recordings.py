"""What kube-proxy 1.36 programmed for small clusters, and when two dumps are equal."""

import json
from pathlib import Path
from typing import Any

from kproxy.ruleset.iptables.chains import parse_chains
from kproxy.values import Family

DIRECTORY = Path(__file__).parent / "conformance" / "recorded"
CLUSTERS = sorted(path.parent for path in DIRECTORY.glob("*/*/objects.json"))
DUMP = {Family.IPV4: "iptables.v4", Family.IPV6: "iptables.v6"}

_SERVICES_IN_ANY_ORDER = {"KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-EXTERNAL-SERVICES", "KUBE-PROXY-FIREWALL"}
_LAST = "-j KUBE-NODEPORTS"

READ_FIRST = {
    ("overlap-0053", "iptables"): "svc-1-42",
    ("overlap-0061", "iptables"): "svc-2-42",
    ("overlap-0070", "nftables"): "svc-1-41",
}
"""Slices that kube-proxy, in one of its modes, read before others of a lower name.

It reads a Service's slices in an order left to chance; in all other recordings the rules are those of slices that
are read in the order of their names, as kproxy reads them.
"""


def objects_of(cluster: Path, mode: str = "iptables") -> list[dict[str, Any]]:
    """The recorded objects, with slices so named that kube-proxy's order of reading was that of their names."""
    objects: list[dict[str, Any]] = json.loads((cluster / "objects.json").read_text())["items"]
    for thing in objects:
        if thing["metadata"]["name"] == READ_FIRST.get((cluster.name, mode)):
            thing["metadata"]["name"] = "0-read-first"
    return objects


def comparable(dump: str) -> dict[str, list[str]]:
    """Each chain's rules, in order but where Services may come in any order; counters and the canary left out."""
    return {
        f"{chain.table} {chain.name}": _sorted(rules)
        if chain.name in _SERVICES_IN_ANY_ORDER
        else rules.splitlines()
        for chain, rules in parse_chains(dump).items()
        if chain.name != "KUBE-PROXY-CANARY"
    }


def _sorted(rules: str) -> list[str]:
    return sorted(rules.splitlines(), key=lambda rule: (rule.endswith(_LAST), rule))
