"""The interface of both modes to what the kernel holds of ours: when each method is called, and what it answers."""

from typing import Protocol

from kproxy.observed.states import State


class Observed(Protocol):
    """One family's rules, as the kernel holds them and as far as we know.

    A sync calls `look` before it plans wherever `state` is UNREAD, or `verify` where the sync is to put right what
    others did. Then it plans by `state`, applies, and tells the outcome. One thread calls, in one network namespace.
    """

    @property
    def state(self) -> State:
        """How much is known now. Asks the kernel for no rules, and where there is no kernel to ask, for nothing."""

    def look(self) -> None:
        """Read what the kernel holds, and trust nothing that was known.

        Afterwards the state is ABSENT where the kernel holds nothing of ours, else FOREIGN, SURE or DOUBTED. Changes
        nothing in the kernel. OperationFailed if the kernel cannot be read; the state is UNREAD then.
        """

    def verify(self) -> int:
        """Look for changes by others, where somebody else has committed; how many of our things they changed.

        Called where rules are remembered, that is in the states SURE and DOUBTED. 0 where nobody has committed since
        the last look, without reading any rule, and 0 where nothing of ours is there. What differs is known
        afterwards, and pending. OperationFailed if the kernel cannot be read; the state stays then.
        """

    def forget(self) -> None:
        """Trust nothing that was known: the state is UNREAD. Called after a write of which nobody knows the outcome."""
