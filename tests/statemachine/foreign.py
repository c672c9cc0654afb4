"""Changes that others make to the kernel's rules, their own and ours, as steps."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from kproxy.ruleset.chain import Chain
from kproxy.values import Family
from statemachine.counters import delete_counters
from statemachine.flags import SYNC_PERIOD_S
from statemachine.programs import Fault
from statemachine.rules import restoring
from statemachine.steps import REPAIRED_WITHIN_S, Step
from statemachine.unreadable import FOREIGN_MARK

if TYPE_CHECKING:
    from statemachine.world import World

_FOREIGN = f"-m comment --comment {FOREIGN_MARK} -j RETURN"


@dataclass(frozen=True, kw_only=True)
class ForeignRuleAdded(Step):
    """Before the rule of this number in a built-in chain, or at its end; it may jump to a foreign chain."""

    family: Family
    table: str
    chain: str
    at: int
    target: str = ""

    def play(self, world: "World") -> None:
        world.remove_native_rules()  # no iptables can number the rules of a chain that it cannot read
        rules = world.rules(self.family).chains.get(Chain(self.table, self.chain), "")
        at = min(self.at, rules.count("\n") + 1)
        comment = f"-m comment --comment {FOREIGN_MARK}"
        lines = [f"-I {self.chain} {at} {comment}"]
        if self.target:
            lines[0] += f" -j {self.target}"
            lines = [f":{self.target} - [0:0]", f"-A {self.target} {comment} -j RETURN", *lines]
        world.make(*self.changes)
        world.meddle(self.family, restoring(self.table, *lines))


@dataclass(frozen=True, kw_only=True)
class ForeignRulesRemoved(Step):
    """From the built-in chains; foreign chains stay."""

    family: Family
    table: str

    def play(self, world: "World") -> None:
        world.make(*self.changes)
        world.remove_native_rules()
        foreign = world.rules(self.family).foreign
        rules = [
            rule
            for chain, text in foreign.items()
            if chain.is_built_in and chain.table == self.table
            for rule in text.splitlines()
        ]
        world.meddle(self.family, restoring(self.table, *map(_deletion, rules)))


@dataclass(frozen=True, kw_only=True)
class AllFlushed(Step):
    """`nft flush ruleset`, or its like for iptables-legacy; maybe the counters that our rules name go with them."""

    spoils_rules = True
    counters_too: bool

    @property
    def halts_conversations(self) -> bool:
        return True

    @property
    def settles_within_s(self) -> float:
        return REPAIRED_WITHIN_S

    @property
    def kind(self) -> str:
        return f"AllFlushed{' and counters deleted' if self.counters_too else ''}"

    def play(self, world: "World") -> None:
        world.flush()
        if self.counters_too:
            delete_counters()
        world.make(*self.changes)


class Spoiling(StrEnum):
    """A change that somebody makes to one of our chains or rules."""

    DELETE_JUMP = "delete jump"
    FLUSH_CHAIN = "flush chain"
    DELETE_RULE = "delete rule"
    MOVE_RULE = "move rule to the end"
    ADD_RULE = "add rule"
    REPLACE_RULE = "replace rule"
    DELETE_CHAIN = "delete chain"


class When(StrEnum):
    """While an agent has nothing to do, while none runs, or after a sync's first program and before its second ends."""

    QUIET = "in quiet"
    UNSEEN = "unseen"
    AMID = "amid a sync"


@dataclass(frozen=True, kw_only=True)
class Spoiled(Step):
    """Somebody alters our rules; `which` counts through what there is to choose from."""

    spoils_rules = True
    family: Family
    which: int
    when: When = When.QUIET

    @property
    def settles_within_s(self) -> float:
        return REPAIRED_WITHIN_S if self.when is When.QUIET else super().settles_within_s

    def play(self, world: "World") -> None:
        if self.when is When.UNSEEN:
            world.agent.stop()
        if self.when is When.AMID:
            world.programs.fail(Fault.HANGS, 1, after=1)
            world.make(*self.changes)
            world.wait(2 * SYNC_PERIOD_S, until=lambda: world.programs.befallen > 1)
        world.meddle(self.family, self.harm(world))
        world.make(*self.changes)
        world.programs.well()
        if self.when is When.UNSEEN:
            world.start_agent()

    @abstractmethod
    def harm(self, world: "World") -> str:
        """The text that this other program writes."""


@dataclass(frozen=True, kw_only=True)
class RulesSpoiled(Spoiled):
    table: str
    how: Spoiling

    @property
    def kind(self) -> str:
        return f"RulesSpoiled {self.how}, {self.when}"

    def harm(self, world: "World") -> str:
        world.remove_native_rules()
        ours = world.rules(self.family).ours
        lines = self._lines({chain: rules for chain, rules in ours.items() if chain.table == self.table})
        return restoring(self.table, *lines)

    def _lines(self, ours: Mapping[Chain, str]) -> list[str]:
        chains = [chain for chain in ours if not chain.is_built_in]
        chain = chains[self.which % len(chains)].name
        jumps, rules = (
            [rule for at, text in ours.items() if at.is_built_in is jumps for rule in text.splitlines()]
            for jumps in (True, False)
        )
        jump, rule = jumps[self.which % len(jumps)], rules[self.which % len(rules)]
        at = rule.split()[1]
        number = ours[Chain(self.table, at)].splitlines().index(rule) + 1
        to_it = [each for each in (*jumps, *rules) if each.endswith(f"-j {chain}")]
        return {
            Spoiling.DELETE_JUMP: [_deletion(jump)],
            Spoiling.FLUSH_CHAIN: [f"-F {chain}"],
            Spoiling.DELETE_RULE: [_deletion(rule)],
            Spoiling.MOVE_RULE: [_deletion(rule), rule],
            Spoiling.ADD_RULE: [f"-A {chain} {_FOREIGN}"],
            Spoiling.REPLACE_RULE: [f"-R {at} {number} {_FOREIGN}"],
            Spoiling.DELETE_CHAIN: [*map(_deletion, to_it), f"-F {chain}", f"-X {chain}"],
        }[self.how]


def _deletion(rule: str) -> str:
    return "-D" + rule.removeprefix("-A")
