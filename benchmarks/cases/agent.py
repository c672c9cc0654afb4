"""One change through a real agent: from the API server's event to the kernel, and the process's resources."""

import time

from benchmarks.agent import NODE, Agent, running_agent
from benchmarks.cluster import Size, entry, service_manifest, slice_manifest
from benchmarks.comparison import Comparison
from benchmarks.ground import directory, empty_kernel
from benchmarks.pace import Pace
from benchmarks.sample import Sample, resident_mb
from benchmarks.subject import Subject
from stubapi import StubApi
from stubapi.manifests import node

_QUIET_S = 0.2
"""The pause between changes, so that no change waits for the agent's shortest interval between syncs."""

_TIMING = ("--iptables-min-sync-period", "50ms", "--iptables-sync-period", "1h")
"""The agent must not repair the rules that the rivals write meanwhile."""

Case = tuple[Comparison, tuple[float, float]]
"""Times each change, and reads the agent's resident memory, now and at most."""


def measure(subject: Subject, size: Size, pace: Pace) -> list[Case]:
    with empty_kernel(), directory() as state, StubApi() as api:
        kubeconfig = api.write_kubeconfig(state / "kubeconfig")
        _fill(api, size)
        flags = [*_TIMING, *subject.agent_flags]
        began = time.perf_counter()
        with running_agent(kubeconfig, state, flags) as agent:
            first = _first_sync("agent: start to first sync", agent, began)
        began = time.perf_counter()
        with running_agent(kubeconfig, state, flags) as agent:
            again = _first_sync("agent: start again to ready", agent, began)
            rules_written = again[0].samples[0].rules_written
            if rules_written and not subject.starts_afresh:
                raise RuntimeError(
                    f"{subject.name}: the agent that started again wrote {rules_written} rules"
                )
            replaced = _endpoints_replaced(subject, size, pace, api, agent)
            return [first, again, (replaced, resident_mb(agent.pid))]


def _fill(api: StubApi, size: Size) -> None:
    api.put("Node", node(NODE))
    for number in range(size.services):
        api.put("Service", service_manifest(number))
        api.put("EndpointSlice", slice_manifest(number, size.endpoints))


def _first_sync(name: str, agent: Agent, began: float) -> Case:
    synced = agent.wait_for_sync("IPv4")
    took_s = time.perf_counter() - began
    agent.wait_for_sync("IPv6")
    sample = Sample(took_s, agent.cpu_s(), rules_written=synced.rules_written)
    return Comparison(name, [sample]), resident_mb(agent.pid)


def _endpoints_replaced(subject: Subject, size: Size, pace: Pace, api: StubApi, agent: Agent) -> Comparison:
    found = Comparison("agent: endpoint replaced")
    baselines = subject.baselines(size)
    api.wait_for_streams("EndpointSlice", 2)
    for run in pace.rounds(found.case):
        number = run * 7 % size.services
        time.sleep(_QUIET_S)
        before, after = entry(number, size.endpoints), entry(number, size.endpoints, generation=run)
        found.samples.append(
            _replaced(subject, api, agent, slice_manifest(number, size.endpoints, generation=run))
        )
        found.run(rival for rival in baselines.of_change([(before, after)]) if rival.name != "usual")
    return found


def _replaced(subject: Subject, api: StubApi, agent: Agent, manifest: dict[str, object]) -> Sample:
    """Seconds until the kernel reports a change, or else until the agent logs its line."""
    told = len([each for each in agent.synced if each.family == "IPv4"])
    changed = subject.watch_kernel()
    cpu_before = agent.cpu_s()
    began = time.perf_counter()
    api.put("EndpointSlice", manifest)
    if changed:
        agent.wait_until(changed)
    took_s = time.perf_counter() - began
    synced = agent.wait_for_sync("IPv4", told + 1)
    took_s = took_s if changed else time.perf_counter() - began
    return Sample(took_s, agent.cpu_s() - cpu_before, rules_written=synced.rules_written)
