"""The rules that one Service adds to the chains of a family: chains of its own, and lines in the dispatch chains."""

from collections.abc import Iterable
from typing import NamedTuple

from kproxy.model.plan import Plans, ServicePortPlan
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.iptables.chains import DISPATCH


class ServiceChains(NamedTuple):
    """The names of a Service's own chains, whose rules are stored elsewhere, and its lines in the dispatch chains.

    `service_ports` and `endpoints` are what it adds to the counts of the family.
    """

    own: tuple[Chain, ...]
    dispatched: dict[Chain, str]
    service_ports: int
    endpoints: int

    def holds(self, chain: str, rule: str) -> bool:
        """Whether the rule of the chain belongs to this Service; in a dispatch chain the text decides."""
        return any(own.name == chain for own in self.own) or any(
            f" {rule}\n" in lines for lines in self.dispatched.values()
        )


class ServiceRules(NamedTuple):
    """The chains of a Service, and the rules of its own chains in their order."""

    chains: ServiceChains
    rules: tuple[str, ...]


NO_CHAINS = ServiceChains((), {}, 0, 0)
NO_RULES = ServiceRules(NO_CHAINS, ())


def service_rules(plans: Plans, compiled: dict[Chain, str]) -> ServiceRules:
    """The rules of a Service that has these plans; `compiled` is their text by chain."""
    own = tuple(chain for chain in compiled if chain not in DISPATCH)
    dispatched = {chain: rules for chain, rules in compiled.items() if chain in DISPATCH}
    return ServiceRules(
        ServiceChains(own, dispatched, len(plans), count_endpoints(plans)),
        tuple(compiled[chain] for chain in own),
    )


def count_endpoints(plans: Iterable[ServicePortPlan]) -> int:
    return sum(plan.endpoint_count for plan in plans)
