"""A rule in a form that belongs to no program: its conditions, and its action if they hold."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from fractions import Fraction
from typing import NamedTuple

from kproxy.model.packet import Host
from kproxy.values import Address, Protocol


class Position(NamedTuple):
    """A packet on its way, as a rule meets it. `remembered` are the lists of `recent` that contain its source."""

    protocol: Protocol
    source: Address
    source_port: int
    destination: Address
    port: int
    interface: str
    host: Host
    remembered: frozenset[str]
    mark: int = 0
    redirected: bool = False
    masqueraded: bool = False


Condition = Callable[[Position], bool]


class Effect(Enum):
    """The effect of a rule on a packet for which its conditions hold. `NOTHING` lets it go on to the next rule."""

    NOTHING = auto()
    ACCEPT = auto()
    DROP = auto()
    REJECT = auto()
    RETURN = auto()
    JUMP = auto()
    GO_TO = auto()
    MARK = auto()
    REDIRECT = auto()
    MASQUERADE = auto()


@dataclass(frozen=True, slots=True)
class Action:
    """`chain` is set for JUMP and GO_TO, `address` and `port` (0: as it was) for REDIRECT.

    MARK clears the bits of `mask`, then flips those of `mark`.
    """

    effect: Effect
    chain: str = ""
    address: Address | None = None
    port: int = 0
    mark: int = 0
    mask: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """`odds` is the share of packets taken at random among those for which every condition holds.

    `destination` is the one address that the rule matches, if it matches one; it is not among the
    conditions. `not_understood` is the word whose meaning is not known here.
    """

    table: str
    chain: str
    text: str
    conditions: tuple[Condition, ...]
    action: Action
    odds: Fraction = Fraction(1)
    destination: Address | None = None
    not_understood: str = ""

    def __str__(self) -> str:
        return f"{self.table}: {self.text}"
