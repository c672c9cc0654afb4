"""What the kernel holds of one family's nftables table: known by what was applied, looked at when others wrote too."""

import logging
import time
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from kproxy.errors import OperationFailed, ProgramFailed
from kproxy.kernel.netlink.elements import RawElement, raw
from kproxy.kernel.programs.nft import DoesNotFit, NftTable
from kproxy.ruleset.nftables.compiler import remembered
from kproxy.ruleset.nftables.desired import DesiredTable
from kproxy.ruleset.nftables.ownership import REFERENCE_TABLE
from kproxy.ruleset.nftables.table import TABLE, Block, Blocks, Role
from kproxy.transaction.nftables.endpoint_chains import endpoint_chains, reference_table
from kproxy.transaction.nftables.run import Run
from kproxy.transaction.nftables.transaction import Transaction

_log = logging.getLogger(__name__)

_FEWEST_TO_CHECK = 2
"""One run takes effect at once or not at all, so it needs no check before."""

_PAUSES_S = (0.0, 0.1, 0.4, 1.0)
"""What the kernel takes for busy, it is asked to remove again after these."""


class Commits:
    """How many of this network namespace's commits are surely ours, be it of one family or the other."""

    def __init__(self) -> None:
        self.count = 0


class AppliedTable:
    """Whether the kernel still holds what was last applied: `in_place`.

    The kernel counts transactions, whoever makes them. As long as the count says that all were `ours`, nothing is
    read; else our table is, and only ours.
    """

    def __init__(self, kernel: NftTable, ours: Commits) -> None:
        self.kernel = kernel
        self.in_place = False
        self._ours = ours
        self._seen = -1
        self._found_at = -1
        self._digests: dict[str, bytes] = {}
        """Of every chain in the table."""
        self._unsure: set[str] = set()
        """Chains that somebody else may have changed before we read what the kernel made of ours."""

    def found(self) -> set[Block]:
        """What is in the table now, be it ours or not: what is to be written in its place follows from it."""
        self._found_at = self._count_others()
        return set(self.kernel.blocks())

    def remove(self) -> None:
        """Delete the table with all that is in it, also if others put it there."""
        self.in_place = False
        before = self.kernel.commits
        self.kernel.delete()
        self._ours.count += self.kernel.commits - before
        self._found_at = self._count_others()

    def apply(self, transaction: Transaction) -> None:
        """Run it; afterwards the table is in place. What is refused at once changed nothing; later, it is in place no more."""
        if self.in_place:
            self._check(transaction)
        by_others = self._count_others() if self.in_place else self._found_at
        is_known = by_others == self._seen or not self.in_place
        was_in_place, self.in_place = self.in_place, False
        is_clean = True
        for number, run in enumerate(transaction.runs):
            if run.waits_for_packets:
                self.kernel.let_packets_pass()
            try:
                if run.may_be_busy:
                    is_clean = self._removes(run)
                else:
                    self._run_or_divide(run)
            except OperationFailed as failed:
                self.in_place = was_in_place and not number and failed.is_verdict
                raise
        self._forget(transaction.deleted)
        if not was_in_place:
            self._digests.clear()
            self._unsure.clear()
        for name in transaction.deleted:
            self._digests.pop(name, None)
            self._unsure.discard(name)
        self._digests |= self.kernel.digests(transaction.written)
        if self._count_others() != by_others:
            self._unsure.update(transaction.written)
        else:
            self._unsure.difference_update(transaction.written)
            self._seen = by_others if is_known else self._seen
        self.in_place = is_clean

    def _check(self, transaction: Transaction) -> None:
        """Nothing may be done by half: what may be refused is tried first, if it is more than one run.

        An nft that crashes, or whose socket is too small, does not hinder a change that needs no nft.
        """
        runs = [run for run in transaction.runs if run.may_blame_a_service]
        if len(runs) < _FEWEST_TO_CHECK:
            return
        try:
            self.kernel.check(transaction.refusable)
        except ProgramFailed as failed:
            if failed.is_verdict or not all(run.commands for run in runs):
                raise

    def _run_or_divide(self, run: Run) -> None:
        """In as few runs as the sockets of `nft` take; a run without parts in one."""
        try:
            self._run(run)
        except DoesNotFit:
            halves = [*run.divided()]
            if not halves:
                raise
            for half in halves:
                self._run_or_divide(half)

    def _run(self, run: Run) -> None:
        before = self.kernel.commits
        try:
            self.kernel.apply(run)
        finally:
            self._ours.count += self.kernel.commits - before

    def _count_others(self) -> int:
        return self.kernel.generation() - self._ours.count

    def _removes(self, run: Run) -> bool:
        """Whether that is gone which nothing leads to any more, as far as the kernel has noticed."""
        for pause_s in _PAUSES_S:
            time.sleep(pause_s)
            try:
                self._run_or_divide(run)
            except OperationFailed as failed:
                refused = failed
                if "busy" not in failed.said:
                    break
            else:
                return True
        _log.warning("%s: our table is written anew with the next sync: %s", self.kernel.family, refused)
        return False

    def _forget(self, chains: Iterable[str]) -> None:
        """Let clients not go back when an endpoint does that they stayed with: they have another one by then."""
        for clients, endpoints in remembered(chains).items():
            try:
                self._ours.count += self.kernel.forget(clients, endpoints)
            except OperationFailed as failed:
                _log.warning("%s: clients may go back to endpoints that went: %s", self.kernel.family, failed)

    @property
    def is_uncertain(self) -> bool:
        """Whether somebody else may have changed the table since it was last looked at."""
        return self._count_others() != self._seen

    def look(self, applied: DesiredTable) -> int:
        """How many chains, sets and maps somebody else changed; `applied` is what should be in the table.

        Chains of which that cannot be told become changes of `applied`, though they should be what they were; those of
        `picks`, for which it cannot be, are compared with what nft makes of them.
        """
        by_others = self._count_others()
        if not self.in_place or by_others == self._seen:
            return 0
        altered = self._altered(applied)
        if altered:
            _log.warning(
                "%s: somebody else changed our table (%s); it is written anew",
                self.kernel.family,
                ", ".join(altered[:5]),
            )
            self.in_place = False
        else:
            self._seen = by_others
            applied.doubt(self._unsure)
        return len(altered)

    def intact(self, chains: AbstractSet[Block], blocks: Blocks) -> set[Block]:
        """Those of these `picks` that the kernel has as nft makes them of the blocks."""
        if not chains:
            return set()
        made, gone = reference_table(self.kernel.family, chains, blocks)
        try:
            self._run(made)
            wanted = self.kernel.expressions(REFERENCE_TABLE, chains)
            self._run(gone)
        except OperationFailed:
            return set()
        held = self.kernel.expressions(TABLE, chains)
        return {chain for chain in chains if held[chain] == wanted[chain]}

    def _altered(self, applied: DesiredTable) -> list[str]:
        found = set(self.kernel.blocks())
        different = found ^ applied.blocks.keys()
        held = self.kernel.digests(self._digests.keys() - self._unsure)
        altered = {Block("chain", name) for name, digest in held.items() if digest != self._digests[name]}
        doubtful = {chain for chain in endpoint_chains(applied.blocks) if chain.name in self._unsure}
        self._digests |= self.kernel.digests([chain.name for chain in doubtful])
        intact = self.intact(doubtful, applied.blocks)
        self._unsure.difference_update(chain.name for chain in intact)
        altered |= doubtful - intact
        wanted: dict[str, set[RawElement]] = {}
        for element in applied.elements():
            wanted.setdefault(element.holder, set()).add(raw(element))
        for block in found:
            body = applied.blocks.get(block)
            is_told = not block.is_chain and body is not None and body.role is not Role.CLIENTS
            if is_told and self.kernel.elements(block.name) != wanted.get(block.name, set()):
                altered.add(block)
        asleep = [f"table {TABLE}, which is dormant"] if self.kernel.is_dormant() else []
        return [*asleep, *(f"{block.kind} {block.name}" for block in sorted(different | altered))]
