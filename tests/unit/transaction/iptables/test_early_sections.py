"""Which chains may be committed before all is computed, and in which order."""

from collections.abc import Iterable

from kproxy.ruleset.chain import Chain
from kproxy.ruleset.iptables.chains import Ruleset
from kproxy.transaction.iptables.early_sections import early_sections
from kproxy.transaction.iptables.transaction import Section

MARK = Chain("nat", "KUBE-MARK-MASQ")
SERVICES = Chain("nat", "KUBE-SERVICES")


def service(name: str) -> dict[Chain, str]:
    return {
        Chain("nat", f"KUBE-SVC-{name}"): f"-A KUBE-SVC-{name} -j KUBE-SEP-{name}\n",
        Chain("nat", f"KUBE-SEP-{name}"): f"-A KUBE-SEP-{name} -j DNAT --to-destination 10.128.1.1:80\n",
    }


def ahead(parts: Iterable[Ruleset], held: dict[Chain, str | None], size: int | None = 2) -> list[Section]:
    return list(early_sections(parts, held, lambda _: size))


def test_chains_go_in_sections_children_first_and_are_held_then() -> None:
    held: dict[Chain, str | None] = {}
    sections = ahead([service("A"), service("B")], held)
    assert [["KUBE-SEP-A", "KUBE-SVC-A"], ["KUBE-SEP-B", "KUBE-SVC-B"]] == [
        [chain.name for chain in section.written] for section in sections
    ]
    assert held == service("A") | service("B")


def test_few_chains_wait_for_more_and_what_is_left_over_is_not_held() -> None:
    held: dict[Chain, str | None] = {}
    (section,) = ahead([{MARK: ""}, service("A"), {Chain("nat", "KUBE-SVC-B"): ""}], held, 3)
    assert {MARK} | service("A").keys() == section.written.keys() == held.keys()


def test_dispatch_chains_other_tables_and_what_is_there_never_go_ahead() -> None:
    there = Chain("nat", "KUBE-SVC-A")
    held: dict[Chain, str | None] = {there: None}
    parts = [
        {SERVICES: "-A KUBE-SERVICES -j KUBE-SVC-A\n", Chain("filter", "KUBE-FORWARD"): ""},
        service("A"),
    ]
    (section,) = ahead(parts, held, 1)
    assert {Chain("nat", "KUBE-SEP-A")} == section.written.keys()
    assert held[there] is None


def test_nothing_goes_ahead_where_all_belongs_into_one_section() -> None:
    assert [] == ahead([service("A")], {}, None)


def test_size_follows_what_is_held() -> None:
    parts = [service(name) for name in "ABCDEF"]
    sections = early_sections(parts, {}, lambda held: 2 if held < 4 else 4)
    assert [2, 2, 4, 4] == [len(section.written) for section in sections]
