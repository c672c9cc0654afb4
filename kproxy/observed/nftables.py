"""One family's nftables table in the kernel: known from our commits, or read if others committed too."""

import logging
import time
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager

from kproxy.errors import OperationFailed
from kproxy.kernel.netlink.elements import RawElement, raw
from kproxy.kernel.programs.nft import DoesNotFit
from kproxy.observed.nftables_kernel import KernelTable
from kproxy.observed.nftables_rules import RememberedRules, intact_chains
from kproxy.observed.states import REMEMBERED, Event, Knowledge, State
from kproxy.ruleset.nftables.compiler import remembered
from kproxy.ruleset.nftables.table import TABLE, Block, Blocks, Role
from kproxy.transaction.nftables.endpoint_chains import endpoint_chains
from kproxy.transaction.nftables.run import Run
from kproxy.transaction.nftables.table_delta import TableDelta
from kproxy.transaction.nftables.transaction import Transaction

_log = logging.getLogger(__name__)

_FEWEST_TO_CHECK = 2
"""One run takes effect at once or not at all, so it needs no check before."""

_PAUSES_S = (0.0, 0.1, 0.4, 1.0)
"""Pauses before each new try to remove a chain that the kernel calls busy."""

_MOST_NAMED = 5
"""The number of altered blocks that the log names; somebody who flushes a large table alters thousands."""


class Commits:
    """The number of commits of this network namespace that are surely ours; both families share it."""

    def __init__(self) -> None:
        self.count = 0


class ObservedTable:
    """Keeps the observed side of a delta true; see `Observed` for when to look.

    The kernel counts the commits of all programs. As long as all of them were ours, the table holds what was
    applied, and nothing is read. Otherwise our table is read, and no other one.
    """

    def __init__(self, kernel: KernelTable, ours: Commits, delta: TableDelta) -> None:
        self._kernel = kernel
        self._ours = ours
        self._knowledge = Knowledge()
        self._others = -1
        """How many commits of others there were when we last listened."""
        self._rules = RememberedRules(kernel)
        self.delta = delta
        self.found: AbstractSet[Block] = frozenset()
        """The blocks in the table, where the last look ended in the state ABSENT or FOREIGN."""
        self.drifted = 0
        """How many blocks others were found to have changed, in this sync."""

    @property
    def state(self) -> State:
        return self._knowledge.state

    # reading

    def begin_sync(self) -> None:
        """Count drift from 0."""
        self.drifted = 0

    def listen(self) -> None:
        """Ask the kernel for its commit count, and note whether somebody else has committed since the last time.

        Called before each plan. OperationFailed if the kernel gives no answer; the state stays then.
        """
        others = self._count_others()
        if others != self._others:
            self._knowledge.note(Event.OTHERS_COMMITTED)
        self._others = others

    def look(self) -> None:
        """See `Observed`.

        Finds the blocks in the table. Their rules are not read, because all will be written again.
        """
        self.forget()
        self._others = self._count_others()
        self.found = frozenset(self._kernel.blocks())
        self._knowledge.note(Event.FOUND_CHANGED if self.found else Event.FOUND_NOTHING)

    def verify(self) -> int:
        """See `Observed`. Chains that others may have changed before we first read them become pending."""
        self.listen()
        if self.state is not State.DOUBTED:
            return 0
        with self._counting():
            found = frozenset(self._kernel.blocks())
            altered = self._altered(found)
        if not altered:
            self._knowledge.note(Event.VERIFIED)
            self.delta.doubt(self._rules.unsure)
            return 0
        self.found = found
        self._knowledge.note(Event.FOUND_CHANGED if found else Event.FOUND_NOTHING)
        self.drifted += len(altered)
        _log.warning(
            "%s: somebody else changed our table (%s); it is written again",
            self._kernel.family,
            ", ".join(altered[:_MOST_NAMED]),
        )
        return len(altered)

    def intact_endpoint_chains(self, blocks: Blocks) -> set[Block]:
        """The endpoint chains that were found in the table, with the rules that nft makes of these blocks.

        Called in the state FOREIGN. These chains may stay, and with them the maps that packets on their way ask.
        """
        with self._counting():
            return intact_chains(self._kernel, self.found & endpoint_chains(blocks).keys(), blocks)

    def _altered(self, found: AbstractSet[Block]) -> list[str]:
        """The blocks that are not what was applied, in words; and whether the table sleeps."""
        blocks = self.delta.observed_blocks
        altered = (found ^ blocks.keys()) | self._rules.altered(blocks)
        wanted: dict[str, set[RawElement]] = {}
        for element in self.delta.observed_elements():
            wanted.setdefault(element.holder, set()).add(raw(element))
        for block in found:
            body = blocks.get(block)
            is_told = not block.is_chain and body is not None and body.role is not Role.CLIENTS
            if is_told and self._kernel.elements(block.name) != wanted.get(block.name, set()):
                altered.add(block)
        asleep = [f"table {TABLE}, which is dormant"] if self._kernel.is_dormant() else []
        return [*asleep, *(f"{block.kind} {block.name}" for block in sorted(altered))]

    def _count_others(self) -> int:
        return self._kernel.generation() - self._ours.count

    # writing

    def forget(self) -> None:
        self._knowledge.note(Event.DISTRUSTED)

    def check(self, transaction: Transaction) -> None:
        """Let the kernel look at the runs that a Service may be to blame for; ProgramFailed if it would refuse them."""
        if text := transaction.refusable:
            self._kernel.check(text)

    def apply(self, transaction: Transaction) -> None:
        """Run a transaction that was planned for the present state, and settle the delta.

        OperationFailed if a run is refused or its fate is unknown. The state stays if the kernel took nothing, and is
        UNREAD otherwise. It is UNREAD also if only the last run failed, which removes things that nothing leads to.
        """
        was_remembered = self.state in REMEMBERED
        if was_remembered:
            self._check_before(transaction)
        before = self._kernel.commits
        try:
            with self._counting():
                is_clean = all(self._run(run) for run in transaction.runs)
                self._forget_clients(transaction.deleted)
            if not was_remembered:
                self._rules.forget()
            self._rules.remember(transaction.written, transaction.deleted)
            others = self._count_others()
        except OperationFailed as failed:
            took_nothing = failed.is_verdict and self._kernel.commits == before
            self._knowledge.note(Event.REFUSED if took_nothing else Event.FAILED_MIDWAY)
            raise
        except BaseException:
            self._knowledge.note(Event.FAILED_MIDWAY)
            raise
        self._settle(transaction, others)
        if not is_clean:
            self._knowledge.note(Event.FAILED_MIDWAY)

    def remove(self) -> None:
        """Delete the table with everything in it, also if others put it there; the state is ABSENT then.

        KernelRefused, for example if a running program owns the table; the state stays then.
        """
        with self._counting():
            self._kernel.delete()
        self._others = self._count_others()
        self.found = frozenset()
        self._knowledge.note(Event.FOUND_NOTHING)

    def _settle(self, transaction: Transaction, others: int) -> None:
        """All of the transaction is in effect, and `others` is how many commits of others there were after it."""
        self.delta.settle()
        self._knowledge.note(Event.APPLIED)
        if others != self._others:
            self._knowledge.note(Event.OTHERS_COMMITTED)
            self._rules.unsure.update(transaction.written)
        else:
            self._rules.unsure.difference_update(transaction.written)
        self._others = others

    def _check_before(self, transaction: Transaction) -> None:
        """Nothing may take effect by half: if more than one run may be refused, these are checked first.

        An nft that crashes, or whose socket is too small, does not hinder a change that needs no nft.
        """
        runs = [run for run in transaction.runs if run.may_blame_a_service]
        if len(runs) < _FEWEST_TO_CHECK:
            return
        try:
            self.check(transaction)
        except OperationFailed as failed:
            if failed.is_verdict or not all(run.commands for run in runs):
                self._knowledge.note(Event.REFUSED)
                raise

    def _run(self, run: Run) -> bool:
        """Apply a run; whether it took effect.

        False only if a removal failed; any other failure is an OperationFailed.
        """
        if run.waits_for_packets:
            self._kernel.let_packets_pass()
        if run.may_be_busy:
            return self._remove_when_idle(run)
        self._apply_or_divide(run)
        return True

    def _apply_or_divide(self, run: Run) -> None:
        """Apply the run in as few pieces as the sockets of `nft` take; a run without parts in one piece."""
        try:
            self._kernel.apply(run)
        except DoesNotFit:
            halves = [*run.divided()]
            if not halves:
                raise
            for half in halves:
                self._apply_or_divide(half)

    def _remove_when_idle(self, run: Run) -> bool:
        """Remove things that nothing leads to, and try again while the kernel calls them busy; whether all are gone."""
        for pause_s in _PAUSES_S:
            time.sleep(pause_s)
            try:
                self._apply_or_divide(run)
            except OperationFailed as failed:
                refused = failed
                if "busy" not in failed.said:
                    break
            else:
                return True
        _log.warning("%s: our table is written again with the next sync: %s", self._kernel.family, refused)
        return False

    def _forget_clients(self, chains: Iterable[str]) -> None:
        """Remove the clients of deleted endpoints: when such an endpoint comes back, they have another one by then."""
        for clients, endpoints in remembered(chains).items():
            try:
                self._ours.count += self._kernel.forget(clients, endpoints)
            except OperationFailed as failed:
                _log.warning(
                    "%s: clients may go back to endpoints that went: %s", self._kernel.family, failed
                )

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """Commits that we make in this block are ours."""
        before = self._kernel.commits
        try:
            yield
        finally:
            self._ours.count += self._kernel.commits - before
