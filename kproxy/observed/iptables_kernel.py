"""The two interfaces between iptables mode and the kernel: a program that writes, and a reader of chains.

The proxy gets both as arguments. The real ones are `kernel.programs.iptables.Iptables` and a reader for each variant;
the tests have both over a kernel in memory.
"""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from kproxy.kernel.programs.iptables import Variant
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.iptables.chains import Ruleset
from kproxy.transaction.iptables.plan import ObservedRules
from kproxy.transaction.iptables.transaction import Section, Transaction
from kproxy.values import Family


class IptablesProgram(Protocol):
    """One family's iptables: it writes, and tells which jumps are missing from built-in chains."""

    @property
    def family(self) -> Family: ...
    @property
    def variant(self) -> Variant: ...
    @property
    def lock_waited_s(self) -> float:
        """Seconds that its programs have waited for other programs, in all."""

    def restoring(self) -> AbstractContextManager[Callable[[str], None]]:
        """Begin to write: the block gets a function that takes the text of whole COMMITs.

        A COMMIT takes effect at once or not at all, and may do so while the block goes on. ProgramFailed leaves the
        block, at the latest where it ends, if the kernel refused a line: it names the line, counted in all text of this
        block, and the COMMITs before it stay in effect. A failure without a line says nothing about what took effect.
        """

    def commit_room(self) -> int | None:
        """The number of bytes that the messages of a COMMIT may have; None for any number. Asked before each write."""

    def lacks_jumps(self, jumps: Ruleset) -> bool:
        """Whether any of these rules of built-in chains may be missing. A wrong True costs only time.

        OperationFailed if the kernel gives no answer, for example while another program holds the lock.
        """

    def missing_jumps(self, jumps: Ruleset) -> dict[str, list[str]]:
        """The rules among these that the kernel lacks, by table, as `-A` or as `-I` at a place.

        Empty if none is missing.

        The rules of a chain or table that does not exist are missing. OperationFailed if the kernel gives no answer.
        """


class Differences(NamedTuple):
    """The differences between the kernel and the observed chains, found by a reader."""

    holds: Mapping[Chain, str | None]
    """Chains with other rules, and chains that were not observed; None for rules that cannot be read."""
    lacks: AbstractSet[Chain]
    """Chains that are gone."""
    is_complete: bool
    """Whether every chain has been compared since somebody else last committed."""


class KernelChains(Protocol):
    """Reads one family's chains named KUBE-..., and remembers which of them it may rely on.

    A sync calls, in this order: `holds_no_service` and `look`, or `verify`, or neither; then `begin`, `about_to_write`
    for each section and `wrote`, if it writes anything; and `record` some time afterwards. A call that raises
    OperationFailed leaves the reader as it was, and may be repeated.
    """

    def holds_no_service(self) -> bool:
        """Whether the kernel holds no chain of any Service, so that no packet meets chains that are being written.

        Fast, and false if the answer would take long. Called if nothing is known.
        """

    def look(self, desired: Ruleset) -> ObservedRules:
        """Every chain, with its rules.

        None for rules that cannot be read, or that nobody desires and that will be deleted.

        Empty if there are no chains. OperationFailed if the kernel cannot be read.
        """

    def verify(self, observed: ObservedRules) -> Differences | None:
        """The differences between the kernel and the observed chains.

        None if nobody else has committed since the last look.

        Looks at a bounded number of chains each time. OperationFailed if the kernel cannot be read.
        """

    def begin(self) -> None:
        """The first write since the last `record` begins. OperationFailed if the kernel gives no answer."""

    def about_to_write(self, section: Section) -> None:
        """The chains of this section are going to be created, changed or deleted. Called before its text is written."""

    def wrote(self, transaction: Transaction) -> None:
        """The COMMITs of these sections are in effect. Other sections that were announced are not, or nobody knows."""

    def record(self, transaction: Transaction) -> None:
        """Remember the chains that all writes since `begin` left, for this agent and the next one.

        OperationFailed if the kernel cannot be read; the next `look` then reads these chains.
        """
