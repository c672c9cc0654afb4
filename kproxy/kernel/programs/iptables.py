"""iptables and ip6tables, by either variant: observe, check jumps, restore."""

import errno
import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from enum import StrEnum
from functools import partial

from kproxy import process
from kproxy.errors import EnvironmentLacking, ProgramFailed
from kproxy.kernel.netlink.chains import chain_names
from kproxy.kernel.netlink.jumps import count_rules, delete_jumps, jumps_in
from kproxy.kernel.netlink.nfnetlink import send_room, too_long
from kproxy.kernel.programs import legacy_tables as xtables
from kproxy.kernel.programs.lock_wait import LockWait
from kproxy.ruleset.chain import BUILT_IN, Chain
from kproxy.ruleset.iptables.chains import Ruleset
from kproxy.transaction.iptables.cleaning import JumpRemoval, TableCleaning
from kproxy.values import Family

LOCK_WAIT_S = 5
"""The time that one call waits for another program to give /run/xtables.lock back (legacy only)."""

RESTORE_TIMEOUT_S = 600.0
"""Seconds after which a program counts as hanging, and is ended; a first sync of 10,000 x 10 takes 8 to 32 s."""

_SMALLEST_SECTION = 200

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_TARGET = re.compile(r" -[jg] ([^\s-]\S*)")

_COMMENT = re.compile(r' --comment (?:"((?:[^"\\]|\\.)*)"|(\S+))')

_NO_SUCH_RULE = (1, 2)
"""Exit codes of a check: no such rule, no such chain. Other codes, as 4 for a held lock, say nothing of rules."""


_INCOMPATIBLE = 3
"""The exit code where the kernel lacks the table or its module (xtables.h, VERSION_PROBLEM)."""


_NO_CHAIN = Chain("nat", "KUBE-PROXY-NO-CHAIN")


class Variant(StrEnum):
    """The two packet filters of the kernel that iptables can write to."""

    NFT = "nft"
    LEGACY = "legacy"

    def section_size(self, held: int) -> int | None:
        """The number of chains that one COMMIT should mention if packets can reach `held` chains; None for all.

        iptables-nft-restore 1.8.9 is quadratic in the chains of a COMMIT (20 ns a pair), and at each one the kernel
        walks through all rules that packets can reach (2 us a chain held): the sum is least at the root of a hundred
        times the chains. Legacy replaces the whole table at each COMMIT.
        """
        return None if self is Variant.LEGACY else max(_SMALLEST_SECTION, math.isqrt(100 * held))

    def early_section_size(self, held: int) -> int | None:
        """The `section_size` while no packet can reach the chains: each chain held costs a COMMIT 0.1 us then."""
        return None if self is Variant.LEGACY else max(_SMALLEST_SECTION, math.isqrt(6 * held))


class Iptables:
    """One family's tables in the network namespace of this process; `program` is the one that speaks to them."""

    def __init__(self, variant: Variant, family: Family) -> None:
        self.variant = variant
        self.family = family
        self._lock_wait = LockWait()
        self.program = f"{'iptables' if family is Family.IPV4 else 'ip6tables'}-{variant}"

    @property
    def lock_waited_s(self) -> float:
        """The seconds for which callers have waited so far because its programs waited for /run/xtables.lock."""
        return self._lock_wait.waited_s

    def refusal(self) -> str:
        """The reason why this family cannot be programmed here at all; empty if it can. A held lock is no reason.

        The program is asked for a chain that does not exist: rules of others may keep it from listing real chains.
        """
        try:
            self._list(_NO_CHAIN)
        except EnvironmentLacking as lacking:
            return str(lacking)
        except ProgramFailed as failed:
            return failed.stderr.strip() if failed.exit_code == _INCOMPATIBLE else ""
        return ""

    def chain_names(self, table: str) -> list[str]:
        """The names of all chains in a table; none if there is no such table. The question creates no table."""
        if self.variant is Variant.NFT:
            return chain_names(self.family, table)
        if table not in xtables.tables(self.family):
            return []
        saved = process.run([f"{self.program}-save", "-t", table], timeout_s=RESTORE_TIMEOUT_S)
        return [line[1:].partition(" ")[0] for line in saved.splitlines() if line.startswith(":")]

    def is_empty(self, chain: Chain) -> bool:
        """Whether a chain that exists holds no rule."""
        if self.variant is Variant.NFT:
            return not count_rules(self.family, chain)
        return not self._rules(chain)

    def jumps_to(self, targets: Collection[Chain]) -> list[JumpRemoval]:
        """The removals of all rules of built-in chains that lead to these chains, which stand in one table."""
        (table,) = {chain.table for chain in targets}
        names = {chain.name for chain in targets}
        built_in = [Chain(table, name) for name in self.chain_names(table) if name in BUILT_IN]
        return [removal for chain in built_in for removal in self._removals(chain) if removal.target in names]

    def _removals(self, chain: Chain) -> list[JumpRemoval]:
        """The removal of each rule of the chain that leads to another chain, in an order that fits their lines."""
        if self.variant is Variant.LEGACY:
            rules = self._rules(chain)
            return [JumpRemoval(chain, target(rule), f"-D{rule.removeprefix('-A')}") for rule in rules]
        # by their places, because iptables may be unable to print a rule; the last place first, so that none changes
        jumps = reversed(jumps_in(self.family, chain))
        return [JumpRemoval(chain, jump.target, f"-D {chain.name} {jump.place}") for jump in jumps]

    def delete_jumps(self, cleaning: TableCleaning) -> None:
        """Remove the jumps to the chains that go; with iptables-nft also jumps that came after the jumps were found."""
        if not cleaning.jumps:
            return
        if self.variant is Variant.LEGACY:
            self.restore([cleaning.text_of_jumps])
        else:
            chains = dict.fromkeys(jump.chain for jump in cleaning.jumps)
            delete_jumps(self.family, chains, {jump.target for jump in cleaning.jumps})

    def lacks_jumps(self, jumps: Ruleset) -> bool:
        """Whether any of these rules seems to be missing from the kernel; this takes one run of a program.

        With iptables-nft every failure counts as missing: a rule of others that it cannot read makes it fail with
        another exit code.
        """
        checks = "".join(
            f"*{table}\n{_as_checks(rules for chain, rules in jumps.items() if chain.table == table)}COMMIT\n"
            for table in ("filter", "nat")
        )
        try:
            with self._noting_lock_wait():
                process.run(self._restoring, stdin=checks, timeout_s=RESTORE_TIMEOUT_S)
        except ProgramFailed as failed:
            if self.variant is Variant.LEGACY and failed.exit_code not in _NO_SUCH_RULE:
                raise
            return True
        return False

    def missing_jumps(self, jumps: Ruleset) -> dict[str, list[str]]:
        """The rules that the kernel lacks, by table, found by listing; this takes one run of a program for each chain.

        A rule that has to stand after others that exist comes as an insertion at its place. The exit code of a check
        is not enough: it is the same for a missing rule and for other failures, and rules that exist would be added
        again.
        """
        missing: dict[str, list[str]] = {}
        for chain, rules in jumps.items():
            gone = missing_of(rules.splitlines(), self._places(chain, rules.splitlines()))
            if gone:
                missing.setdefault(chain.table, []).extend(gone)
        return missing

    def _places(self, chain: Chain, jumps: Sequence[str]) -> dict[str, int]:
        """The place of each of these rules that the chain holds, counted from 1."""
        try:
            return {rule: place for place, rule in enumerate(self._rules(chain), start=1) if rule in jumps}
        except ProgramFailed:
            if self.variant is Variant.LEGACY:
                raise
        # the listing fails if others made rules with nft; our jumps are recognized by target and comment
        found = {(jump.target, jump.comment): jump.place for jump in jumps_in(self.family, chain)}
        known = {rule: found.get((target(rule), comment(rule))) for rule in jumps}
        return {rule: place for rule, place in known.items() if place is not None}

    def _rules(self, chain: Chain) -> list[str]:
        """The rules of a chain that exists, as `-A CHAIN ...`."""
        return [line for line in self._list(chain) if line.startswith("-A ")]

    def restore(self, sections: Iterable[str]) -> None:
        """Apply texts that are there already, as `restoring`."""
        with self.restoring() as write:
            for section in sections:
                write(section)

    @contextmanager
    def restoring(self) -> Iterator[Callable[[str], None]]:
        """Run iptables-restore: the block gets a function that writes text of one or more COMMITs to it.

        Every chain that the text does not name stays as it is. Each COMMIT takes effect at once or not at all, while
        the block goes on. The program ends with the block, which ProgramFailed leaves then if a line was refused: the
        error says which line of all that was written, and the sections before it stay in effect.
        """
        try:
            with ExitStack() as end, process.feeding(self._restoring, timeout_s=RESTORE_TIMEOUT_S) as write:
                yield partial(self._write, write)
                end.enter_context(
                    self._noting_lock_wait()
                )  # from here on, nothing but the program is waited for
        except ProgramFailed as failed:
            raise self._explained(failed) from failed

    def _write(self, write: Callable[[str], None], text: str) -> None:
        """Write text; where the program waits for the lock while the caller is busy otherwise, nobody waits with it."""
        with self._noting_lock_wait():
            write(text)

    def _explained(self, failed: ProgramFailed) -> ProgramFailed:
        if os.strerror(errno.EMSGSIZE) not in failed.stderr or (room := self.commit_room()) is None:
            return failed
        said = f"{failed.stderr.strip()}; {too_long(2 * room, room)}"
        return ProgramFailed(failed.program, failed.exit_code, said, failed.excerpt, signal=failed.signal)

    def commit_room(self) -> int | None:
        """The number of bytes that the messages of a COMMIT may have; None for any number. Legacy sends no messages."""
        return send_room() if self.variant is Variant.NFT else None

    @property
    def _restoring(self) -> list[str]:
        return [f"{self.program}-restore", "-w", str(LOCK_WAIT_S), "--noflush", "--counters"]

    def _list(self, chain: Chain) -> list[str]:
        command = [self.program, "-w", str(LOCK_WAIT_S), "-t", chain.table, "-S", chain.name]
        with self._noting_lock_wait():
            return process.run(command, timeout_s=RESTORE_TIMEOUT_S).splitlines()

    def _noting_lock_wait(self) -> AbstractContextManager[object]:
        """iptables-nft has no lock to wait for."""
        return self._lock_wait if self.variant is Variant.LEGACY else nullcontext()


def missing_of(jumps: Iterable[str], places: Mapping[str, int]) -> list[str]:
    """The jumps without a place; a jump that has to stand after others becomes an insertion at its place."""
    missing = []
    after = 0
    for rule in jumps:
        if rule in places:
            after = max(after, places[rule])
        else:
            missing.append(_at_place(rule, after + 1) if after else rule)
    return missing


def _at_place(rule: str, place: int) -> str:
    _, chain, rest = rule.split(" ", 2)
    return f"-I {chain} {place} {rest}"


def _as_checks(rules: Iterable[str]) -> str:
    return "".join(
        f"-C{line.removeprefix('-A')}" for text in rules for line in text.splitlines(keepends=True)
    )


def target(rule: str) -> str:
    """The target of a rule that iptables printed; empty if it has none. Words in a comment are no target."""
    found = _TARGET.search(_QUOTED.sub("", rule))
    return found[1] if found else ""


def comment(rule: str) -> str:
    """The comment of a rule that iptables printed; empty if it has none."""
    found = _COMMENT.search(rule)
    return re.sub(r"\\(.)", r"\1", found[1]) if found and found[1] is not None else found[2] if found else ""
