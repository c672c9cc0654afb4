"""The benchmark's rivals do what they are timed for: the kernel ends as ours left it."""

import json
from collections.abc import Iterator

import pytest

from benchmarks.cluster import Size, cluster_ip, entry
from benchmarks.encoded import FORMS, listed, packed, pages, served
from benchmarks.faults import FAULTS, PAGE_SIZE, Lists, good_lists, lists_with_bad
from benchmarks.ground import Ground, empty_kernel, synced
from benchmarks.iptables import IptablesSubject
from benchmarks.listed import NODE, Listing, listed_agent
from benchmarks.nftables import NftablesSubject
from benchmarks.subject import Rival, Subject
from kproxy import process
from kproxy.kernel.programs.iptables import Variant
from kproxy.state.encodings.as_json import JSON
from kproxy.state.events import Changed
from kproxy.values import Family
from nftlisting import listing

pytestmark = pytest.mark.netns

SIZE = Size(80, 3)
NUMBER = 33
SUBJECTS = (
    IptablesSubject(Variant.NFT, "flat"),
    IptablesSubject(Variant.NFT, "tree"),
    IptablesSubject(Variant.LEGACY, "tree"),
    NftablesSubject(),
)


@pytest.fixture(params=SUBJECTS, ids=lambda subject: subject.name)
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    with synced(request.param, SIZE) as ground:
        yield ground


def held(ground: Ground) -> object:
    return rules_of(ground.subject)


def rules_of(subject: Subject) -> object:
    """Chains and rules in alphabetical order: a rival of a flat dispatch puts its rule at the head."""
    if isinstance(subject, NftablesSubject):
        return listing(Family.IPV4)
    program = subject.name.partition(",")[0]
    saved = "".join(process.run([f"{program}-save", "-t", table]) for table in ("filter", "nat"))
    return sorted(line for line in saved.splitlines() if line.startswith((":KUBE-", "-A")))


def after(ground: Ground, rival: Rival) -> object:
    rival.work()
    rival.afterwards()
    return held(ground)


def test_rivals_of_a_service_that_goes_and_comes_take_its_rules_away_and_bring_them_back(
    ground: Ground,
) -> None:
    service, before = ground.entry(NUMBER), held(ground)
    for gone in ground.baselines.of_change([(service, None)]):
        assert cluster_ip(NUMBER) not in str(after(ground, gone)), gone.name
    for come in ground.baselines.of_change([(None, service)]):
        assert before == after(ground, come), come.name


def test_rivals_of_an_endpoint_replaced_and_replaced_again_end_where_they_began(ground: Ground) -> None:
    old, before = ground.entry(NUMBER), held(ground)
    new = entry(NUMBER, SIZE.endpoints, generation=1)
    there, back = ([(old, new)], [(new, old)])
    for forth, again in zip(ground.baselines.of_change(there), ground.baselines.of_change(back), strict=True):
        assert "10.240.0.128" in str(after(ground, forth)), forth.name
        assert before == after(ground, again), again.name


def test_rivals_of_the_first_sync_program_the_same_rules(ground: Ground) -> None:
    ours = held(ground)
    for rival in ground.baselines.of_first_sync():
        with empty_kernel():
            assert ours == after(ground, rival), rival.note


@pytest.mark.parametrize("has_neighbour", [False, True], ids=["the only one", "with a neighbour"])
def test_rivals_of_an_endpoint_more_and_one_fewer_end_as_ours(ground: Ground, *, has_neighbour: bool) -> None:
    beside = [entry(SIZE.services, SIZE.endpoints + 1)] if has_neighbour else []
    ground.sync(*(event for each in beside for event in each.arrives))
    old, before = ground.entry(NUMBER), held(ground)
    new = entry(NUMBER, SIZE.endpoints + 1)
    ground.sync(Changed(new.slice))
    grown = held(ground)
    assert before != grown
    ground.sync(Changed(old.slice))
    for more in ground.baselines.of_change([(old, new)], beside):
        assert grown == after(ground, more), more.name
        (fewer,) = (
            each for each in ground.baselines.of_change([(new, old)], beside) if each.name == more.name
        )
        assert before == after(ground, fewer), fewer.name


def test_nftables_rival_of_an_endpoint_that_keeps_its_place_writes_one_element_instead_of_one() -> None:
    """A rival that wrote more than has to be would flatter ours."""
    old, new = (entry(NUMBER, SIZE.endpoints, generation=generation) for generation in (1, 2))
    text = NftablesSubject().baselines(SIZE).text_of_change([(old, new)])
    assert 2 == text.count("\n\t")


def test_restart_writes_nothing_or_what_its_rivals_do(ground: Ground) -> None:
    before = held(ground)
    assert ground.subject.starts_afresh == bool(ground.restart().rules_written)
    rivals = ground.baselines.of_restart()
    assert ground.subject.starts_afresh == bool(rivals)
    for rival in rivals:
        assert before == after(ground, rival), rival.name


PASSED_OVER = {"nested 1,000 levels", "FQDN", "no label"}
"""The kinds of objects that are used, or that are none of ours."""


def listed_twice(subject: Subject, lists: Lists) -> tuple[Listing, Listing, object, int]:
    """Both listings, the rules in the kernel, and how many objects are in quarantine."""
    with listed_agent(subject) as agent:
        first, again = agent.list(lists), agent.list(lists)
        return first, again, rules_of(subject), json.loads(agent.quarantine.body)["total"]


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_bad_objects_change_no_rule_and_are_in_quarantine_each_told_once(subject: Subject) -> None:
    bad = 3 * len(FAULTS)
    _, _, alone, none = listed_twice(subject, good_lists(SIZE, NODE))
    first, again, with_bad, found = listed_twice(subject, lists_with_bad(SIZE, bad, NODE))
    assert alone == with_bad
    node_and_network = 2
    expected = 3 * sum(fault.name not in PASSED_OVER for fault in FAULTS) + node_and_network
    assert (0, expected) == (none, found)
    assert first.sync.rules_written > again.sync.rules_written == 0
    one_for_the_sync, one_for_those_not_named = 1, 1
    assert (20 + one_for_the_sync + one_for_those_not_named, 0) == (first.lines_logged, again.lines_logged)


def test_lists_with_bad_objects_have_more_by_those_that_stand_beside_the_good() -> None:
    def items(lists: Lists) -> int:
        return sum(len(JSON.page(page).items) for pages in lists.values() for page in pages)

    good, bad = good_lists(SIZE, NODE), lists_with_bad(SIZE, len(FAULTS), NODE)
    assert items(bad) - items(good) == sum(not fault.replaces for fault in FAULTS)


@pytest.mark.parametrize("with_pods", [False, True])
def test_list_arrives_whole_in_each_form_and_the_compressed_are_the_smallest(with_pods: bool) -> None:
    size = Size(PAGE_SIZE + 20, 3)
    made = pages(size, with_pods=with_pods)
    with served(made) as server:
        assert [size.services] * len(FORMS) == [listed(server, form).objects for form in FORMS]
    for plain in made.values():
        assert 2 == len(plain)
        assert 5 * sum(map(len, map(packed, plain))) < sum(map(len, plain))
