"""The interface between nftables mode and the kernel: one family's table, written in runs and read by parts.

The agent gets it as an argument. The real one is `kernel.programs.nft.NftTable`; the tests have one in memory.
"""

from collections.abc import Collection, Iterable
from typing import Protocol

from kproxy.kernel.netlink.elements import RawElement
from kproxy.ruleset.nftables.table import Block
from kproxy.transaction.nftables.run import Run
from kproxy.values import Family


class KernelTable(Protocol):
    """The table `kproxy` of one family, in one network namespace. One thread calls.

    Reads that a commit of somebody else disturbs are made again; KernelRefused if that does not end, or if the kernel
    gives no answer.
    """

    @property
    def family(self) -> Family: ...

    @property
    def commits(self) -> int:
        """How many runs and deletions took effect, as far as we heard. A program that dies may leave one uncounted."""

    def apply(self, run: Run) -> None:
        """Let a run take effect at once.

        ProgramFailed if the kernel refuses it, which `is_verdict` tells, and then nothing is changed. DoesNotFit if it
        is more than a socket holds; then nothing is changed either. Any other OperationFailed says nothing about the
        run: it may be in effect. Elements alone that no socket holds may take effect in several commits.
        """

    def check(self, text: str) -> None:
        """Let the kernel look at the text of some runs without acting; ProgramFailed as `apply`. Commits nothing."""

    def delete(self) -> None:
        """Delete the table with everything in it, also if others put it there; nothing happens if there is none.

        KernelRefused, as where a running program owns the table.
        """

    def generation(self) -> int:
        """The commit count of the network namespace: each commit of anybody, in any table, adds one."""

    def blocks(self) -> Collection[Block]:
        """Each chain, set and map with a name in the table; empty if there is no table."""

    def is_dormant(self) -> bool:
        """Whether the table is there, and no packet meets it because somebody put it to sleep."""

    def elements(self, holder: str) -> set[RawElement]:
        """The elements of a set or map; empty if it is not there."""

    def digests(self, chains: Collection[str]) -> dict[str, bytes]:
        """A digest of each of these chains, which changes if somebody writes a rule or changes the hook.

        A rule that is written again, with the same text, has another digest. Empty bytes for a chain that is not there.
        """

    def expressions(self, table: str, chains: Iterable[Block]) -> dict[Block, bytes]:
        """What the rules of each chain do, the same for equal rules; empty bytes for a chain that is not there.

        `table` is ours, or the one that is made for a moment to be compared with ours.
        """

    def forget(self, clients: str, endpoints: Iterable[int]) -> bool:
        """Remove the clients that stay with these endpoints from a set of clients; whether that was a commit.

        False if there is no such client or no such set. KernelRefused if the clients stay.
        """

    def let_packets_pass(self) -> None:
        """Wait until packets that met the table before the last run have left it. Raises nothing that is expected."""
