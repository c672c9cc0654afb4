"""What syncs count that no sound kernel lets happen."""

from facts import a_view
from kproxy.agent.observers.observer import SyncOutcome
from kproxy.agent.observers.sync_metrics import Metrics
from kproxy.agent.proxy import SyncReport
from kproxy.state.store import Store
from kproxy.values import Family

LEFTOVERS = 'kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total{ip_family="IPv4"}'


def test_sync_that_left_something_behind_is_a_failed_removal_and_no_failed_sync() -> None:
    metrics = Metrics([Family.IPV4], nftables=True)
    for left in (False, True, True):
        report = SyncReport(1, 0, 0, 0, 0.0, 0.0, left_something=left)
        metrics.synced(Store(), set(), {Family.IPV4: SyncOutcome(a_view(), report, verified=False)})
    lines = metrics.page().body.splitlines()
    assert f"{LEFTOVERS} 2.0" in lines
    assert f"{LEFTOVERS.replace('cleanup', 'sync')} 0.0" in lines
