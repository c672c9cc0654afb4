"""The chains of kproxy and kube-proxy in the tables of one iptables program: found, and removed."""

import logging
from collections.abc import Sequence

from kproxy import process
from kproxy.errors import EnvironmentLacking, KproxyError, ProgramFailed
from kproxy.kernel.programs import legacy_tables as xtables
from kproxy.kernel.programs.iptables import Iptables, Variant
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.iptables.ownership import GUARD, MARKING
from kproxy.transaction.culprits import Refusal, find_culprits
from kproxy.transaction.iptables.cleaning import (
    MARKING_REMOVAL,
    TABLES,
    Cleaning,
    TableCleaning,
    chains_to_remove,
    clean_table,
)
from kproxy.transaction.iptables.transaction import Section

_log = logging.getLogger(__name__)

_MOST_NAMED = 3
"""The number of chains that a message names; a node may have thousands."""


def find_chains(iptables: Iptables) -> Cleaning:
    """The removal of all chains of kproxy and kube-proxy; the kernel is read, and nothing is changed.

    EnvironmentLacking where chains are there and a program that can remove them is missing.
    """
    held = {table: [Chain(table, name) for name in _chain_names(iptables, table)] for table in TABLES}
    tables = (_table_cleaning(iptables, chains) for chains in held.values())
    cleaning = Cleaning(tuple(table for table in tables if table), MARKING in held[MARKING.table])
    if cleaning.has_marking:
        _require_program(iptables, [MARKING])
    return cleaning


def remove_chains(iptables: Iptables, cleaning: Cleaning) -> bool:
    """Remove what was found; whether anything is gone.

    KproxyError if rules of others lead to some of our chains: these stay, without rules. All other chains are gone
    then.
    """
    in_use: list[Chain] = []
    for table in cleaning.tables:
        iptables.delete_jumps(table)
        left = _delete(iptables, table.sections)
        _log.info(
            "%s: removed %d chains from %s", iptables.program, len(table.chains) - len(left), table.table
        )
        in_use += left
    marking_is_gone = cleaning.has_marking and _delete_marking(iptables)
    if in_use:
        names = ", ".join(f"{chain.name} in {chain.table}" for chain in in_use)
        raise KproxyError(
            f"rules of others lead to {names}; left without rules there; remove those rules, and clean up again"
        )
    return bool(cleaning.tables) or marking_is_gone


def _table_cleaning(iptables: Iptables, held: Sequence[Chain]) -> TableCleaning | None:
    """The removal of our chains from one table; None if it holds none of them: then no rule can jump to them either."""
    chains = chains_to_remove(held, guard_is_empty=GUARD in held and not _holds_rules(iptables, GUARD))
    if not chains:
        return None
    _require_program(iptables, chains)
    return clean_table(
        chains,
        iptables.jumps_to(chains),
        section_size=iptables.variant.section_size(len(held)),
        room=iptables.commit_room(),
    )


def _holds_rules(iptables: Iptables, chain: Chain) -> bool:
    """Whether the chain holds rules. Without the program of iptables-legacy nobody can tell, and the answer is yes."""
    if iptables.variant is Variant.LEGACY and process.find(iptables.program) is None:
        return True
    return not iptables.is_empty(chain)


def _delete(iptables: Iptables, sections: Sequence[Section]) -> list[Chain]:
    """Delete the chains of one table; returns those that stay, without rules, because rules of others lead to them."""
    try:
        iptables.restore(map(str, sections))
    except ProgramFailed as failed:
        if not _says_in_use(iptables, failed):
            raise
    else:
        return []
    iptables.restore(str(Section(each.table, dict.fromkeys(each.deleted, ""))) for each in sections)
    return _delete_one_by_one(iptables, sections)


def _delete_one_by_one(iptables: Iptables, sections: Sequence[Section]) -> list[Chain]:
    """Delete the chains that nothing leads to, in groups as large as the kernel takes; returns the others, sorted."""

    def attempt(group: Sequence[Chain]) -> Refusal[Chain, ProgramFailed] | None:
        try:
            iptables.restore([str(Section(group[0].table, deleted=tuple(group)))])
        except ProgramFailed as failed:
            if _says_in_use(iptables, failed):
                return Refusal(failed)
            raise
        return None

    found = find_culprits((section.deleted for section in sections), attempt, lambda: True)
    return sorted(found.culprits)


def _says_in_use(iptables: Iptables, failed: ProgramFailed) -> bool:
    """iptables-legacy-restore tells no reason, but another exit code where it cannot have the lock."""
    return failed.exit_code == 1 if iptables.variant is Variant.LEGACY else "resource busy" in failed.stderr


def _delete_marking(iptables: Iptables) -> bool:
    """Delete the chain that marks packets; whether it is gone. It stays if rules of others lead to it."""
    try:
        iptables.restore([str(MARKING_REMOVAL)])
    except ProgramFailed as failed:
        _log.info(
            "%s: %s stays, because rules of others jump to it: %s", iptables.program, MARKING.name, failed
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


def _require_program(iptables: Iptables, chains: Sequence[Chain]) -> None:
    for program in (iptables.program, f"{iptables.program}-restore"):
        if not process.find(program):
            names = ", ".join(chain.name for chain in chains[:_MOST_NAMED])
            more = f" and {len(chains) - _MOST_NAMED} more" if len(chains) > _MOST_NAMED else ""
            raise EnvironmentLacking(
                f"chains of kproxy or kube-proxy are in table {chains[0].table} ({names}{more}), "
                f"but {program} is not installed or not on PATH"
            )
