"""How much is known of the rules of ours that the kernel holds: five states, and the way from one to the other.

The kernel is not read before each change, because reading costs more than the change. So the agent remembers the rules
that it applied, and this table says how far it may trust its memory:

- UNREAD: nobody has looked, or a program died in the middle of a write. The next sync looks.
- ABSENT: the kernel holds no rule of ours, and no packet meets a table that is half written.
- FOREIGN: the kernel holds rules in our place that are not the ones that we applied. The next sync replaces them.
- SURE: the kernel holds the rules that were applied last.
- DOUBTED: it held them, and somebody else has committed since. The next sync that verifies looks.
"""

from collections.abc import Mapping
from enum import StrEnum, auto


class State(StrEnum):
    """How much is known of one family's rules."""

    UNREAD = auto()
    ABSENT = auto()
    FOREIGN = auto()
    SURE = auto()
    DOUBTED = auto()


class Event(StrEnum):
    """An apply ended, somebody else committed, or somebody looked at the kernel."""

    APPLIED = auto()
    """The whole change is in effect."""
    REFUSED = auto()
    """The kernel took nothing of the change."""
    FAILED_MIDWAY = auto()
    """A part of the change may be in effect, and nobody can tell which."""
    OTHERS_COMMITTED = auto()
    """Somebody else changed some table of this network namespace, which may be ours."""
    VERIFIED = auto()
    """The kernel was read, and holds the rules that were applied last."""
    FOUND_CHANGED = auto()
    """The kernel was read, and holds other rules in our place."""
    FOUND_NOTHING = auto()
    """The kernel was read, and holds nothing of ours."""


_READ = {
    Event.VERIFIED: State.SURE,
    Event.FOUND_CHANGED: State.FOREIGN,
    Event.FOUND_NOTHING: State.ABSENT,
}
"""A look at the kernel tells the same, however little was known before."""

TRANSITIONS: Mapping[State, Mapping[Event, State]] = {
    State.UNREAD: {
        **_READ,
        Event.OTHERS_COMMITTED: State.UNREAD,
    },
    State.ABSENT: {
        **_READ,
        Event.APPLIED: State.SURE,
        Event.REFUSED: State.ABSENT,
        Event.FAILED_MIDWAY: State.UNREAD,
        Event.OTHERS_COMMITTED: State.UNREAD,
    },
    State.FOREIGN: {
        **_READ,
        Event.APPLIED: State.SURE,
        Event.REFUSED: State.FOREIGN,
        Event.FAILED_MIDWAY: State.UNREAD,
        Event.OTHERS_COMMITTED: State.UNREAD,
    },
    State.SURE: {
        **_READ,
        Event.APPLIED: State.SURE,
        Event.REFUSED: State.SURE,
        Event.FAILED_MIDWAY: State.UNREAD,
        Event.OTHERS_COMMITTED: State.DOUBTED,
    },
    State.DOUBTED: {
        **_READ,
        Event.APPLIED: State.DOUBTED,
        Event.REFUSED: State.FOREIGN,
        Event.FAILED_MIDWAY: State.UNREAD,
        Event.OTHERS_COMMITTED: State.DOUBTED,
    },
}
"""A pair that is missing cannot happen: nobody applies a change to rules that nobody has looked at."""


def after(state: State, event: Event) -> State:
    """The state after the event; KeyError for a pair that cannot happen, which is a defect of the caller."""
    return TRANSITIONS[state][event]
