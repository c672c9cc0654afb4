"""Series that are counted when Prometheus asks: desired rules, packets that the kernel counted, ages of watches."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kproxy.agent.metrics.series import FAMILY, TABLES
from kproxy.ruleset.iptables.desired import DesiredRuleset
from kproxy.values import Family

_PACKETS = {
    "ct_state_invalid_dropped_pkts": (
        "kubeproxy_iptables_ct_state_invalid_dropped_packets",
        "Packets dropped that conntrack calls invalid",
    ),
    "localhost_nps_accepted_pkts": (
        "kubeproxy_iptables_localhost_nodeports_accepted_packets",
        "Packets to node ports of 127.0.0.1",
    ),
}


class DesiredRuleCounts(Collector):
    """The number of rules that the agent wants in the kernel, by table.

    Counted from copies, because the agent's thread changes the rules meanwhile.
    """

    def __init__(self, desired: Mapping[Family, DesiredRuleset]) -> None:
        self._desired = desired

    def collect(self) -> Iterator[Metric]:
        total = GaugeMetricFamily(
            "kubeproxy_sync_proxy_rules_iptables_total", "Rules of ours", labels=(FAMILY, "table")
        )
        for family, desired in self._desired.items():
            counts = _rules(desired)
            for table in TABLES:
                total.add_metric((family, table), counts[table])
        yield total


def _rules(desired: DesiredRuleset) -> Counter[str]:
    counts: Counter[str] = Counter()
    for chain, rules in list(desired.chains.items()):
        counts[chain.table] += rules.count("\n")
    return counts


class PacketCounts(Collector):
    """The kernel's nfacct counters; `read` gives None for a counter that does not exist."""

    def __init__(self, read: Callable[[str], int | None]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        for counter, (name, text) in _PACKETS.items():
            yield CounterMetricFamily(name, text, value=self._read(counter) or 0)


class WatchAges(Collector):
    """The time since the API server last sent anything, by kind."""

    def __init__(self, ages_s: Callable[[], Mapping[str, float]]) -> None:
        self._ages_s = ages_s

    def collect(self) -> Iterator[Metric]:
        ages = GaugeMetricFamily(
            "kproxy_watch_age_seconds", "Since the API server last said anything of a kind", labels=("kind",)
        )
        for kind, age_s in self._ages_s().items():
            ages.add_metric((kind,), age_s)
        yield ages
