"""One agent, one kernel, one API server; steps happen to them, and after each all must be as it should."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from kproxy.model.settings import Settings
from kproxy.state.objects import Kind
from kproxy.values import Family
from namespaces import fresh_namespace, inside
from statemachine.agent import AgentProcess
from statemachine.cluster import NODE_ADDRESSES, Cluster, ObjectKey
from statemachine.conversations import Conversations
from statemachine.filters import Filter, Kernel
from statemachine.flags import Flags
from statemachine.probes import Allowed, Prober, allowed_fates, packets
from statemachine.programs import Fault, Programs
from statemachine.rules import Iptables, Rules
from statemachine.steps import SETTLED_WITHIN_S, Change, Step
from statemachine.tables import Nftables
from stubapi import StubApi
from stubapi.storage import Object
from wire import Wire

_BATCHES_BETWEEN_LOOKS = 5
_TAKEN_IN_S = 0.05
"""The time in which an agent takes in a change that the API server has sent."""
_PAUSE_S = 0.004
_SLOW_RUNS = 20
_CLUSTER_WIDE = frozenset({Kind.NODE, Kind.SERVICE_CIDR})
_LAST_WORDS = 2000
_MOST_WRONG = 4000


class Unsettled(AssertionError):
    """The kernel's rules are not what they should be, and do not become it."""


class AgentDied(AssertionError):
    """The agent ended although nobody asked for it, or met a defect that it caught itself."""


class World:
    """A clean node whose agent follows a cluster that is empty at first; use it in a `with` block.

    Each step is judged: packets while it happens, rules and packets after it, foreign rules always. TCP
    conversations go on through all of it.
    `tally` counts steps, flaws and packets by kind.
    """

    def __init__(self, chosen: Filter, wire: Wire, tally: Counter[str]) -> None:
        self.filter = chosen
        self.cluster = Cluster()
        self.flags = Flags()
        self._wire = wire
        self._tally = tally
        self._prober = Prober(wire, tally)
        self._conversations = Conversations(wire, tally)
        self._allowed: Allowed | None = {}
        self._converses = True
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(inside(self._wire.namespace))
            directory = Path(stack.enter_context(TemporaryDirectory(prefix="kproxy-world-")))
            self.lock = directory / "xtables.lock"
            self._kernel = self._new_kernel(stack)
            self._kernel.clear()
            # not on loopback, where nothing arrives while a rule is missing that keeps it from being masqueraded
            self.api = stack.enter_context(StubApi(NODE_ADDRESSES[0]))
            self._push({}, self.cluster.manifests)
            self.programs = Programs(directory, self.filter)
            kubeconfig = self.api.write_kubeconfig(directory / "kubeconfig")
            log = directory / "agent.log"
            self.agent = AgentProcess(self.filter, kubeconfig, self.programs, self.lock, log)
            stack.callback(self.agent.kill)
            stack.callback(self.programs.well)
            self.agent.start(self.flags)
            self._kernel.remember()
            self._settle(keeps_jumps=False)
            self._require_well_agent()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def take(self, step: Step) -> None:
        """Let a step happen, and judge; AssertionError says what went wrong."""
        self._tally["steps"] += 1
        self._tally[step.kind] += 1
        self._tally.update(
            f"flaw {type(each.flaw).__name__} of a {each.about[0]}" for each in step.changes if each.flaw
        )
        self._converses = not step.halts_conversations
        self._allowed = None if step.spoils_rules else self._allowed_amid(step)
        if step.slowly:
            self.programs.fail(Fault.CRAWLS, _SLOW_RUNS)
        step.play(self)
        self._settle(keeps_jumps=not step.spoils_rules, within_s=step.settles_within_s)
        if step.brings_defects:
            self.agent.excuse()
        self._require_well_agent()
        self.programs.well()

    def make(self, *changes: Change) -> None:
        """Let the API server have these changes, one after the other."""
        for change in changes:
            old = self.cluster
            self.cluster = change.to(old)
            self._push(old.manifests, self.cluster.manifests)

    def start_agent(self) -> None:
        """One that knows no older version of what cannot be used now."""
        self.cluster = self.cluster.as_newly_read
        self.api.close_streams()  # those of the agent before, which may have told it all
        self.agent.start(self.flags)

    def wait(self, at_most_s: float, until: Callable[[], bool] = lambda: False) -> None:
        """Send packets meanwhile."""
        deadline = time.monotonic() + at_most_s
        while time.monotonic() < deadline and not until():
            self._probe()

    def meddle(self, family: Family, text: str) -> None:
        """Somebody else changes rules; foreign ones have to stay as they are afterwards."""
        self._kernel.write(family, text)
        self._kernel.remember()

    def flush(self) -> None:
        """Somebody removes all rules there are, and the counters that they named."""
        self._kernel.flush()
        self._kernel.remember()

    def write_natively(self, text: str) -> None:
        """Somebody else changes tables of iptables-nft, but not by iptables."""
        assert isinstance(self._kernel, Iptables)
        self._kernel.write_natively(text)
        self._kernel.remember()

    def remove_native_rules(self) -> None:
        assert isinstance(self._kernel, Iptables)
        self._kernel.remove_native_rules()
        self._kernel.remember()

    def rules(self, family: Family) -> Rules:
        """The rules in the kernel; in iptables mode alone."""
        assert self.filter.variant
        return Rules.read(self.filter.variant, family)

    def _new_kernel(self, stack: ExitStack) -> Kernel:
        if self.filter.variant:
            return Iptables(self.filter.variant, self.lock)
        return Nftables(stack.enter_context(fresh_namespace()))

    def _settings(self, flags: Flags) -> Settings:
        return flags.settings(nftables=not self.filter.variant)

    def _push(self, old: Mapping[ObjectKey, Object], new: Mapping[ObjectKey, Object]) -> None:
        for kind, name in old.keys() - new.keys():
            self.api.delete(kind, "" if kind in _CLUSTER_WIDE else "default", name)
        for (kind, name), manifest in new.items():
            if manifest != old.get((kind, name)):
                self.api.put(kind, manifest)

    def _allowed_amid(self, step: Step) -> Allowed:
        """The fates that any part of the step's changes allows, in any order: each kind of object has its own watch."""
        clusters = [self.cluster]
        for size in range(1, len(step.changes) + 1):
            for some in combinations(step.changes, size):
                cluster = self.cluster
                for change in some:
                    cluster = change.to(cluster)
                if cluster not in clusters:
                    clusters.append(cluster)
        if step.restarts_agent:
            clusters += [cluster.as_newly_read for cluster in clusters if cluster.refused]
            # no agent waits for ServiceCIDRs, which a cluster may lack
            clusters += [replace(cluster, service_cidrs={}) for cluster in clusters if cluster.service_cidrs]
        all_flags = {self.flags, step.flags or self.flags}
        states = [(cluster, self._settings(flags)) for cluster in clusters for flags in all_flags]
        return allowed_fates(self._wire, packets(clusters), states)

    def _probe(self) -> None:
        if self._allowed is not None:
            self._prober.send_some(self._allowed)
        if self._converses:
            self._conversations.go_on()
        time.sleep(_PAUSE_S)

    def _settle(self, *, keeps_jumps: bool, within_s: float = SETTLED_WITHIN_S) -> None:
        deadline = time.monotonic() + within_s
        while wrong := self._kernel.what_is_wrong(self.cluster, self.flags, keeps_jumps=keeps_jumps):
            if not self.agent.is_up:
                raise AgentDied(self._last_words())
            if time.monotonic() > deadline:
                raise Unsettled(f"{wrong[:_MOST_WRONG]}\n{self._last_words()}")
            for _ in range(_BATCHES_BETWEEN_LOOKS):
                self._probe()
        # what changes no rule now may with the next step, and each kind comes by its own watch
        self.wait(deadline - time.monotonic(), self.api.has_told_all)
        self.wait(_TAKEN_IN_S)
        self._kernel.remember()
        now = (self.cluster, self._settings(self.flags))
        allowed = allowed_fates(self._wire, packets([self.cluster]), [now])
        self._prober.send_all(allowed)
        self._conversations.go_on(all_of_them=True)
        self._conversations.begin(allowed)

    def _require_well_agent(self) -> None:
        if not self.agent.is_well:
            raise AgentDied(self._last_words())

    def _last_words(self) -> str:
        return f"The agent said:\n{self.agent.log[-_LAST_WORDS:]}"
