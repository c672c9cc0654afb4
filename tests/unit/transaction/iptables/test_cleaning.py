"""The removal of chains as a transaction: what goes, in which order, and the text of it."""

import pytest

from kproxy.ruleset.chain import Chain
from kproxy.transaction.iptables.cleaning import (
    TABLES,
    Cleaning,
    JumpRemoval,
    TableCleaning,
    chains_to_remove,
    clean_table,
)

SERVICES, SVC, SEP = (Chain("nat", f"KUBE-{name}") for name in ("SERVICES", "SVC-A", "SEP-A"))
FW, TREE = Chain("nat", "KUBE-FW-A"), Chain("nat", "KUBE-S-10.96.0.0/12")
GUARD = Chain("filter", "KUBE-FIREWALL")
OUTPUT = Chain("nat", "OUTPUT")


def test_chains_of_services_nodes_and_mode_ipvs_go() -> None:
    going = [
        SERVICES,
        SVC,
        SEP,
        FW,
        TREE,
        Chain("filter", "KUBE-IPVS-FILTER"),
        Chain("mangle", "KUBE-PROXY-CANARY"),
    ]
    assert going == chains_to_remove(going, guard_is_empty=False)


def test_chains_of_others_and_chains_that_others_use_stay() -> None:
    held = [
        OUTPUT,
        Chain("nat", "MINE"),
        Chain("nat", "KUBE-MARK-MASQ"),  # removed by itself
        Chain("nat", "KUBE-MINE"),
        Chain("mangle", "KUBE-KUBELET-CANARY"),
        Chain("filter", "KUBE-SVC-A"),
    ]
    assert [] == chains_to_remove(held, guard_is_empty=True)


@pytest.mark.parametrize("is_empty", [True, False])
def test_guard_goes_only_if_it_is_empty(is_empty: bool) -> None:
    assert [GUARD] * is_empty == chains_to_remove([GUARD], guard_is_empty=is_empty)


def test_jumps_go_before_chains_and_parents_before_children() -> None:
    jumps = [
        JumpRemoval(OUTPUT, "KUBE-SERVICES", "-D OUTPUT 3"),
        JumpRemoval(OUTPUT, "KUBE-SERVICES", "-D OUTPUT 1"),
    ]
    cleaning = clean_table([SEP, SVC, TREE, FW, SERVICES], jumps, section_size=None, room=None)
    assert (SERVICES, TREE, FW, SVC, SEP) == cleaning.chains
    assert str(cleaning) == (
        "*nat\n-D OUTPUT 3\n-D OUTPUT 1\nCOMMIT\n"
        "*nat\n"
        ":KUBE-SERVICES - [0:0]\n:KUBE-S-10.96.0.0/12 - [0:0]\n:KUBE-FW-A - [0:0]\n:KUBE-SVC-A - [0:0]\n:KUBE-SEP-A - [0:0]\n"
        "-X KUBE-SERVICES\n-X KUBE-S-10.96.0.0/12\n-X KUBE-FW-A\n-X KUBE-SVC-A\n-X KUBE-SEP-A\n"
        "COMMIT\n"
    )


def test_without_jumps_only_chains_are_in_the_text() -> None:
    assert "*nat\n:KUBE-SVC-A - [0:0]\n-X KUBE-SVC-A\nCOMMIT\n" == str(
        clean_table([SVC], [], section_size=None, room=None)
    )


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_section_mentions_no_more_chains_than_its_bound(size: int) -> None:
    chains = [Chain("nat", f"KUBE-SEP-{number}") for number in range(7)]
    cleaning = clean_table(chains, [], section_size=size, room=None)
    assert chains == sorted(cleaning.chains)
    assert -(-7 // size) == len(cleaning.sections)
    assert all(len(section.deleted) <= size for section in cleaning.sections)


def test_section_that_does_not_fit_empties_all_chains_before_it_deletes_any() -> None:
    chains = [Chain("nat", f"KUBE-SEP-{number}") for number in range(4)]
    sections = clean_table(chains, [], section_size=None, room=512).sections
    emptied = [chain for section in sections for chain in section.written]
    assert (chains, [False, False, True, True]) == (emptied, [section.only_deletes for section in sections])


def test_cleaning_of_nothing_is_false_and_prints_nothing() -> None:
    assert (False, "") == (bool(Cleaning((), has_marking=False)), str(Cleaning((), has_marking=False)))


def test_marking_chain_goes_last_and_by_itself() -> None:
    table = clean_table([SVC], [], section_size=None, room=None)
    cleaning = Cleaning((table,), has_marking=True)
    assert cleaning
    assert str(cleaning) == (
        f"{table}# KUBE-MARK-MASQ stays if rules of others lead to it\n"
        "*nat\n:KUBE-MARK-MASQ - [0:0]\n-X KUBE-MARK-MASQ\nCOMMIT\n"
    )
    assert Cleaning((), has_marking=True)


def test_tables_are_those_in_which_kube_proxy_has_chains() -> None:
    assert {"filter", "nat", "mangle"} == set(TABLES)
    assert "" == TableCleaning("nat", (), ()).text_of_jumps
