"""The order of a transaction: no packet meets a bad state between two COMMITs."""

import pytest

from kproxy.ruleset.chain import Chain
from kproxy.transaction.iptables.order import children_first, jumps_in, parents_first
from kproxy.transaction.iptables.plan import clean_node, plan
from kproxy.transaction.iptables.transaction import Reason, Section

SERVICES, SVC, SEP = Chain("nat", "KUBE-SERVICES"), Chain("nat", "KUBE-SVC-A"), Chain("nat", "KUBE-SEP-A")
SEP_B, EXT = Chain("nat", "KUBE-SEP-B"), Chain("nat", "KUBE-EXT-A")
REFUSALS = Chain("filter", "KUBE-SERVICES")
REFUSE = "-A KUBE-SERVICES -d 10.96.0.10/32 -j REJECT\n"
NAT = {
    SERVICES: "-A KUBE-SERVICES -d 10.96.0.10/32 -j KUBE-SVC-A\n",
    SVC: "-A KUBE-SVC-A -j KUBE-SEP-A\n",
    SEP: "-A KUBE-SEP-A -j DNAT --to-destination 10.128.1.1:8080\n",
}


def planned(
    known: dict[Chain, str | None], desired: dict[Chain, str], size: int | None = None
) -> list[Section]:
    return list(plan(known, desired, {}, section_size=size).sections)


def test_nothing_changed_is_an_empty_transaction() -> None:
    transaction = plan(dict(NAT), NAT, {}, section_size=None)
    assert not transaction
    assert "" == str(transaction)


def test_only_chains_whose_text_changed_are_written() -> None:
    changed = {**NAT, SEP: "-A KUBE-SEP-A -j DNAT --to-destination 10.128.1.2:8080\n"}
    (section,) = planned(dict(NAT), changed)
    assert {SEP} == section.written.keys()


def test_chain_of_unknown_rules_is_written_again() -> None:
    (section,) = planned({**NAT, SVC: None}, NAT)
    assert {SVC} == section.written.keys()


def test_section_is_text_for_iptables_restore() -> None:
    (section,) = planned({SERVICES: NAT[SERVICES], SVC: NAT[SVC]}, NAT)
    assert f"*nat\n:KUBE-SEP-A - [0:0]\n{NAT[SEP]}COMMIT\n" == str(section)


def test_service_that_gains_its_first_endpoint_is_refused_until_it_is_served() -> None:
    sections = planned({REFUSALS: REFUSE}, {REFUSALS: "", **NAT})
    assert ["nat", "filter"] == [section.table for section in sections]


def test_service_that_loses_its_last_endpoint_is_refused_before_nat_lets_go() -> None:
    sections = planned({REFUSALS: "", **NAT}, {REFUSALS: REFUSE})
    assert ["filter", "nat"] == [section.table for section in sections]
    assert {SERVICES, SVC, SEP} == set(sections[1].deleted)


def test_refusals_that_come_and_go_at_once_overlap_and_the_leaving_stand_first() -> None:
    other = REFUSE.replace("10.96.0.10", "10.96.0.11")
    first, last = planned({REFUSALS: REFUSE}, {REFUSALS: other})
    assert {REFUSALS: REFUSE + other} == first.written
    assert {REFUSALS: other} == last.written


def test_children_come_before_parents_and_dispatch_last() -> None:
    forest = {**NAT, EXT: "-A KUBE-EXT-A -j KUBE-MARK-MASQ\n-A KUBE-EXT-A -j KUBE-SVC-A\n"}
    order = children_first(jumps_in(forest))
    assert order.index(SEP) < order.index(SVC) < order.index(EXT)
    assert order.index(SVC) < order.index(SERVICES)


def test_stale_chains_are_deleted_parents_first() -> None:
    assert [EXT, SVC, SEP] == parents_first([SEP, SVC, EXT])


@pytest.mark.parametrize("size", [1, 2, 3, None])
def test_sections_hold_no_more_chains_than_asked_and_lose_none(size: int | None) -> None:
    stale: dict[Chain, str | None] = {SEP_B: None, EXT: None}
    sections = planned(stale, NAT, size)
    assert all(len(section.written) + len(section.deleted) <= (size or 5) for section in sections)
    assert NAT.keys() == {chain for section in sections for chain in section.written}
    assert [EXT, SEP_B] == [chain for section in sections for chain in section.deleted]


@pytest.mark.parametrize(("size", "sections"), [(6, 1), (5, 2)])
def test_sections_count_the_chains_that_rules_jump_to(size: int, sections: int) -> None:
    services = {
        Chain("nat", f"KUBE-SVC-{name}"): "".join(
            f"-A KUBE-SVC-{name} -j KUBE-SEP-{name}{at}\n" for at in "12"
        )
        for name in "AB"
    }
    backends = {Chain("nat", f"KUBE-SEP-{name}{at}"): "" for name in "AB" for at in "12"}
    known = {**dict.fromkeys(services), **backends}
    assert sections == len(planned(known, {**services, **backends}, size))


def test_an_edited_chain_counts_only_the_jumps_that_change() -> None:
    lines = [f"-A KUBE-SERVICES -d 10.96.0.{number} -j KUBE-SVC-{number}\n" for number in range(600)]
    known: dict[Chain, str | None] = {SERVICES: "".join(lines[1:])}
    assert 1 == len(planned(known, {SERVICES: "".join(lines), SVC: NAT[SVC]}, 5))


def test_missing_jumps_come_with_the_last_nat_section_and_keep_their_order() -> None:
    jumps = {"nat": ["-A OUTPUT -j FIRST", "-A OUTPUT -j SECOND"]}
    *_, last = plan({}, NAT, jumps, section_size=1).sections
    assert SERVICES in last.written
    assert "-I OUTPUT -j SECOND\n-I OUTPUT -j FIRST\nCOMMIT\n" in str(last)


def test_missing_jumps_alone_are_a_transaction() -> None:
    transaction = plan(dict(NAT), NAT, {"nat": ["-A OUTPUT -j KUBE-SERVICES"]}, section_size=None)
    assert "*nat\n-I OUTPUT -j KUBE-SERVICES\nCOMMIT\n" == str(transaction)
    assert 1 == transaction.rule_count


def test_clean_node_text_declares_each_chain_once_and_appends_the_jumps() -> None:
    text = clean_node(NAT, {Chain("nat", "OUTPUT"): "-A OUTPUT -j KUBE-SERVICES\n"})
    assert 1 == text.count(":KUBE-SVC-A - [0:0]\n")
    assert text.index("-A OUTPUT") > text.index(":KUBE-SERVICES")
    assert 2 == text.count("COMMIT\n")


@pytest.mark.parametrize(("option", "sections"), [({}, 1), ({"deletes_apart": True}, 2)])
def test_deletions_join_the_last_write_unless_they_are_kept_apart(
    option: dict[str, bool], sections: int
) -> None:
    changed = {**NAT, SVC: "-A KUBE-SVC-A -j RETURN\n"}
    known: dict[Chain, str | None] = {**NAT, SEP_B: None}
    transaction = plan(known, changed, {}, section_size=None, **option)
    assert sections == len(transaction.sections)
    assert (SEP_B,) == transaction.sections[-1].deleted


def test_each_section_says_why_it_stands_there() -> None:
    old = {REFUSALS: REFUSE, SEP_B: "", **NAT}
    other_refusal = REFUSE.replace("10.96.0.10", "10.96.0.11")
    changed = {REFUSALS: other_refusal, **NAT, SEP: NAT[SEP].replace("8080", "8081")}
    assert [Reason.REFUSE, Reason.SERVE_AND_DELETE, Reason.ADMIT] == [
        section.reason for section in planned(dict(old), changed)
    ]
    assert [Reason.REFUSE, Reason.SERVE, Reason.ADMIT, Reason.DELETE] == [
        section.reason for section in plan(old, changed, {}, section_size=None, deletes_apart=True).sections
    ]


def test_marks_are_comments_before_the_sections_and_the_rest_is_what_programs_read() -> None:
    transaction = plan({REFUSALS: REFUSE}, {REFUSALS: "", **NAT}, {}, section_size=None)
    first, second = transaction.sections
    assert transaction.marked == (
        f"# section 1 of 2: {Reason.SERVE.value}\n{first}# section 2 of 2: {Reason.ADMIT.value}\n{second}"
    )
