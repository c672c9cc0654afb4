"""Which chains may be committed before all is computed, and in which order."""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from kproxy.ruleset.chain import Chain
from kproxy.ruleset.iptables.chains import Ruleset
from kproxy.transaction.iptables.early_sections import EarlySections
from kproxy.transaction.iptables.transaction import Section

MARK = Chain("nat", "KUBE-MARK-MASQ")
SERVICES = Chain("nat", "KUBE-SERVICES")


def service(name: str) -> dict[Chain, str]:
    return {
        Chain("nat", f"KUBE-SVC-{name}"): f"-A KUBE-SVC-{name} -j KUBE-SEP-{name}\n",
        Chain("nat", f"KUBE-SEP-{name}"): f"-A KUBE-SEP-{name} -j DNAT --to-destination 10.128.1.1:80\n",
    }


def ahead(parts: Iterable[Ruleset], held: AbstractSet[Chain], size: int | None = 2) -> list[Section]:
    early = EarlySections(held, lambda _: size)
    return [section for part in parts for section in early.due(part)]


def test_chains_go_in_sections_children_first() -> None:
    sections = ahead([service("A"), service("B")], set())
    assert [["KUBE-SEP-A", "KUBE-SVC-A"], ["KUBE-SEP-B", "KUBE-SVC-B"]] == [
        [chain.name for chain in section.written] for section in sections
    ]


def test_chains_of_sections_that_were_due_are_written_and_come_no_second_time() -> None:
    early = EarlySections(frozenset(), lambda _: 2)
    assert 1 == len(early.due(service("A")))
    assert service("A") == early.written
    assert [] == early.due(service("A"))
    assert 1 == len(early.due(service("B")))
    assert service("A") | service("B") == early.written


def test_few_chains_wait_for_more_and_what_is_left_over_is_not_written() -> None:
    early = EarlySections(frozenset(), lambda _: 3)
    parts = [{MARK: ""}, service("A"), {Chain("nat", "KUBE-SVC-B"): ""}]
    (section,) = (section for part in parts for section in early.due(part))
    assert {MARK} | service("A").keys() == section.written.keys() == early.written.keys()


def test_dispatch_chains_other_tables_and_what_is_there_never_go_ahead() -> None:
    there = Chain("nat", "KUBE-SVC-A")
    parts = [
        {SERVICES: "-A KUBE-SERVICES -j KUBE-SVC-A\n", Chain("filter", "KUBE-FORWARD"): ""},
        service("A"),
    ]
    (section,) = ahead(parts, {there}, 1)
    assert {Chain("nat", "KUBE-SEP-A")} == section.written.keys()


def test_nothing_comes_early_where_all_belongs_into_one_section() -> None:
    assert [] == ahead([service("A")], set(), None)


def test_size_follows_what_is_held_and_written() -> None:
    early = EarlySections(frozenset(), lambda held: 2 if held < 4 else 4)
    sections = [section for name in "ABCDEF" for section in early.due(service(name))]
    assert [2, 2, 4, 4] == [len(section.written) for section in sections]
    early = EarlySections({Chain("nat", f"KUBE-{each}") for each in range(4)}, lambda held: held)
    assert [[], [4]] == [[len(section.written) for section in early.due(service(name))] for name in "AB"]
