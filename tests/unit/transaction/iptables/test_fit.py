"""Sections and elements that are more than a socket takes: the same changes, in an order that is harmless."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from kproxy.ruleset.chain import Chain
from kproxy.ruleset.nftables.table import Element, Numbered, spelled_out
from kproxy.transaction.iptables.edit import Edit
from kproxy.transaction.iptables.fit import fitting
from kproxy.transaction.iptables.transaction import Section, Transaction
from kproxy.transaction.nftables.elements import ElementCommand, apart
from kproxy.values import Family

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


CREATE = ElementCommand("create", Family.IPV4, "endpoints-2", ())
DELETE = CREATE._replace(verb="delete")


def command(verb: str, holder: str, *elements: str) -> ElementCommand:
    pairs = [each.partition("=") for each in elements]
    return ElementCommand(
        verb, Family.IPV4, holder, tuple(Element(holder, key, value) for key, _, value in pairs)
    )


def test_element_that_gets_another_value_does_so_in_one_part() -> None:
    parts = apart(
        [
            command("delete", "service-ips", "a", "gone"),
            command("delete", "endpoints-2", "b"),
            command("create", "endpoints-2", "b=2", "new=1"),
            command("create", "service-ips", "a=goto y", "added=goto z"),
        ]
    )
    assert [
        (command("create", "endpoints-2", "new=1"),),
        (command("delete", "endpoints-2", "b"), command("create", "endpoints-2", "b=2")),
        (command("delete", "service-ips", "a"), command("create", "service-ips", "a=goto y")),
        (command("create", "service-ips", "added=goto z"),),
        (command("delete", "service-ips", "gone"),),
    ] == parts


def test_numbered_elements_are_parts_of_which_each_is_there_as_a_whole_or_replaced_one_by_one() -> None:
    numbered = Numbered("endpoints-2", "k", ("1", "2"))
    assert [(CREATE._replace(elements=(numbered,)),)] == apart([CREATE._replace(elements=(numbered,))])
    old = Element("endpoints-2", "k . 1")
    parts = apart([DELETE._replace(elements=(old,)), CREATE._replace(elements=(numbered,))])
    first, second = spelled_out([numbered])
    assert [
        (CREATE._replace(elements=(first,)),),
        (DELETE._replace(elements=(old,)), CREATE._replace(elements=(second,))),
    ] == parts
