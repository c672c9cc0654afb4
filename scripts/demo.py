"""Shows the main job: an agent on a node, Services that answer, and a rolling update that no client notices.

Everything happens in network namespaces that are removed at the end, also on Ctrl-C.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from kproxy.kernel.programs.iptables import Variant
from kproxy.ruleset.iptables import names
from kproxy.values import NamespacedName, Protocol, ServicePortName
from lab import CLIENT, NODE, Lab
from lab.cluster import RunningAgent, agent, eventually
from lab.topology import CLIENT_V4, NODE_V4, PODS, Outcome

EXAMPLES = Path(__file__).parents[1] / "examples" / "demo"
WEB = ServicePortName(NamespacedName("demo", "web"), "http", Protocol.TCP)
CLUSTER_IP, CART_IP, EMPTY_IP, VIP, NODE_PORT = "10.96.0.10", "10.96.0.11", "10.96.0.12", "192.0.2.10", 30080
REPLACEMENTS = (("pod-1", "pod-4"), ("pod-2", "far-3"), ("far-1", "pod-3"))
GRACE_S = 0.5

console = Console(highlight=False, soft_wrap=True)


class Unexpected(Exception):  # the demo prints it in its own words
    """Something that the demo promised did not happen."""


def expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Unexpected(otherwise)


def heading(text: str) -> None:
    console.print(f"\n[bold]{text}[/bold]")


def table_of(counts: Counter[str], expected: float) -> Table:
    table = Table("answered by", "requests", "share", "expected", box=None)
    total = sum(counts.values())
    for pod in sorted(counts):
        table.add_row(pod, str(counts[pod]), f"{counts[pod] / total:.1%}", f"{expected:.1%}")
    return table


def answers(outcomes: list[Outcome]) -> Counter[str]:
    return Counter(outcome if isinstance(outcome, str) else outcome[0] for outcome in outcomes)


def show_services() -> None:
    heading("The Services, in examples/demo")
    table = Table("Service", "type", "address", "port", "node port", "session affinity", box=None)
    table.add_row("demo/web", "LoadBalancer", f"{CLUSTER_IP}, {VIP}", "80", str(NODE_PORT), "")
    table.add_row("demo/cart", "ClusterIP", CART_IP, "80", "", "10 minutes")
    table.add_row("demo/empty", "ClusterIP", EMPTY_IP, "80", "", "")
    console.print(table)


def show_cluster_ip(lab: Lab) -> None:
    heading(f"1,500 requests from a pod to the cluster IP, http://{CLUSTER_IP}/")
    counts = answers(lab.ask("pod-3", CLUSTER_IP, 80, count=1500))
    console.print(table_of(counts, 1 / 3))
    expect(
        set(counts) == {"pod-1", "pod-2", "far-1"},
        f"the pods that answered are not the three expected ones: {dict(counts)}",
    )


def show_outside(lab: Lab) -> None:
    heading("From outside the cluster")
    for what, address, port in (("node port", NODE_V4, NODE_PORT), ("load balancer", VIP, 80)):
        outcomes = lab.ask(CLIENT, address, port, count=300)
        sees = {outcome[1] for outcome in outcomes if not isinstance(outcome, str)}
        console.print(f"{what} {address}:{port}, 300 requests: {dict(sorted(answers(outcomes).items()))}")
        expect(
            CLIENT_V4 not in sees and len(answers(outcomes)) == 3,
            f"{what}: {answers(outcomes)}, seen as {sees}",
        )
    cart = answers(lab.ask("pod-1", CART_IP, 80, count=100))
    console.print(f"session affinity, {CART_IP}:80, 100 requests of one client: {dict(cart)}")
    expect(len(cart) == 1, "one client was sent to two pods")
    empty = answers(lab.ask("pod-1", EMPTY_IP, 80))
    console.print(f"no endpoints, {EMPTY_IP}:80: {dict(empty)}")
    expect(set(empty) == {"refused"}, "a Service without endpoints did not refuse")


def show_rolling_update(lab: Lab, manifests: Path, running: RunningAgent) -> None:
    heading(
        "A rolling update: each of the three pods is replaced and ended while a client sends requests without a pause"
    )
    gathered: list[Outcome] = []
    stop = threading.Event()

    def keep_asking() -> None:
        while not stop.is_set() and len(gathered) < 100_000:
            gathered.extend(lab.ask("far-2", CLUSTER_IP, 80, count=10))

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        for old, new in REPLACEMENTS:
            replace_endpoint(manifests / "web.yaml", PODS[old][0], PODS[new][0])
            eventually(is_asked(lab, PODS[new][0]), f"{new} in the rules")
            time.sleep(GRACE_S)
            lab.workers[old].stop()
    finally:
        stop.set()
        asking.join()
    failed = [outcome for outcome in gathered if isinstance(outcome, str)]
    console.print(
        f"{len(gathered)} requests, [bold]{len(failed)} failed[/bold]; answered by {dict(sorted(answers(gathered).items()))}"
    )
    console.print("the agent's line for each step:")
    for line in [line for line in running.log.read_text().splitlines() if "IPv4: synced" in line][
        -len(REPLACEMENTS) :
    ]:
        console.print(f"  {line.partition('kproxy.agent.loop: ')[2]}")
    expect(not failed, f"{len(failed)} requests failed: {Counter(map(str, failed))}")
    expect(len(gathered) > 300, "the client sent too few requests")


def is_asked(lab: Lab, address: str) -> Callable[[], bool]:
    return lambda: address in chain(lab, names.CLUSTER_POLICY)


def replace_endpoint(file: Path, old: str, new: str) -> None:
    unfinished = file.with_suffix(".tmp")
    unfinished.write_text(file.read_text().replace(f"[{old}]", f"[{new}]"))
    unfinished.replace(file)


def chain(lab: Lab, prefix: str) -> str:
    name = prefix + names.service_port_hash(WEB)
    command = lab.program(NODE, "iptables-nft", "-t", "nat", "-S", name)
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def show_rules(lab: Lab) -> None:
    heading("The rules of demo/web at the end: the endpoints, and the probability of each")
    rules = chain(lab, names.CLUSTER_POLICY)
    first_backend = rules.splitlines()[-1].rpartition(" ")[2]
    command = lab.program(NODE, "iptables-nft", "-t", "nat", "-S", first_backend)
    backend = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    console.print(rules + backend, markup=False)
    expect("--to-destination" in backend, "the last backend's chain rewrites nothing")


@click.command()
def main() -> None:
    """Show kproxy at work in network namespaces; exit code 0 if everything was as expected."""
    if os.geteuid() != 0:
        console.print("the demo makes network namespaces, so it needs root: sudo scripts/demo")
        sys.exit(3)
    began = time.monotonic()
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell starts background jobs with SIGINT ignored
    try:
        with tempfile.TemporaryDirectory(prefix="kproxy-demo-") as directory, Lab() as lab:
            manifests = Path(directory, "manifests")
            shutil.copytree(EXAMPLES, manifests)
            console.print(
                "A node with three pods, two pods on another node, and a client outside, each a network namespace.\n"
                f"On the node: kproxy agent --manifests {EXAMPLES.relative_to(EXAMPLES.parents[1])}"
            )
            with agent(lab, manifests, Variant.NFT, Path(directory, "agent.log")) as running:
                show_services()
                show_cluster_ip(lab)
                show_outside(lab)
                show_rolling_update(lab, manifests, running)
                show_rules(lab)
    except Unexpected as failure:
        console.print(f"[bold]This is not as it should be:[/bold] {failure}")
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("\nstopped; everything is removed")
        sys.exit(130)
    console.print(
        f"[bold]Everything is as it should be[/bold], in {time.monotonic() - began:.0f} s; everything is removed."
    )


if __name__ == "__main__":
    main(standalone_mode=False)
