"""The interface of both modes to our rules in the kernel: when each method is called, and what it answers."""

from typing import Protocol

from kproxy.observed.states import State


class Observed(Protocol):
    """One family's rules, as the kernel holds them and as far as we know.

    A sync calls `look` before it plans if `state` is UNREAD, or `verify` if it has to repair what others did. Then it
    plans by `state`, applies, and tells the outcome. One thread calls, in one network namespace.
    """

    @property
    def state(self) -> State:
        """How much is known now. Asks the kernel for no rules, and where there is no kernel to ask, for nothing."""

    def look(self) -> None:
        """Read what the kernel holds, and trust nothing that was known.

        Afterwards the state is ABSENT if the kernel holds no rules of ours, otherwise FOREIGN, SURE or DOUBTED. Changes
        nothing in the kernel. OperationFailed if the kernel cannot be read; the state is UNREAD then.
        """

    def verify(self) -> int:
        """Look for changes by others, if somebody else has committed; returns how many chains or blocks they changed.

        Called if rules are remembered, that is in the states SURE and DOUBTED. If nobody has committed since the last
        look, the answer is 0 and no rule is read; it is 0 also if no rule of ours is there. The differences are pending
        afterwards. OperationFailed if the kernel cannot be read; the state stays then.
        """

    def forget(self) -> None:
        """Trust nothing that was known: the state is UNREAD. Called after a write of which nobody knows the outcome."""
