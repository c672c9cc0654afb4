"""What iptables-nft's chains are read by: netlink for names and digests, iptables itself for texts."""

from collections.abc import Collection, Iterable
from contextlib import closing
from functools import partial

from kproxy.kernel.netlink.chains import RuleReader, chains, generation
from kproxy.kernel.netlink.nfnetlink import Interrupted, patiently, refusal
from kproxy.kernel.programs.listing import listed_chains
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.iptables.chains import TABLES
from kproxy.ruleset.iptables.ownership import may_be_ours
from kproxy.values import Family


class NftReads:
    """Reads of one family's chains named KUBE-... in filter and nat, in this thread's network namespace.

    Each asks the kernel again, and raises OperationFailed if it gives no answer.
    """

    def __init__(self, family: Family) -> None:
        self._family = family
        self._program = "iptables-nft" if family is Family.IPV4 else "ip6tables-nft"

    def commits(self) -> int:
        """How many commits this network namespace has seen, of any program and family."""
        return generation()

    def names(self) -> set[Chain]:
        """All chains; none where there is no table yet."""
        return {chain for chain in chains(self._family) if chain.table in TABLES and may_be_ours(chain)}

    def digests(self, of: Iterable[Chain]) -> dict[Chain, bytes]:
        """A digest of the bytes that the kernel holds of each, 7 us a chain; empty while others change it all the time.

        A chain that is not there has the digest of a chain without rules.
        """
        held: dict[Chain, bytes] = {}
        with closing(RuleReader(self._family)) as reader:
            for chain in of:
                try:
                    held[chain] = patiently(partial(reader.content, chain))
                except Interrupted:
                    held[chain] = b""
                except OSError as refused:
                    raise refusal("the list of rules", refused) from refused
        return held

    def texts(self, of: Collection[Chain]) -> dict[Chain, str | None]:
        """The rules of each, 0.1 ms a chain; None where iptables cannot read that chain.

        A chain is missing from the answer if the program cannot be used, or the chain is not there.
        """
        return listed_chains(self._program, list(of))
