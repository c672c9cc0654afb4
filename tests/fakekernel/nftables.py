"""The table of nftables mode in memory, with the calls and answers of `kproxy.kernel.programs.nft.NftTable`."""

import errno
import hashlib
import signal
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

from fakekernel.faults import Died, Faults, Refused, TooLong, Unreadable
from fakekernel.nftreader import NotTaken, after
from fakekernel.nftruleset import Chain, Ruleset, Table
from kproxy.errors import KernelRefused, ProgramFailed
from kproxy.kernel.netlink.elements import RawElement
from kproxy.kernel.programs.nft import DoesNotFit
from kproxy.ruleset.nftables.table import FAMILY_WORD, TABLE, Block
from kproxy.transaction.nftables.elements import ElementCommand, apart
from kproxy.transaction.nftables.run import Run
from kproxy.values import Family

_WRITE, _CHECK = "nft -f -", "nft --check -f -"


class FakeNamespace:
    """What the tables of both families share in a network namespace: the ruleset, the faults and the commit count."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.ruleset = Ruleset()

    def somebody_runs(self, text: str) -> None:
        """Somebody else lets nft read this text, now. A text that changes nothing is no commit."""
        self.ruleset, has_changed = after(self.ruleset, text)
        if has_changed:
            self.faults.somebody_commits_now()

    def harm(self, text: str) -> Callable[[], None]:
        """An act for `Faults.somebody_commits`, which counts the commit."""

        def act() -> None:
            self.ruleset, _ = after(self.ruleset, text)

        return act


class FakeTable:
    """One family's table in a network namespace in memory."""

    def __init__(self, namespace: FakeNamespace, family: Family = Family.IPV4) -> None:
        self.family = family
        self.commits = 0
        self.namespace = namespace
        self.applied: list[str] = []
        """The text of each run that took effect, in order."""
        self.checked: list[str] = []
        self.reads: list[str] = []
        """The kind of each read of the table, in order."""
        self.passed_after: list[int] = []
        """How many runs had taken effect when packets were let pass."""

    def apply(self, run: Run) -> None:
        try:
            self._write(run.text)
        except DoesNotFit:
            if not run.commands:
                raise
            self._write_divided(apart(run.commands))

    def check(self, text: str) -> None:
        self.checked.append(text)
        with self._by_program(_CHECK, text):
            self._faults.judge(text)
            after(self.namespace.ruleset, text)

    def delete(self) -> None:
        if self._table() is None:
            return
        with self._faults.writing(f"delete table {FAMILY_WORD[self.family]} {TABLE}\n"):
            del self.namespace.ruleset.tables[FAMILY_WORD[self.family], TABLE]
        self.commits += 1

    def generation(self) -> int:
        with self._reading("generation", "the commit count of nftables"):
            return self._faults.commits.value

    def blocks(self) -> list[Block]:
        with self._reading("blocks"):
            table = self._table()
            return [*table.blocks()] if table else []

    def is_dormant(self) -> bool:
        with self._reading("is_dormant"):
            table = self._table()
            return table is not None and table.is_dormant

    def elements(self, holder: str) -> set[RawElement]:
        with self._reading("elements"):
            return self._elements(holder)

    def digests(self, chains: Collection[str]) -> dict[str, bytes]:
        if not chains:
            return {}
        with self._reading("digests"):
            table = self._table() or Table()
            return {name: _digest(table.chains.get(name)) for name in chains}

    def expressions(self, table: str, chains: Iterable[Block]) -> dict[Block, bytes]:
        with self._reading("expressions"):
            held = (self._table(table) or Table()).chains
            return {
                block: "".join(rule.text for rule in held.get(block.name, Chain()).rules).encode()
                for block in chains
            }

    def forget(self, clients: str, endpoints: Iterable[int]) -> bool:
        numbers = tuple(each.to_bytes(4, sys.byteorder) for each in endpoints)
        keys = [key for key, _ in self._elements(clients) if key.endswith(numbers)]
        if not keys:
            return False
        try:
            with self._faults.writing(f"delete element {clients}\n"):
                table = self._table()
                holder = table.holder(clients) if table else None
                assert holder is not None
                for key in keys:
                    del holder.elements[key]
        except (Refused, Died, TooLong) as failed:
            raise KernelRefused("to forget clients", errno.ENOMEM, str(failed)) from failed
        return True

    def let_packets_pass(self) -> None:
        self.passed_after.append(len(self.applied))

    def listing(self) -> dict[str, list[str]]:
        """All of the table in words, for comparison: rules in their order, elements sorted, and no handles."""
        table = self._table() or Table()
        listed = {
            f"chain {name}": [chain.place, *(rule.text for rule in chain.rules)]
            for name, chain in table.chains.items()
        }
        for kind, holders in (("set", table.sets), ("map", table.maps)):
            for name, holder in holders.items():
                held = sorted(f"{key.hex()} : {value.hex()}" for key, value in holder.elements.items())
                listed[f"{kind} {name}"] = [holder.declared, *held]
        return listed

    @property
    def _faults(self) -> Faults:
        return self.namespace.faults

    def _table(self, name: str = TABLE) -> Table | None:
        return self.namespace.ruleset.tables.get((FAMILY_WORD[self.family], name))

    def _elements(self, holder: str) -> set[RawElement]:
        table = self._table()
        held = table.holder(holder) if table else None
        return {RawElement(key, value) for key, value in held.elements.items()} if held else set()

    def _write_divided(self, parts: Sequence[Sequence[ElementCommand]]) -> None:
        """As many parts at once as the socket takes, in this order."""
        try:
            self._write("".join(str(command) for part in parts for command in part))
        except DoesNotFit:
            if len(parts) == 1:
                raise
            middle = len(parts) // 2
            self._write_divided(parts[:middle])
            self._write_divided(parts[middle:])

    def _write(self, text: str) -> None:
        with self._by_program(_WRITE, text), self._faults.writing(text) as step:
            self.namespace.ruleset, step.is_counted = after(self.namespace.ruleset, text)
            self.applied.append(text)
        self.commits += 1

    @contextmanager
    def _by_program(self, program: str, text: str) -> Iterator[None]:
        """Failures in the words of nft."""
        try:
            yield
        except (Refused, NotTaken) as refused:
            shown = text.splitlines()[refused.line - 1]
            said = f"/dev/stdin:{refused.line}:1-9: Error: {refused.said}\n{shown}\n^^^^^^^^^\n"
            raise ProgramFailed(program, 1, said) from refused
        except TooLong as too_long:
            failed = ProgramFailed(program, 1, "Could not send the batch: Message too long")
            raise DoesNotFit(failed, len(text), len(text) // 2) from too_long
        except Died as died:
            raise ProgramFailed(program, -signal.SIGKILL, "", signal="SIGKILL") from died

    @contextmanager
    def _reading(self, of: str, what: str = "the list of our table") -> Iterator[None]:
        try:
            with self._faults.reading(of):
                if of != "generation":
                    self.reads.append(of)
                yield
        except Unreadable as unreadable:
            raise KernelRefused(what, errno.EINTR, str(unreadable)) from unreadable


def _digest(chain: Chain | None) -> bytes:
    if chain is None:
        return b""
    digest = hashlib.blake2b(digest_size=8)
    for rule in chain.rules:
        digest.update(f"{rule.handle} {rule.text}\n".encode())
    return chain.place.encode() + digest.digest()
