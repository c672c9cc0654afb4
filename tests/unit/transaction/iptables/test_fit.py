"""Sections that are more than a socket takes: the same changes, in an order that is harmless."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from kproxy.ruleset.chain import Chain
from kproxy.transaction.iptables.edit import Edit
from kproxy.transaction.iptables.fit import fitting
from kproxy.transaction.iptables.transaction import Section, Transaction

ROOM = 10_000


def a_chain(number: int, rules: int = 1) -> tuple[Chain, str]:
    name = f"KUBE-SVC-{number}"
    return Chain("nat", name), "".join(f"-A {name} -p {rule} -j KUBE-SEP-{rule}\n" for rule in range(rules))


def longest(sections: Iterable[Section]) -> int:
    return max(len(str(section)) for section in sections)


def test_section_that_fits_stays_as_it_is() -> None:
    section = Section("nat", dict(map(a_chain, range(3))), ("-A OUTPUT -j KUBE-SERVICES",))
    assert [section] == list(fitting([section], ROOM))
    assert [section] == list(fitting([section], None))


@given(st.lists(st.integers(0, 60), min_size=1, max_size=40))
def test_divided_section_writes_the_same_chains_in_their_order(counts: list[int]) -> None:
    section = Section("nat", dict(a_chain(number, count) for number, count in enumerate(counts)))
    divided = list(fitting([section], ROOM))
    assert section.written == Transaction(tuple(divided)).written
    assert list(section.written) == list(Transaction(tuple(divided)).written)
    assert section.rule_count == sum(part.rule_count for part in divided)
    assert longest(divided) < ROOM


def test_jumps_come_after_what_is_written_and_deletions_last_when_all_is_emptied() -> None:
    written = dict(a_chain(number, 10) for number in range(3))
    edit = Edit("", ("-D KUBE-NODEPORTS -j KUBE-EXT-A\n",))
    deleted = tuple(Chain("nat", f"KUBE-SEP-{number}") for number in range(100))
    section = Section(
        "nat", written, ("-A OUTPUT -j KUBE-SERVICES",), deleted, {Chain("nat", "KUBE-NODEPORTS"): edit}
    )
    divided = list(fitting([section], ROOM))
    kinds = [
        "".join(word[0] for word in ("written", "edited", "jumps", "deleted") if getattr(part, word))
        for part in divided
    ]
    assert [*"wwwej", *"www", *"ddd"] == kinds
    emptied = [chain for part in divided[5:8] for chain in part.written]
    assert list(deleted) == emptied == [chain for part in divided[8:] for chain in part.deleted]
    assert "" == "".join(rules for part in divided[5:8] for rules in part.written.values())


def test_chain_that_alone_is_too_long_is_written_and_then_appended_to() -> None:
    chain, rules = a_chain(1, 100)
    first, *others = fitting([Section("nat", {chain: rules})], ROOM)
    added = [line for part in others for line in part.edited[chain].lines]
    assert rules == first.written[chain] + "".join(added)
    assert len(others) > 2
    assert rules == others[-1].edited[chain].rules
