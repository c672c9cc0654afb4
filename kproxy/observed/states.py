"""How much is known of our rules in the kernel: five states, and the transitions between them.

The kernel is not read before each change, because reading costs more than the change. So the agent remembers the rules
that it applied, and this table says how far it may trust its memory:

- UNREAD: nobody has looked, or the memory is lost. The next sync looks.
- ABSENT: the kernel holds no rule of ours. No packet meets a rule of ours before the change is complete, so the change
  may be written in any order.
- FOREIGN: the kernel holds rules in our place that are not the ones that belong there: others wrote them, or the first
  change of all took effect in part. The next change replaces them.
- SURE: the kernel holds the rules that were applied last.
- DOUBTED: it held them, and somebody else has committed since. The next sync that verifies looks, and so does one whose
  change is refused: the reason may be what somebody else did.

Both modes use the table: iptables mode for the chains named KUBE-..., nftables mode for the table kproxy. The states do
not say which rules the kernel holds, nor which are to be written: in iptables mode a delta knows.
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


REMEMBERED = frozenset({State.SURE, State.DOUBTED})
"""The kernel was read once, and everything since then is known from our own commits."""


class Event(StrEnum):
    """An apply ended, somebody else committed, or somebody looked at the kernel."""

    APPLIED = auto()
    """The whole change is in effect."""
    APPLIED_IN_PART = auto()
    """The kernel refused a step of the change. The steps before it are in effect, and they are known."""
    REFUSED = auto()
    """The kernel took nothing of the change."""
    FAILED_MIDWAY = auto()
    """A part of the change may be in effect, and nobody can tell which."""
    OTHERS_COMMITTED = auto()
    """Somebody else changed some table of this network namespace, which may be ours."""
    DISTRUSTED = auto()
    """There is a sign that our rules were changed: for example, jumps to them are gone. Nothing has been read yet."""
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
"""The state after a read of the kernel, whatever the state before."""

_LOST = {
    Event.FAILED_MIDWAY: State.UNREAD,
    Event.DISTRUSTED: State.UNREAD,
}
"""After these events the memory of the rules counts no longer."""

TRANSITIONS: Mapping[State, Mapping[Event, State]] = {
    State.UNREAD: {
        **_READ,
        Event.DISTRUSTED: State.UNREAD,
        Event.OTHERS_COMMITTED: State.UNREAD,
    },
    State.ABSENT: {
        **_READ,
        **_LOST,
        Event.APPLIED: State.SURE,
        Event.APPLIED_IN_PART: State.FOREIGN,
        Event.REFUSED: State.ABSENT,
        Event.OTHERS_COMMITTED: State.UNREAD,
    },
    State.FOREIGN: {
        **_READ,
        **_LOST,
        Event.APPLIED: State.SURE,
        Event.APPLIED_IN_PART: State.FOREIGN,
        Event.REFUSED: State.FOREIGN,
        Event.OTHERS_COMMITTED: State.UNREAD,
    },
    State.SURE: {
        **_READ,
        **_LOST,
        Event.APPLIED: State.SURE,
        Event.APPLIED_IN_PART: State.SURE,
        Event.REFUSED: State.SURE,
        Event.OTHERS_COMMITTED: State.DOUBTED,
    },
    State.DOUBTED: {
        **_READ,
        **_LOST,
        Event.APPLIED: State.DOUBTED,
        Event.APPLIED_IN_PART: State.DOUBTED,
        Event.REFUSED: State.DOUBTED,
        Event.OTHERS_COMMITTED: State.DOUBTED,
    },
}
"""A pair that is missing cannot happen: nobody applies a change to rules that nobody has looked at."""


def after(state: State, event: Event) -> State:
    """The state after the event; KeyError for a pair that cannot happen, which is a defect of the caller."""
    return TRANSITIONS[state][event]


class Knowledge:
    """The state of one family's rules in one process; it begins UNREAD."""

    def __init__(self) -> None:
        self.state = State.UNREAD

    def note(self, event: Event) -> None:
        """Go on to the next state; KeyError as `after`, and the state stays then."""
        self.state = after(self.state, event)


class Evidence(StrEnum):
    """The result of comparing one chain with the record of it.

    Each of the three that are not EQUAL has another consequence.
    """

    EQUAL = auto()
    """The kernel holds the bytes that were recorded."""
    NEVER_RECORDED = auto()
    """Nothing is recorded of this chain, which may be ours. Its rules are read, and count as unchanged until then."""
    DOUBTED = auto()
    """No bytes are recorded, or none can be read now. The rules are read, and count as unchanged until then."""
    CHANGED = auto()
    """The kernel holds other bytes than were recorded, so somebody else wrote them. They are read, or replaced."""


def weigh(recorded: bytes | None, held: bytes) -> Evidence:
    """Compare the recorded digest of a chain, None for a chain without one, with the digest of the kernel's bytes.

    An empty digest stands for bytes that are not known.
    """
    if recorded is None:
        return Evidence.NEVER_RECORDED
    if not recorded or not held:
        return Evidence.DOUBTED
    return Evidence.EQUAL if recorded == held else Evidence.CHANGED
