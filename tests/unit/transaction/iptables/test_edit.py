"""Edits of long chains: only few changes, only in an order that stays."""

import random

from kproxy.ruleset.chain import Chain
from kproxy.transaction.iptables.edit import find_edit
from restored import restored

SERVICES = Chain("nat", "KUBE-SERVICES")


def rules(*numbers: int) -> str:
    return "".join(
        f"-A KUBE-SERVICES -d 10.96.{number >> 8}.{number & 255}/32 -j KUBE-SVC-{number}\n"
        for number in numbers
    )


def applied(old: str, lines: tuple[str, ...]) -> str:
    jumps = {Chain("nat", f"KUBE-SVC-{number}"): "" for number in range(3000)}
    text = f"*nat\n{''.join(lines)}COMMIT\n"
    (after,) = restored({SERVICES: old, **jumps}, text)
    return after[SERVICES]


def test_edit_makes_the_new_rules_of_the_old_ones() -> None:
    draw = random.Random(1)
    for _ in range(20):
        old = sorted(draw.sample(range(2000), 1000))
        new = sorted({*draw.sample(old, 997), *draw.sample(range(2000, 3000), 4)})
        edit = find_edit(rules(*old), rules(*new))
        assert edit is not None
        assert rules(*new) == edit.rules == applied(rules(*old), edit.lines)
        assert len(edit.lines) == 7


def test_short_chain_is_written_again() -> None:
    assert find_edit(rules(*range(400)), rules(*range(401))) is None


def test_many_changes_are_written_again() -> None:
    assert find_edit(rules(*range(1000)), rules(*range(20, 1020))) is None


def test_rules_in_another_order_are_written_again() -> None:
    assert find_edit(rules(*range(1000)), rules(1, 0, *range(2, 1001))) is None


def test_doubled_rule_is_written_again() -> None:
    assert find_edit(rules(*range(1000), 5), rules(*range(1000))) is None


def test_chain_of_unknown_rules_is_written_again() -> None:
    assert find_edit(None, rules(*range(1000))) is None
