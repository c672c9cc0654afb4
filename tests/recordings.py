"""What kube-proxy 1.36 programmed for small clusters, and when two dumps are equal."""

from pathlib import Path

from kproxy.ruleset.chains import parse_chains
from kproxy.values import Family

DIRECTORY = Path(__file__).parent / "conformance" / "recorded"
CLUSTERS = sorted(path.parent for path in DIRECTORY.glob("*/*/objects.json"))
DUMP = {Family.IPV4: "iptables.v4", Family.IPV6: "iptables.v6"}

_SERVICES_IN_ANY_ORDER = {"KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-EXTERNAL-SERVICES", "KUBE-PROXY-FIREWALL"}
_LAST = "-j KUBE-NODEPORTS"


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
