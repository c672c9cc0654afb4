"""Services at fault in iptables mode, over a kernel in memory: found, left out alone, tried again."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from fakekernel.iptablesnode import FakeNode, chain, key
from kproxy.agent import suspects
from kproxy.agent.suspects import FIRST_PAUSE_S
from kproxy.kernel.programs.iptables import Variant

BAD = 81


@pytest.fixture(params=Variant)
def node(request: pytest.FixtureRequest) -> Iterator[FakeNode]:
    with closing(FakeNode(request.param)) as made:
        yield made


@pytest.fixture(params=[False, True], ids=["at once", "late"])
def any_node(request: pytest.FixtureRequest) -> Iterator[FakeNode]:
    with closing(FakeNode(Variant.NFT, is_late=request.param)) as made:
        yield made


def refuse_bad(node: FakeNode) -> None:
    """The kernel has something against port 81."""
    node.kernel.faults.refuse(f"--dport {BAD} ")


def quarantined(node: FakeNode, *, verify: bool = False) -> list[str]:
    report = node.sync(verify=verify)
    assert report.error is None
    return [rejection.name.removeprefix("default/") for rejection in report.quarantined]


def serves(node: FakeNode, *names: str) -> list[bool]:
    """Whether each Service is as the state wants it."""
    wanted, held = node.wanted(), node.held()
    return [wanted[chain(name)] == held.get(chain(name)) for name in names]


@pytest.mark.parametrize("count", [0, 1, 4, 20])
def test_culprits_among_services_are_found_and_all_others_are_programmed(node: FakeNode, count: int) -> None:
    refuse_bad(node)
    good = [f"good-{number:02}" for number in range(20)]
    bad = [f"bad-{number:02}" for number in range(count)]
    node.serve(*good)
    node.serve(*bad, port=BAD)
    assert bad == quarantined(node)
    assert node.wanted(without=bad) == node.held()
    assert node.kernel.rules() == dict(node.observed.delta.observed)


def test_culprit_in_mid_life_keeps_its_rules_and_holds_up_no_change_of_others(any_node: FakeNode) -> None:
    node = any_node
    refuse_bad(node)
    node.serve("a", "b", "culprit")
    assert [] == quarantined(node)
    before = node.held()[chain("culprit")]
    node.serve("culprit", port=BAD)
    node.endpoint("a", "10.128.7.7")
    assert ["culprit"] == quarantined(node)
    assert before == node.held()[chain("culprit")]
    assert [True, True] == serves(node, "a", "b")
    node.serve("late")
    runs = len(node.iptables.runs)
    assert ["culprit"] == quarantined(node)
    assert 1 == len(node.iptables.runs) - runs
    assert serves(node, "late") == [True]


def test_culprit_is_tried_again_after_a_pause_and_taken_when_the_kernel_takes_it(any_node: FakeNode) -> None:
    node = any_node
    refuse_bad(node)
    node.serve("a")
    node.serve("culprit", port=BAD)
    assert ["culprit"] == quarantined(node)
    runs = len(node.iptables.runs)
    assert ["culprit"] == quarantined(node, verify=True)
    assert runs == len(node.iptables.runs)
    node.now_s += FIRST_PAUSE_S
    assert ["culprit"] == quarantined(node)
    assert runs < len(node.iptables.runs)
    node.kernel.faults.end()
    node.now_s += 2 * FIRST_PAUSE_S
    assert [] == quarantined(node)
    assert node.wanted() == node.held()


def test_search_without_tries_left_goes_on_with_the_next_sync(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suspects, "MOST_TRIES", 3)
    refuse_bad(node)
    bad = [f"bad-{number}" for number in range(4)]
    node.serve(*(f"good-{number}" for number in range(12)))
    node.serve(*bad, port=BAD)
    errors = 0
    while node.sync().error is not None:
        errors += 1
        assert errors < 20
    assert errors > 0
    assert bad == quarantined(node)
    assert node.wanted(without=bad) == node.held()


@pytest.mark.parametrize("took_effect", [False, True])
def test_death_at_any_step_of_a_search_loses_no_change(node: FakeNode, took_effect: bool) -> None:
    failures = 0
    for number in range(1, 12):
        with closing(FakeNode(node.kernel.variant)) as each:
            refuse_bad(each)
            each.serve(*(f"good-{one}" for one in range(6)))
            each.serve("culprit", port=BAD)
            each.kernel.faults.die_in_write(number, took_effect=took_effect)
            failures += each.sync().error is not None
            assert ["culprit"] == quarantined(each), number
            assert each.wanted(without=["culprit"]) == each.held(), number
    assert failures > 1


def test_change_by_others_that_makes_a_change_fail_blames_no_service(node: FakeNode) -> None:
    """A chain that others deleted is missed only by a change that jumps to it."""
    node.serve("a", "b")
    assert [] == quarantined(node)
    masq = next(each for each in node.held() if each.name == "KUBE-MARK-MASQ")

    def forget_masquerading() -> None:
        node.kernel.chains = {
            each: tuple(rule for rule in rules if f"-j {masq.name}" not in rule)
            for each, rules in node.kernel.chains.items()
            if each != masq
        }

    node.kernel.faults.somebody_commits_now(forget_masquerading)
    node.endpoint("a", "10.128.7.7")
    assert [] == quarantined(node)
    assert node.wanted() == node.held()


def test_kernel_that_refuses_everything_blames_no_service(node: FakeNode) -> None:
    node.serve("a", "b")
    assert [] == quarantined(node)
    before = node.held()
    node.kernel.faults.refuse("COMMIT")
    node.endpoint("a", "10.128.7.7")
    for _ in range(2):
        report = node.sync()
        assert (True, ()) == (report.error is not None, report.quarantined)
    assert before == node.held()
    node.kernel.faults.end()
    assert [] == quarantined(node)
    assert node.wanted() == node.held()


def test_new_agent_beside_a_culprit_keeps_the_rules_that_it_had(node: FakeNode) -> None:
    refuse_bad(node)
    node.serve("a", "culprit")
    assert [] == quarantined(node)
    node.serve("culprit", port=BAD)
    assert ["culprit"] == quarantined(node)
    before = node.held()
    node.restart()
    node.serve("a")
    assert ["culprit"] == quarantined(node)
    assert before == node.held() or chain("culprit") not in node.held()
    assert [True] == serves(node, "a")


def test_deleted_culprit_is_forgotten(node: FakeNode) -> None:
    refuse_bad(node)
    node.serve("a")
    node.serve("culprit", port=BAD)
    assert ["culprit"] == quarantined(node)
    node.delete("culprit")
    assert [] == quarantined(node)
    assert node.wanted() == node.held()
    assert key("culprit") not in node.proxy.desired.changed
