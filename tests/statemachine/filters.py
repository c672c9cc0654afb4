"""The packet filters that the agent can program, and what is asked of each."""

from enum import StrEnum
from typing import Protocol

from kproxy.kernel.programs.iptables import Variant
from kproxy.values import Family
from statemachine.cluster import Cluster
from statemachine.flags import Flags


class Filter(StrEnum):
    """The packet filter that the agent programs, as `scripts/soak --backend` calls it."""

    NFT = "nft"
    LEGACY = "legacy"
    NFTABLES = "nftables"

    @property
    def variant(self) -> Variant | None:
        """The variant of iptables; None in nftables mode."""
        return None if self is Filter.NFTABLES else Variant(self.value)

    @property
    def arguments(self) -> tuple[str, str]:
        """The agent's."""
        return ("--iptables-backend", self.value) if self.variant else ("--proxy-mode", "nftables")


class Kernel(Protocol):
    """One packet filter in this thread's network namespace, as a world sees it."""

    def clear(self) -> None:
        """Leave no rule, ours or another's."""

    def write(self, family: Family, text: str) -> None:
        """As somebody else does it."""

    def flush(self) -> None:
        """As somebody does it who wants to start over: all rules go."""

    def remember(self) -> None:
        """From now on the rules that others have must stay as they are."""

    def what_is_wrong(self, cluster: Cluster, flags: Flags, *, keeps_jumps: bool) -> str:
        """How the rules differ from what this state wants, or what others had is changed; empty if all is well."""
