"""Rules in the tables of iptables-nft that no iptables wrote and none can read: a firewall's own, written by nft."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from kproxy.values import Family
from statemachine.steps import REPAIRED_WITHIN_S, Step
from statemachine.unreadable import FOREIGN_MARK, KEYWORDS, NATIVE_CHAIN

if TYPE_CHECKING:
    from statemachine.world import World


class Native(StrEnum):
    """Nothing of it changes what becomes of a packet that is sent here."""

    STATE_MAP = "ct state vmap { invalid : continue, established : continue }"
    RESET = "meta mark 0xdead meta l4proto tcp reject with tcp reset"
    COUNT = "meta mark 0xdead ct count over 20 accept"
    QUOTA = "meta mark 0xdead quota over 25 mbytes accept"
    NUMBERS = "meta mark { 0xdead, 0xdeaf } counter return"
    JUMP = f"meta mark 0xdead jump {NATIVE_CHAIN}"


FILTERS_ONLY = frozenset({Native.RESET})


@dataclass(frozen=True, kw_only=True)
class NativeRule(Step):
    """Somebody's firewall has a rule in front of a built-in chain or at its end, which keeps iptables from listing the chain.

    An agent may start on it.
    """

    family: Family
    table: str
    chain: str
    rule: Native
    first: bool = True
    new_agent: bool = False

    @property
    def restarts_agent(self) -> bool:
        return self.new_agent

    @property
    def kind(self) -> str:
        return f"NativeRule {self.rule.name}{' and a new agent' if self.new_agent else ''}"

    def play(self, world: "World") -> None:
        if self.new_agent:
            world.agent.stop()
        world.write_natively(self._text())
        world.make(*self.changes)
        if self.new_agent:
            world.start_agent()

    def _text(self) -> str:
        table = f"{KEYWORDS[self.family]} {self.table}"
        verb = "insert" if self.first else "add"
        text = f"{verb} rule {table} {self.chain} {self.rule} comment {FOREIGN_MARK}\n"
        if self.rule is Native.JUMP:
            text = f"add chain {table} {NATIVE_CHAIN}\n{text}"
        return text


@dataclass(frozen=True, kw_only=True)
class FirewallReloaded(NativeRule):
    """The same, but all that stood in the built-in chain goes, our jumps too."""

    spoils_rules = True

    @property
    def kind(self) -> str:
        return f"FirewallReloaded {self.rule.name}{' and a new agent' if self.new_agent else ''}"

    @property
    def settles_within_s(self) -> float:
        return REPAIRED_WITHIN_S

    def _text(self) -> str:
        return f"flush chain {KEYWORDS[self.family]} {self.table} {self.chain}\n{super()._text()}"


@dataclass(frozen=True, kw_only=True)
class NativeRulesRemoved(Step):
    """All of them, in both families."""

    def play(self, world: "World") -> None:
        world.make(*self.changes)
        world.remove_native_rules()
