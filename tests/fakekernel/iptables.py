"""The tables of iptables mode in memory, with the calls and answers of iptables, of both variants.

A COMMIT takes effect as a whole or not at all, as in the kernel. What is refused, at which line and with which exit code,
is that of iptables 1.8.9; tests/netns/test_fake_iptables.py holds it against the real programs.
"""

import errno
import hashlib
import signal
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress

from fakekernel.faults import Died, Faults, Refused, TooLong, Unreadable
from fakekernel.iptablestables import NO_RULE, REFUSED_BY_KERNEL, Chains, NotTaken, after
from kproxy.errors import KernelRefused, ProgramFailed
from kproxy.kernel.programs.iptables import Variant, missing_of
from kproxy.ruleset.chain import BUILT_IN, Chain
from kproxy.ruleset.iptables.chains import TABLES, Ruleset
from kproxy.values import Family

_BY_PROGRAM = ("jumps", "saved", "texts")
"""Reads that a program makes; all others go by netlink."""


class _NothingChangedError(Exception):
    """A COMMIT without an effect is no commit of the kernel."""


class _EndedError(Exception):
    """The program reads no more."""


class FakeKernel:
    """One family's tables in a network namespace in memory; the built-in chains are there, and empty."""

    def __init__(
        self, variant: Variant = Variant.NFT, family: Family = Family.IPV4, faults: Faults | None = None
    ) -> None:
        self.variant = variant
        self.family = family
        self.faults = faults or Faults()
        self.chains: Chains = {
            Chain(table, name): ()
            for table in TABLES
            for name in BUILT_IN
            if not (table == "nat" and name == "FORWARD")
        }
        self.program = f"{'iptables' if family is Family.IPV4 else 'ip6tables'}-{variant}"

    def rules(self) -> dict[Chain, str]:
        """The chains named KUBE-..., each with its rules."""
        return {
            chain: "".join(f"{rule}\n" for rule in rules)
            for chain, rules in self.chains.items()
            if chain.name.startswith("KUBE-")
        }

    def somebody_runs(self, text: str) -> None:
        """Somebody else commits this text, now."""
        self.faults.somebody_commits_now(self.harm(text))

    def harm(self, text: str) -> Callable[[], None]:
        """An act for `Faults.somebody_commits`, which counts the commit. It fails in silence where it is refused."""

        def act() -> None:
            try:
                self.chains = after(self.chains, text, self.variant)
            except NotTaken:
                return

        return act

    def commit(self, text: str) -> None:
        """Take the text of one COMMIT; raises NotTaken, and the exceptions of the faults."""
        with suppress(_NothingChangedError), self.faults.writing(text):
            self._take(text)

    def _take(self, text: str) -> None:
        newest = after(self.chains, text, self.variant)
        if newest == self.chains and "\n-" not in text:
            raise _NothingChangedError
        self.chains = newest

    @contextmanager
    def reading(self, of: str) -> Iterator[None]:
        """Around a read by netlink, or by a program; the error of the one or the other if it fails."""
        try:
            with self.faults.reading(of):
                yield
        except Unreadable as failed:
            if of in _BY_PROGRAM:
                raise ProgramFailed(f"the read of {of}", None, "there was no answer") from failed
            raise KernelRefused(of, errno.EINTR, "there was no answer") from failed


class FakeIptables:
    """The program, as `IptablesProgram`; `is_late` lets a refusal be noticed only at the end of the block."""

    lock_waited_s = 0.0

    def __init__(self, kernel: FakeKernel, *, is_late: bool = False) -> None:
        self.kernel = kernel
        self.variant = kernel.variant
        self.family = kernel.family
        self.runs: list[str] = []
        """The text of each run, as far as it was written."""
        self._is_late = is_late
        self._run: _Run | None = None

    @contextmanager
    def restoring(self) -> Iterator[Callable[[str], None]]:
        run = self._run = _Run(self.kernel, is_late=self._is_late)
        self.runs.append("")

        def write(text: str) -> None:
            self.runs[-1] += text
            run.write(text)

        try:
            with suppress(_EndedError):
                yield write
        finally:
            self._run = None
        if run.failed is not None:
            raise run.failed

    def commit_room(self) -> int | None:
        return None

    def lacks_jumps(self, jumps: Ruleset) -> bool:
        try:
            return bool(self.missing_jumps(jumps))
        except ProgramFailed:
            if self.variant is Variant.LEGACY:
                raise
            return True

    def missing_jumps(self, jumps: Ruleset) -> dict[str, list[str]]:
        assert self._run is None or not self._run.holds_lock, "the program would wait for our own restore"
        missing: dict[str, list[str]] = {}
        with self.kernel.reading("jumps"):
            for chain, text in jumps.items():
                held = self.kernel.chains.get(chain, ())
                wanted = text.splitlines()
                gone = missing_of(wanted, {rule: held.index(rule) + 1 for rule in wanted if rule in held})
                if gone:
                    missing.setdefault(chain.table, []).extend(gone)
        return missing


class FakeReads:
    """The kernel as `NftChains` reads it; `read` has the kind of each read, in order."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self.read: list[str] = []

    def commits(self) -> int:
        with self._reading("commits"):
            return self._kernel.faults.commits.value

    def names(self) -> set[Chain]:
        with self._reading("names"):
            return set(self._kernel.rules())

    def digests(self, of: Iterable[Chain]) -> dict[Chain, bytes]:
        with self._reading("digests"):
            held = self._kernel.rules()
            return {chain: hashlib.blake2b(held.get(chain, "").encode()).digest()[:8] for chain in of}

    def texts(self, of: Collection[Chain]) -> dict[Chain, str | None]:
        """None at all where the program cannot be used."""
        try:
            with self._reading("texts"):
                held = self._kernel.rules()
                return {chain: held[chain] for chain in of if chain in held}
        except ProgramFailed:
            return {}

    @contextmanager
    def _reading(self, of: str) -> Iterator[None]:
        self.read.append(of)
        with self._kernel.reading(of):
            yield


def saved(kernel: FakeKernel) -> Callable[[], dict[Chain, str]]:
    """The kernel as `LegacyChains` reads it."""

    def save() -> dict[Chain, str]:
        with kernel.reading("saved"):
            return kernel.rules()

    return save


class _Run:
    """One run of iptables-restore."""

    def __init__(self, kernel: FakeKernel, *, is_late: bool) -> None:
        self._kernel = kernel
        self._is_late = is_late
        self._begun = ""
        self._lines = 0
        self.failed: ProgramFailed | None = None

    @property
    def holds_lock(self) -> bool:
        """From the line that names a table to its COMMIT, legacy lets no other program in."""
        return self._kernel.variant is Variant.LEGACY and bool(self._begun)

    def write(self, text: str) -> None:
        self._begun += text
        while self.failed is None and "COMMIT\n" in self._begun:
            section, end, self._begun = self._begun.partition("COMMIT\n")
            self._commit(section + end)
            self._lines += section.count("\n") + 1
        if self.failed is not None and not self._is_late:
            raise _EndedError

    def _commit(self, section: str) -> None:
        try:
            self._kernel.commit(section)
        except NotTaken as refused:
            self._fail(section, refused.line, refused.exit_code, "failed")
        except Refused as refused:
            self._fail(section, refused.line, REFUSED_BY_KERNEL, refused.said)
        except TooLong:
            self._fail(section, section.count("\n"), NO_RULE, "Message too long")
        except Died:
            program = f"{self._kernel.program}-restore"
            self.failed = ProgramFailed(program, -signal.SIGKILL, "", signal="SIGKILL")

    def _fail(self, section: str, line: int, exit_code: int, said: str) -> None:
        number = self._lines + line
        program = f"{self._kernel.program}-restore"
        excerpt = f">{number:6} {section.splitlines()[line - 1]}"
        self.failed = ProgramFailed(
            program, exit_code, f"{program}: line {number}: {said}\n", excerpt, number
        )
