"""The chains and lines that one Service adds to the chains of a family."""

from collections.abc import Iterable
from typing import NamedTuple

from kproxy.model.plan import Plans, ServicePortPlan
from kproxy.ruleset.chain import Chain

DISPATCH = frozenset(
    {
        Chain("filter", "KUBE-SERVICES"),
        Chain("filter", "KUBE-EXTERNAL-SERVICES"),
        Chain("filter", "KUBE-PROXY-FIREWALL"),
        Chain("filter", "KUBE-NODEPORTS"),
        Chain("nat", "KUBE-NODEPORTS"),
        Chain("nat", "KUBE-SERVICES"),
    }
)
"""The chains to which every Service may add lines."""


class Contribution(NamedTuple):
    """Chains of its own, whose rules stand elsewhere; lines in the dispatch chains; and what it adds to the numbers."""

    chains: tuple[Chain, ...]
    dispatched: dict[Chain, str]
    service_ports: int
    endpoints: int

    def holds(self, chain: str, rule: str) -> bool:
        """Whether the rule of the chain belongs to this contribution; in a dispatch chain the text decides."""
        return any(own.name == chain for own in self.chains) or any(
            f" {rule}\n" in lines for lines in self.dispatched.values()
        )


class Stock(NamedTuple):
    """A contribution with the rules of its own chains, in their order."""

    contribution: Contribution
    rules: tuple[str, ...]


NO_CONTRIBUTION = Contribution((), {}, 0, 0)
NO_STOCK = Stock(NO_CONTRIBUTION, ())


def stock_of(plans: Plans, compiled: dict[Chain, str]) -> Stock:
    """The stock that these plans add; `compiled` is its text."""
    own = tuple(chain for chain in compiled if chain not in DISPATCH)
    dispatched = {chain: rules for chain, rules in compiled.items() if chain in DISPATCH}
    return Stock(
        Contribution(own, dispatched, len(plans), count_endpoints(plans)),
        tuple(compiled[chain] for chain in own),
    )


def count_endpoints(plans: Iterable[ServicePortPlan]) -> int:
    return sum(plan.endpoint_count for plan in plans)
