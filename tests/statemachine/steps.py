"""What can happen, as values: a list of steps is a scenario."""

import fcntl
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Protocol

from kproxy.ruleset.chains import Chain
from kproxy.values import Family
from statemachine.cluster import Cluster, NodeFacts, Pod, Shape, SliceKey
from statemachine.flags import SYNC_PERIOD_S, Flags
from statemachine.programs import LATE_S, Fault
from statemachine.rules import FOREIGN_MARK

if TYPE_CHECKING:
    from statemachine.world import World


class Change(Protocol):
    """Of one object."""

    def to(self, cluster: Cluster) -> Cluster:
        """The cluster afterwards; the same if there is nothing to change."""


@dataclass(frozen=True, slots=True)
class PutService:
    name: str
    shape: Shape

    def to(self, cluster: Cluster) -> Cluster:
        return cluster.with_service(self.name, self.shape)


@dataclass(frozen=True, slots=True)
class DeleteService:
    name: str

    def to(self, cluster: Cluster) -> Cluster:
        return cluster.without_service(self.name)


@dataclass(frozen=True, slots=True)
class PutSlice:
    key: SliceKey
    pods: tuple[Pod, ...]

    def to(self, cluster: Cluster) -> Cluster:
        return cluster.with_slice(self.key, self.pods)


@dataclass(frozen=True, slots=True)
class DeleteSlice:
    key: SliceKey

    def to(self, cluster: Cluster) -> Cluster:
        return cluster.without_slice(self.key)


@dataclass(frozen=True, slots=True)
class PutNode:
    facts: NodeFacts

    def to(self, cluster: Cluster) -> Cluster:
        return cluster.with_node(self.facts)


@dataclass(frozen=True, kw_only=True)
class Step:
    """Changes of objects, and what else happens meanwhile; here nothing.

    `flags` are those of the agent from then on, None if they stay. `slowly` keeps the kernel for a while in each
    state between two COMMITs, so that packets meet it. `spoils_rules` says that somebody spoils
    our own rules, so that packets go astray until they are repaired.
    """

    changes: tuple[Change, ...] = ()
    flags: Flags | None = None
    slowly: bool = False
    spoils_rules: ClassVar[bool] = False

    @property
    def kind(self) -> str:
        """What it counts as."""
        return type(self).__name__

    def play(self, world: "World") -> None:
        world.make(*self.changes)


@dataclass(frozen=True, kw_only=True)
class AgentStopped(Step):
    """Changes come while no agent runs."""

    def play(self, world: "World") -> None:
        world.agent.stop()
        world.make(*self.changes)
        world.flags = self.flags or world.flags
        world.agent.start(world.flags)


@dataclass(frozen=True, kw_only=True)
class AgentKilled(Step):
    """Between the last change and those before it, maybe while a program that it started has trouble.

    That program goes on, and may do its work when a new agent has done its own.
    """

    after_s: float
    fault: Fault | None = None

    @property
    def kind(self) -> str:
        return f"AgentKilled {self.fault or ''}".strip()

    def play(self, world: "World") -> None:
        if self.fault:
            world.programs.fail(self.fault, 1)
        world.make(*self.changes[:-1])
        world.wait(self.after_s)
        world.agent.kill()
        world.make(*self.changes[-1:])
        world.agent.start(world.flags)
        if self.fault is Fault.WORKS_LATE:
            world.wait(LATE_S)
        world.programs.well()


@dataclass(frozen=True, kw_only=True)
class RestoreFails(Step):
    fault: Fault
    runs: int

    @property
    def kind(self) -> str:
        return f"RestoreFails {self.fault}"

    def play(self, world: "World") -> None:
        world.programs.fail(self.fault, self.runs)
        world.make(*self.changes)
        world.wait(2 * SYNC_PERIOD_S, until=lambda: world.programs.befallen >= self.runs)
        world.programs.well()


@dataclass(frozen=True, kw_only=True)
class LockHeld(Step):
    """Another program has the xtables lock, which iptables-legacy needs and iptables-nft does not know."""

    for_s: float

    def play(self, world: "World") -> None:
        with world.lock.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            world.make(*self.changes)
            world.wait(self.for_s)


class Break(StrEnum):
    """What becomes of the connections to the API server."""

    CUT = "cut"
    EXPIRED = "expired"
    SILENT = "silent"
    REFUSED = "refused"
    AWAY = "away"


@dataclass(frozen=True, kw_only=True)
class WatchBroken(Step):
    how: Break
    for_s: float = 0.2

    @property
    def kind(self) -> str:
        return f"WatchBroken {self.how}"

    def play(self, world: "World") -> None:
        api = world.api
        match self.how:
            case Break.CUT:
                api.close_streams()
            case Break.SILENT:
                api.stall_streams()
            case Break.REFUSED:
                api.fail_next(4, 500)
                api.close_streams()
            case Break.AWAY | Break.EXPIRED:
                api.unreachable()
        world.make(*self.changes)
        world.wait(self.for_s)
        if self.how is Break.EXPIRED:
            api.compact()
        if self.how in (Break.AWAY, Break.EXPIRED):
            api.reachable()


@dataclass(frozen=True, kw_only=True)
class ForeignRuleAdded(Step):
    """Before the rule of this number in a built-in chain, or at its end; it may jump to a foreign chain."""

    family: Family
    table: str
    chain: str
    at: int
    target: str = ""

    def play(self, world: "World") -> None:
        rules = world.rules(self.family).chains.get(Chain(self.table, self.chain), "")
        at = min(self.at, rules.count("\n") + 1)
        comment = f"-m comment --comment {FOREIGN_MARK}"
        lines = [f"-I {self.chain} {at} {comment}"]
        if self.target:
            lines[0] += f" -j {self.target}"
            lines = [f":{self.target} - [0:0]", f"-A {self.target} {comment} -j RETURN", *lines]
        world.make(*self.changes)
        world.meddle(self.family, self.table, *lines)


@dataclass(frozen=True, kw_only=True)
class ForeignRulesRemoved(Step):
    """From the built-in chains; foreign chains stay."""

    family: Family
    table: str

    def play(self, world: "World") -> None:
        world.make(*self.changes)
        foreign = world.rules(self.family).foreign
        rules = [
            rule
            for chain, text in foreign.items()
            if chain.is_built_in and chain.table == self.table
            for rule in text.splitlines()
        ]
        world.meddle(self.family, self.table, *("-D" + rule.removeprefix("-A") for rule in rules))


class Spoiling(StrEnum):
    """What somebody does to one of our chains or rules."""

    DELETE_JUMP = "delete jump"
    FLUSH_CHAIN = "flush chain"
    DELETE_RULE = "delete rule"
    MOVE_RULE = "move rule to the end"
    ADD_RULE = "add rule"
    DELETE_CHAIN = "delete chain"


@dataclass(frozen=True, kw_only=True)
class RulesSpoiled(Step):
    """Somebody alters our rules; `which` counts through what there is to choose from."""

    spoils_rules = True
    family: Family
    table: str
    how: Spoiling
    which: int

    @property
    def kind(self) -> str:
        return f"RulesSpoiled {self.how}"

    def play(self, world: "World") -> None:
        ours = world.rules(self.family).ours
        lines = self._lines({chain: rules for chain, rules in ours.items() if chain.table == self.table})
        world.meddle(self.family, self.table, *lines)
        world.make(*self.changes)

    def _lines(self, ours: Mapping[Chain, str]) -> list[str]:
        chains = [chain for chain in ours if not chain.is_built_in]
        chain = chains[self.which % len(chains)].name
        jumps, rules = (
            [rule for at, text in ours.items() if at.is_built_in is jumps for rule in text.splitlines()]
            for jumps in (True, False)
        )
        jump, rule = jumps[self.which % len(jumps)], rules[self.which % len(rules)]
        match self.how:
            case Spoiling.DELETE_JUMP:
                return [_deletion(jump)]
            case Spoiling.FLUSH_CHAIN:
                return [f"-F {chain}"]
            case Spoiling.DELETE_RULE:
                return [_deletion(rule)]
            case Spoiling.MOVE_RULE:
                return [_deletion(rule), rule]
            case Spoiling.ADD_RULE:
                return [f"-A {chain} -m comment --comment {FOREIGN_MARK} -j RETURN"]
            case Spoiling.DELETE_CHAIN:
                to_it = [each for each in (*jumps, *rules) if each.endswith(f"-j {chain}")]
                return [*map(_deletion, to_it), f"-F {chain}", f"-X {chain}"]


def _deletion(rule: str) -> str:
    return "-D" + rule.removeprefix("-A")
