"""The parts of the kernel that a service proxy may have written to: each is found first, then printed or removed."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from kproxy.cleanup.iptables_chains import find_chains, remove_chains
from kproxy.kernel.netlink.chains import delete_table, has_table
from kproxy.kernel.netlink.ipvs import INTERFACE, delete_interface, find_interface
from kproxy.kernel.programs.iptables import Iptables, Variant
from kproxy.ruleset.nftables.ownership import TABLES
from kproxy.transaction.iptables.cleaning import Cleaning
from kproxy.transaction.nftables.cleaning import TablesCleaning
from kproxy.values import Family

_log = logging.getLogger(__name__)


class Removal(NamedTuple):
    """The removal of one part's rules. If there are none, `transaction` is false.

    `str(transaction)` is the input of a program, or a command, that removes them. `apply` removes them, and returns
    whether anything was there; KproxyError if some rules have to stay.
    """

    transaction: Cleaning | TablesCleaning | str
    apply: Callable[[], bool]


class Part(NamedTuple):
    """One place to look at; `name` is for messages.

    `find` reads the kernel and changes nothing; EnvironmentLacking if a program that the removal needs is missing.
    """

    name: str
    find: Callable[[], Removal]


def iptables_part(variant: Variant, family: Family) -> Part:
    """The chains in all tables of one iptables program."""
    iptables = Iptables(variant, family)

    def find() -> Removal:
        cleaning = find_chains(iptables)
        return Removal(cleaning, partial(remove_chains, iptables, cleaning))

    return Part(iptables.program, find)


def nftables_part(family: Family, tables: Sequence[str] = TABLES) -> Part:
    """These tables of nftables mode, by netlink alone: a table of somebody else may keep `nft` from working.

    The kernel is asked for each of them by name, and for no table of others.
    """
    name = f"nftables, {family}"

    def find() -> Removal:
        there = tuple(table for table in tables if has_table(family, table))
        return Removal(TablesCleaning(family, there), partial(_delete_tables, name, family, there))

    return Part(name, find)


def interface_part() -> Part:
    """The interface of kube-proxy's mode ipvs, with its addresses."""

    def find() -> Removal:
        command = f"ip link delete dev {INTERFACE}\n" if find_interface() else ""
        return Removal(command, _delete_interface if command else lambda: False)

    return Part(INTERFACE, find)


def all_parts() -> Iterator[Part]:
    """Every mode, variant and family."""
    for family in Family:
        for variant in Variant:
            yield iptables_part(variant, family)
        yield nftables_part(family)
    yield interface_part()


def _delete_tables(name: str, family: Family, tables: Sequence[str]) -> bool:
    deleted = [table for table in tables if delete_table(family, table)]
    for table in deleted:
        _log.info("%s: removed table %s", name, table)
    return bool(deleted)


def _delete_interface() -> bool:
    if not delete_interface():
        return False
    _log.info("removed %s, the interface of kube-proxy's mode ipvs", INTERFACE)
    return True
