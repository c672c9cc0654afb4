"""The number of service ports of policy Local that have endpoints, but none on this node."""

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress

from kproxy.agent.observers.observer import Observer, SyncOutcome
from kproxy.errors import InvalidField
from kproxy.model.node import NodeView
from kproxy.model.plan import ServicePortPlan, Unserved, plan_service
from kproxy.state.store import Store
from kproxy.values import Family, NamespacedName

_LOCAL = Unserved.NO_LOCAL_ENDPOINTS


class LocalPolicyGauge(Observer):
    """Counts these service ports after each sync; `tell` gets the family and the number of each policy."""

    def __init__(self, tell: Callable[[Family, str, int], None]) -> None:
        self._tell = tell
        self._nodes: dict[Family, NodeView] = {}
        self._counts: dict[Family, dict[NamespacedName, tuple[int, int]]] = {family: {} for family in Family}

    def synced(
        self, store: Store, dirty: AbstractSet[NamespacedName], outcomes: Mapping[Family, SyncOutcome]
    ) -> None:
        for family, outcome in outcomes.items():
            is_same_node = self._nodes.get(family) == outcome.node
            self._nodes[family] = outcome.node
            self._recount(store, dirty if is_same_node else dirty | store.services.keys(), outcome.node)
            counts = self._counts[family].values()
            self._tell(family, "internal", sum(internal for internal, _ in counts))
            self._tell(family, "external", sum(external for _, external in counts))

    def _recount(self, store: Store, keys: Iterable[NamespacedName], node: NodeView) -> None:
        counts = self._counts[node.family]
        for key in keys:
            service = store.services.get(key)
            counts.pop(key, None)
            if service and (service.internal_policy_local or service.external_policy_local):
                with suppress(InvalidField):  # a Service in quarantine has no rule to be counted
                    counts[key] = _count(plan_service(service, store.slices_of(key), node))


def _count(plans: Iterable[ServicePortPlan]) -> tuple[int, int]:
    plans = tuple(plans)
    return (
        sum(plan.internal_unserved is _LOCAL for plan in plans),
        sum(plan.external_unserved is _LOCAL for plan in plans),
    )
