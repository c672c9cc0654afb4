"""Measures, in a network namespace of its own, what a change costs against the least it could cost.

The baseline of a change is a bare iptables-restore of the changed Service's own chains: no proxy can do
with less. Both are timed in turn in the same run, since a shared machine's speed drifts.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

from facts import CLUSTER_CIDRS, a_service, a_slice, a_view, an_endpoint
from kproxy.agent.family import FamilyProxy
from kproxy.kernel import process
from kproxy.kernel.iptables import Backend, Iptables
from kproxy.kernel.recorded import Record, RecordedRules
from kproxy.kernel.saved import SavedRules
from kproxy.model.settings import Settings
from kproxy.render.templates import rule_templates
from kproxy.ruleset.chains import Chain
from kproxy.ruleset.desired import Circumstances, DesiredRuleset
from kproxy.state.events import Changed
from kproxy.state.objects import EndpointSlice
from kproxy.state.store import Store
from kproxy.transaction.transaction import Section
from kproxy.values import Address, Family
from namespaces import fresh_namespace, inside

SETTINGS = Settings(cluster_cidrs=CLUSTER_CIDRS)
CIRCUMSTANCES = Circumstances(a_view(), SETTINGS)


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison; times in milliseconds, medians of the runs. `ratio` is the median of the pairs' ratios."""

    name: str
    ours_ms: float
    bare_ms: float
    ratio: float


def slice_of(service: int, endpoints: int, generation: int = 0) -> EndpointSlice:
    """A Service's slice; each generation replaces its first endpoint."""
    first = an_endpoint(f"10.250.{generation >> 8}.{generation & 255}", "node-2")
    high, low = service >> 8, service & 255
    others = [an_endpoint(f"10.{128 + number}.{high}.{low}", "node-2") for number in range(1, endpoints)]
    return a_slice(first, *others, name=f"s{service}-a", service=f"s{service}")


def filled_store(services: int, endpoints: int) -> Store:
    store = Store()
    for number in range(services):
        address = Address(f"10.96.{number >> 8}.{number & 255}")
        store.apply(Changed(a_service(f"s{number}", cluster_ips=(address,))))
        store.apply(Changed(slice_of(number, endpoints)))
    return store


def own_chains(store: Store, service: int) -> dict[Chain, str]:
    """The chains that only this Service has, as the kernel should hold them."""
    alone = Store()
    key = a_service(f"s{service}").key
    alone.apply(Changed(store.services[key]))
    for piece in store.slices_of(key):
        alone.apply(Changed(piece))
    desired = DesiredRuleset(rule_templates())
    desired.update(alone, alone.services, CIRCUMSTANCES)
    return {
        chain: rules
        for chain, rules in desired.chains.items()
        if chain.name.startswith(("KUBE-SVC", "KUBE-SEP"))
    }


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def measure_change(backend: Backend, services: int, endpoints: int, runs: int) -> Case:
    """One endpoint of one Service replaced, from the event to the kernel, against a bare restore."""
    store = filled_store(services, endpoints)
    legacy = backend is Backend.LEGACY
    rules = SavedRules(Family.IPV4) if legacy else RecordedRules(Family.IPV4, Record(None))
    proxy = FamilyProxy(Iptables(backend, Family.IPV4), rules, rule_templates())

    def sync() -> None:
        report = proxy.sync(store, store.take_dirty(), CIRCUMSTANCES, verify=False)
        if report.error:
            raise report.error

    sync()
    ours, bare = [], []
    for run in track(range(1, runs + 1), f"{backend}: endpoint replaced", console=Console(stderr=True)):
        service = run * 7 % services

        def change(service: int = service, run: int = run) -> None:
            store.apply(Changed(slice_of(service, endpoints, run)))
            sync()

        ours.append(timed(change))
        section = str(Section("nat", own_chains(store, service)))
        command = [f"iptables-{backend}-restore", "-w", "5", "--noflush", "--counters"]
        bare.append(timed(lambda: process.run(command, stdin=section)))  # noqa: B023 # called at once
    ratio = statistics.median(a / b for a, b in zip(ours, bare, strict=True))
    name = f"iptables-{backend}, {services} x {endpoints}: endpoint replaced"
    return Case(name, statistics.median(ours), statistics.median(bare), ratio)


def measure_render(services: int, endpoints: int) -> tuple[float, float]:
    """Seconds and MB of a whole `kproxy render` process on a JSON list."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as manifests:
        json.dump(kubernetes_list(services, endpoints), manifests)
        manifests.flush()
        command = [sys.executable, "-m", "kproxy", "render", "-f", manifests.name, "--node", "node-1"]
        took_ms = timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
    return took_ms / 1000, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def kubernetes_list(services: int, endpoints: int) -> dict[str, object]:
    items: list[dict[str, object]] = []
    for number in range(services):
        name = f"s{number}"
        items.append(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {
                    "type": "ClusterIP",
                    "clusterIPs": [f"10.96.{number >> 8}.{number & 255}"],
                    "ports": [{"port": 80, "protocol": "TCP"}],
                },
            }
        )
        items.append(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": f"{name}-a",
                    "namespace": "default",
                    "labels": {"kubernetes.io/service-name": name},
                },
                "addressType": "IPv4",
                "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
                "endpoints": [
                    {
                        "addresses": [endpoint.address],
                        "conditions": {"ready": True, "serving": True, "terminating": False},
                        "nodeName": endpoint.node,
                    }
                    for endpoint in slice_of(number, endpoints).endpoints
                ],
            }
        )
    return {"apiVersion": "v1", "kind": "List", "items": items}


@click.command()
@click.option("--services", default=1000, show_default=True)
@click.option("--endpoints", default=10, show_default=True, help="Endpoints of each Service.")
@click.option("--runs", default=30, show_default=True, help="Changes timed for each backend.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def main(services: int, endpoints: int, runs: int, as_json: bool) -> None:
    """Time a replaced endpoint against a bare restore, on both backends, and a whole render. Needs root."""
    seconds, megabytes = measure_render(services, endpoints)
    cases = []
    for backend in Backend:
        with fresh_namespace() as name, inside(name):
            cases.append(measure_change(backend, services, endpoints, runs))
    if as_json:
        figures = {"render_s": seconds, "render_mb": megabytes, "changes": [asdict(case) for case in cases]}
        click.echo(json.dumps(figures, indent=1))
        return
    table = Table("case", "kproxy, ms", "bare restore, ms", "ratio")
    for case in cases:
        table.add_row(case.name, f"{case.ours_ms:.1f}", f"{case.bare_ms:.1f}", f"{case.ratio:.2f}")
    Console().print(table)
    click.echo(f"kproxy render, {services} x {endpoints}, JSON: {seconds:.2f} s, {megabytes:.0f} MB at most")


if __name__ == "__main__":
    main()
