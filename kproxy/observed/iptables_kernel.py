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
from kproxy.transaction.iptables.plan import Known
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
        """How many bytes of messages a COMMIT may need; None for any number. Asked before each write."""

    def lacks_jumps(self, jumps: Ruleset) -> bool:
        """Whether any of these rules of built-in chains may be missing. True costs time and nothing else.

        OperationFailed if nothing can be told, as where another program holds the lock.
        """

    def missing_jumps(self, jumps: Ruleset) -> dict[str, list[str]]:
        """Those of the rules that the kernel lacks, by table, as `-A` or as `-I` at a place; empty if none is missing.

        Where there is no such chain or table yet, its rules are missing. OperationFailed if nothing can be told.
        """


class Differences(NamedTuple):
    """What a reader found to be otherwise than was known."""

    holds: Mapping[Chain, str | None]
    """Chains with other rules, and chains that nobody knew; None where their rules cannot be told."""
    lacks: AbstractSet[Chain]
    """Chains that are gone."""
    is_complete: bool
    """Whether every chain has been compared since somebody else last committed."""


class KernelChains(Protocol):
    """Reads one family's chains named KUBE-..., and keeps in mind what it may rely on.

    A sync calls, in this order: `holds_no_service` and `look`, or `verify`, or neither; then `begin`, `about_to_write`
    for each section and `wrote`, if it writes at all; and `record` some time afterwards. A call that raises
    OperationFailed leaves the reader as it was, and may be repeated.
    """

    def holds_no_service(self) -> bool:
        """Whether the kernel holds no chain of any Service, so that no packet meets chains that are being written.

        Cheap, and false where that cannot be told cheaply. Called where nothing is known.
        """

    def look(self, desired: Ruleset) -> Known:
        """Every chain, with its rules; None for rules that cannot be read, or that are to go as nobody desires them.

        Empty where nothing is there. OperationFailed if the kernel cannot be read.
        """

    def verify(self, observed: Known) -> Differences | None:
        """How the kernel differs from what is known; None if nobody else has committed since that was compared.

        Looks at a bounded number of chains each time. OperationFailed if the kernel cannot be read.
        """

    def begin(self) -> None:
        """The first write since the last `record` begins. OperationFailed if the kernel gives no answer."""

    def about_to_write(self, section: Section) -> None:
        """The chains of this section are going to change, to come or to go. Called before its text is written."""

    def wrote(self, transaction: Transaction) -> None:
        """The COMMITs of these sections are in effect; of others that were announced, nobody knows, or they are not."""

    def record(self, transaction: Transaction) -> None:
        """Remember what all writes since `begin` left, for this agent and the next one.

        OperationFailed if the kernel cannot be read; the next `look` then reads these chains.
        """
