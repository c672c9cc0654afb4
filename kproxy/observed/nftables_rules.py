"""The rules of each chain that we wrote, as the kernel holds them: remembered as digests, and compared with them."""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from kproxy.errors import OperationFailed
from kproxy.observed.nftables_kernel import KernelTable
from kproxy.ruleset.nftables.ownership import REFERENCE_TABLE
from kproxy.ruleset.nftables.table import TABLE, Block, Blocks
from kproxy.transaction.nftables.endpoint_chains import endpoint_chains, reference_table


class RememberedRules:
    """A digest of each chain of ours, read after it was written.

    A chain is `unsure` if somebody else committed between the write and the read: then the digest may be of rules that
    are not ours.
    """

    def __init__(self, kernel: KernelTable) -> None:
        self._kernel = kernel
        self._digests: dict[str, bytes] = {}
        self.unsure: set[str] = set()

    def forget(self) -> None:
        """Forget all digests: another table takes the place of the known one."""
        self._digests.clear()
        self.unsure.clear()

    def remember(self, written: Iterable[str], deleted: Iterable[str]) -> None:
        """Read the chains that were just written, and drop those that were deleted; OperationFailed as any read."""
        for name in deleted:
            self._digests.pop(name, None)
            self.unsure.discard(name)
        self._digests |= self._kernel.digests(tuple(written))

    def altered(self, blocks: Blocks) -> set[Block]:
        """The chains with other rules than we wrote, given the blocks that the kernel should hold.

        Unsure chains are not among them, except endpoint chains. An endpoint chain cannot be written again like others,
        so it is compared with the rules that nft makes of its block, and is sure if they are equal.
        """
        held = self._kernel.digests(self._digests.keys() - self.unsure)
        altered = {Block("chain", name) for name, digest in held.items() if digest != self._digests[name]}
        doubtful = {chain for chain in endpoint_chains(blocks) if chain.name in self.unsure}
        self._digests |= self._kernel.digests([chain.name for chain in doubtful])
        intact = intact_chains(self._kernel, doubtful, blocks)
        self.unsure.difference_update(chain.name for chain in intact)
        return altered | (doubtful - intact)


def intact_chains(kernel: KernelTable, chains: AbstractSet[Block], blocks: Blocks) -> set[Block]:
    """The endpoint chains among these whose rules in the kernel are what nft makes of the blocks.

    To compare them, the chains are made for a moment in a table that no packet meets; this is two commits. If it fails,
    no chain counts as intact.
    """
    if not chains:
        return set()
    made, gone = reference_table(kernel.family, chains, blocks)
    try:
        kernel.apply(made)
        wanted = kernel.expressions(REFERENCE_TABLE, chains)
        kernel.apply(gone)
    except OperationFailed:
        return set()
    held = kernel.expressions(TABLE, chains)
    return {chain for chain in chains if held[chain] == wanted[chain]}
