"""The benchmark's rivals do what they are timed for: the kernel ends as ours left it."""

from collections.abc import Iterator

import pytest

from benchmarks.cluster import Size, entry
from benchmarks.ground import Ground, empty_kernel, synced
from benchmarks.iptables import IptablesSubject
from benchmarks.subject import Rival
from kproxy.kernel import process
from kproxy.kernel.iptables import Backend

pytestmark = pytest.mark.netns

SIZE = Size(80, 3)
NUMBER = 33


@pytest.fixture(params=[(Backend.NFT, "flat"), (Backend.NFT, "tree"), (Backend.LEGACY, "tree")], ids=str)
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    with synced(IptablesSubject(*request.param), SIZE) as ground:
        yield ground


def held(ground: Ground) -> list[str]:
    """Chains and rules in alphabetical order: a rival of a flat dispatch puts its rule at the head."""
    program = ground.subject.name.partition(",")[0]
    saved = "".join(process.run([f"{program}-save", "-t", table]) for table in ("filter", "nat"))
    return sorted(line for line in saved.splitlines() if line.startswith((":KUBE-", "-A")))


def after(ground: Ground, rival: Rival) -> list[str]:
    rival.work()
    rival.afterwards()
    return held(ground)


def test_rivals_of_a_service_that_goes_and_comes_take_its_rules_away_and_bring_them_back(
    ground: Ground,
) -> None:
    service, before = ground.entry(NUMBER), held(ground)
    for gone in ground.baselines.of_change([(service, None)]):
        assert "default/s000033" not in str(after(ground, gone)), gone.name
    for come in ground.baselines.of_change([(None, service)]):
        assert before == after(ground, come), come.name


def test_rivals_of_an_endpoint_replaced_and_replaced_again_end_where_they_began(ground: Ground) -> None:
    old, before = ground.entry(NUMBER), held(ground)
    new = entry(NUMBER, SIZE.endpoints, generation=1)
    there, back = ([(old, new)], [(new, old)])
    for forth, again in zip(ground.baselines.of_change(there), ground.baselines.of_change(back), strict=True):
        assert "10.240.0.128:8080" in str(after(ground, forth)), forth.name
        assert before == after(ground, again), again.name


def test_rivals_of_the_first_sync_program_the_same_rules(ground: Ground) -> None:
    ours = held(ground)
    for rival in ground.baselines.of_first_sync():
        with empty_kernel():
            assert ours == after(ground, rival), rival.note


def test_restart_writes_nothing(ground: Ground) -> None:
    assert 0 == ground.restart().rules_written
