"""Removes the chains that kproxy and kube-proxy put into the tables of one iptables program, and the jumps to them."""

import logging
from collections.abc import Iterator, Sequence

from kproxy import process
from kproxy.errors import EnvironmentLacking, KproxyError, ProgramFailed
from kproxy.kernel.programs import legacy_tables as xtables
from kproxy.kernel.programs.iptables import Iptables, Variant
from kproxy.ruleset.chain import Chain
from kproxy.transaction.culprits import Refusal, find_culprits
from kproxy.transaction.iptables.fit import fitting
from kproxy.transaction.iptables.order import parents_first
from kproxy.transaction.iptables.plan import is_ours
from kproxy.transaction.iptables.transaction import Section

_log = logging.getLogger(__name__)

_SHARED = frozenset(
    {
        "KUBE-EXTERNAL-SERVICES",
        "KUBE-FORWARD",
        "KUBE-IPVS-FILTER",
        "KUBE-IPVS-OUT-FILTER",
        "KUBE-LOAD-BALANCER",
        "KUBE-NODE-PORT",
        "KUBE-NODEPORTS",
        "KUBE-POSTROUTING",
        "KUBE-PROXY-CANARY",
        "KUBE-PROXY-FIREWALL",
        "KUBE-SERVICES",
        "KUBE-SOURCE-RANGES-FIREWALL",
    }
)
"""The chains that exist also without Services, in iptables mode and in kube-proxy's mode ipvs."""

_MARKING = "KUBE-MARK-MASQ"
"""Ours, but plugins that open host ports may send packets there too."""

GUARD = "KUBE-FIREWALL"
"""Where the kubelet and we both keep strangers from 127.0.0.1. With rules in it, it stays, as route_localnet does."""

_MOST_NAMED = 3

_TABLES = ("filter", "nat", "mangle")


def remove_chains(iptables: Iptables) -> bool:
    """Remove them; whether there were any.

    EnvironmentLacking where a program for that is missing. KproxyError where rules of others lead to chains of ours,
    which are then left without a rule; all others are gone.
    """
    removed = False
    left: list[Chain] = []
    for table in _TABLES:
        chains = [Chain(table, name) for name in _chain_names(iptables, table)]
        ours = [chain for chain in chains if _goes(iptables, chain)]
        if not ours:  # then no rule can jump to them
            continue
        _require_program(iptables, ours)
        iptables.delete_jumps(table, {chain.name for chain in ours})
        in_use = _delete(iptables, ours, iptables.variant.section_size(len(chains)))
        _log.info("%s: removed %d chains from %s", iptables.program, len(ours) - len(in_use), table)
        removed = True
        left += in_use
    if _MARKING in _chain_names(iptables, "nat"):
        marking = Chain("nat", _MARKING)
        _require_program(iptables, [marking])
        removed |= _delete_unless_in_use(iptables, marking)
    if left:
        names = ", ".join(f"{chain.name} in {chain.table}" for chain in left)
        raise KproxyError(
            f"rules of others lead to {names}; left without rules there; remove those rules, and clean up again"
        )
    return removed


def _goes(iptables: Iptables, chain: Chain) -> bool:
    if chain == Chain("filter", GUARD):
        return not _holds_rules(iptables, chain)
    return chain.name in _SHARED or is_ours(chain)


def _holds_rules(iptables: Iptables, chain: Chain) -> bool:
    """Without the program of iptables-legacy, which alone can tell, it counts as holding some."""
    if iptables.variant is Variant.LEGACY and process.find(iptables.program) is None:
        return True
    return not iptables.is_empty(chain)


def _delete(iptables: Iptables, chains: Sequence[Chain], size: int | None) -> list[Chain]:
    """The chains of one table that had to stay, without rules, because rules of others lead to them."""
    try:
        iptables.restore(map(str, fitting(_deletion(chains, size), iptables.commit_room())))
    except ProgramFailed as failed:
        if not _says_in_use(iptables, failed):
            raise
    else:
        return []
    pieces = list(fitting(_deletion(chains, size), iptables.commit_room()))
    iptables.restore(str(Section(each.table, dict.fromkeys(each.deleted, ""))) for each in pieces)

    def attempt(group: Sequence[Chain]) -> Refusal[Chain, ProgramFailed] | None:
        try:
            iptables.restore([str(Section(group[0].table, deleted=tuple(group)))])
        except ProgramFailed as failed:
            if _says_in_use(iptables, failed):
                return Refusal(failed)
            raise
        return None

    found = find_culprits((piece.deleted for piece in pieces), attempt, lambda: True)
    return sorted(found.culprits)


def _says_in_use(iptables: Iptables, failed: ProgramFailed) -> bool:
    """iptables-legacy-restore tells no reason, but another exit code where it cannot have the lock."""
    return failed.exit_code == 1 if iptables.variant is Variant.LEGACY else "resource busy" in failed.stderr


def _deletion(chains: Sequence[Chain], size: int | None) -> Iterator[Section]:
    """Sections that delete the chains, parents first, so that none is deleted while it is in use."""
    ordered = parents_first(chains)
    step = size or max(len(ordered), 1)
    for start in range(0, len(ordered), step):
        yield Section(ordered[start].table, deleted=tuple(ordered[start : start + step]))


def _delete_unless_in_use(iptables: Iptables, chain: Chain) -> bool:
    """Delete it, which the kernel refuses if rules of others lead to it; whether it is gone."""
    try:
        iptables.restore([str(Section(chain.table, deleted=(chain,)))])
    except ProgramFailed as failed:
        _log.info(
            "%s: %s stays, because rules of others jump to it: %s", iptables.program, chain.name, failed
        )
        return False
    return True


def _chain_names(iptables: Iptables, table: str) -> list[str]:
    """The names of all chains; without the program of iptables-legacy, only of those that are not built in.

    EnvironmentLacking says so where a table is there and nothing can list it.
    """
    try:
        return iptables.chain_names(table)
    except EnvironmentLacking as lacking:
        try:
            return xtables.chain_names(iptables.family, table)
        except OSError as refused:
            raise EnvironmentLacking(
                f"table {table} of {iptables.program} is there and may hold rules of kproxy or kube-proxy, "
                f"but the kernel does not list it ({refused.strerror}), and {lacking}"
            ) from lacking


def _require_program(iptables: Iptables, ours: Sequence[Chain]) -> None:
    for program in (iptables.program, f"{iptables.program}-restore"):
        if not process.find(program):
            names = ", ".join(chain.name for chain in ours[:_MOST_NAMED])
            more = f" and {len(ours) - _MOST_NAMED} more" if len(ours) > _MOST_NAMED else ""
            raise EnvironmentLacking(
                f"chains of kproxy or kube-proxy are in table {ours[0].table} ({names}{more}), "
                f"but {program} is not installed or not on PATH"
            )
