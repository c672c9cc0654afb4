"""A sync in iptables mode over a kernel in memory: its order, and every fault at every step."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, suppress

import pytest

from facts import a_slice
from fakekernel.faults import Faults, When
from fakekernel.iptables import FakeKernel
from fakekernel.iptablesnode import RENDER, FakeNode, chain
from kproxy.agent.suspects import FIRST_PAUSE_S
from kproxy.errors import KproxyError, OperationFailed
from kproxy.kernel.programs.iptables import Variant
from kproxy.observed.states import State
from kproxy.ruleset.chain import Chain
from kproxy.state.events import Changed

FLUSH_OUTPUT = "*nat\n:OUTPUT - [0:0]\nCOMMIT\n"


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that six Services are computed in parts and written in sections."""
    monkeypatch.setattr(Variant, "early_section_size", lambda variant, _held: _size(variant, 4))
    monkeypatch.setattr(Variant, "section_size", lambda variant, _held: _size(variant, 6))
    monkeypatch.setattr("kproxy.ruleset.iptables.desired._BATCH", 2)
    monkeypatch.setattr("kproxy.agent.iptables_proxy.CHAINS_A_PIECE", 4)


def _size(variant: Variant, size: int) -> int | None:
    return None if variant is Variant.LEGACY else size


@pytest.fixture(params=Variant)
def node(request: pytest.FixtureRequest) -> Iterator[FakeNode]:
    with closing(FakeNode(request.param)) as made:
        yield made


@pytest.fixture
def nft_node() -> Iterator[FakeNode]:
    with closing(FakeNode(Variant.NFT)) as made:
        yield made


def on_a_clean_node(node: FakeNode) -> None:
    node.serve(*"abcdef")


def after_a_restart(node: FakeNode) -> None:
    on_a_clean_node(node)
    assert node.sync().error is None
    node.restart()
    change(node)


def after_a_restart_without_a_record(node: FakeNode) -> None:
    after_a_restart(node)
    for each in node.kernel.rules():
        node.record.forget(node.kernel.family, [each])
    node.record.make_unsure(node.kernel.family)


def while_it_runs(node: FakeNode) -> None:
    on_a_clean_node(node)
    assert node.sync().error is None
    change(node)


def change(node: FakeNode) -> None:
    node.endpoint("a", "10.128.7.7")
    node.delete("b")
    node.serve("g", "h")


BEGINNINGS = (on_a_clean_node, after_a_restart, after_a_restart_without_a_record, while_it_runs)


def is_as_wanted(node: FakeNode) -> bool:
    return node.wanted() == node.held()


def knows_the_truth(node: FakeNode) -> bool:
    """Whether all that counts as known is so; rules that count as unknown may be any."""
    held = node.kernel.rules()
    observed = dict(node.observed.delta.observed)
    return observed.keys() == held.keys() and all(
        rules in {None, held[each]} for each, rules in observed.items()
    )


def is_made_good(node: FakeNode) -> bool:
    """Whether the next syncs, of which the first verifies, bring the kernel to what is wanted, and blame nobody."""
    node.kernel.faults.end()
    node.now_s += FIRST_PAUSE_S
    reports = [node.sync(verify=True), node.sync(verify=True)]
    assert [(None, ()), (None, ())] == [(report.error, report.quarantined) for report in reports]
    assert knows_the_truth(node)
    assert 0 == node.sync(verify=True).chains_written
    return is_as_wanted(node)


# the order


def watch(node: FakeNode, commits: Callable[[str], None], reads: Callable[[str], None]) -> None:
    """Call these with the text of each COMMIT, and with the kind of each read, before they happen."""
    commit, reading = node.kernel.commit, node.kernel.reading

    def watched_commit(text: str) -> None:
        commits(text)
        commit(text)

    def watched_reading(of: str) -> AbstractContextManager[None]:
        reads(of)
        return reading(of)

    node.kernel.commit = watched_commit  # type: ignore[method-assign]
    node.kernel.reading = watched_reading  # type: ignore[method-assign,assignment]


def test_sync_updates_then_looks_at_jumps_and_chains_and_then_writes(node: FakeNode) -> None:
    on_a_clean_node(node)
    assert node.sync().error is None
    steps: list[str] = []

    def render(template: str, values: dict[str, object]) -> str:
        steps.append("update")
        return RENDER(template, values)

    node.restart(render)
    change(node)
    watch(node, lambda _: steps.append("apply"), steps.append)
    assert node.sync_unrecorded(verify=True).error is None
    last_update, first_write = max(_places("update", steps)), min(_places("apply", steps))
    looks = steps[last_update + 1 : first_write]
    assert {"jumps"} < {*looks}
    assert {"update", "apply"}.isdisjoint(looks)
    assert "jumps" not in steps[:last_update]
    assert {"apply"} == {*steps[first_write:]}


def _places(step: str, steps: list[str]) -> list[int]:
    return [at for at, each in enumerate(steps) if each == step]


def test_first_sync_writes_chains_while_others_are_computed_and_looks_at_jumps_when_all_are(
    nft_node: FakeNode,
) -> None:
    seen: list[tuple[int, int]] = []

    def render(template: str, values: dict[str, object]) -> str:
        seen.append((len(nft_node.kernel.rules()), sum(map(len, _jumps(nft_node.kernel)))))
        return RENDER(template, values)

    nft_node.restart(render)
    on_a_clean_node(nft_node)
    assert nft_node.sync().error is None
    assert (0, 0) == seen[0]
    assert seen[-1][0] > 8
    assert {0} == {jumps for _, jumps in seen}
    assert is_as_wanted(nft_node)
    assert 1 == len(nft_node.iptables.runs)


@pytest.fixture
def legacy_node() -> Iterator[FakeNode]:
    with closing(FakeNode(Variant.LEGACY)) as made:
        yield made


def test_first_sync_on_legacy_streams_nat_into_one_commit_while_it_computes(legacy_node: FakeNode) -> None:
    written: list[int] = []

    def render(template: str, values: dict[str, object]) -> str:
        written.append(len("".join(legacy_node.iptables.runs)))
        return RENDER(template, values)

    legacy_node.restart(render)
    on_a_clean_node(legacy_node)
    assert legacy_node.sync().error is None
    assert 3 <= len({*written})
    (run,) = legacy_node.iptables.runs
    assert ["*filter", "*nat"] == [line for line in run.splitlines() if line.startswith("*")]
    assert 2 == run.count("COMMIT\n")
    assert is_as_wanted(legacy_node)
    assert 0 == legacy_node.sync(verify=True).chains_written


def test_first_sync_on_legacy_serves_nothing_before_the_node_is_guarded(legacy_node: FakeNode) -> None:
    """Before nat dispatches to any Service, all filter rules of the node and all jumps to them are there."""
    on_a_clean_node(legacy_node)
    legacy_node.serve("refused")
    legacy_node.store.apply(Changed(a_slice(name="refused-a", service="refused")))
    states: list[dict[Chain, str]] = []
    watch(legacy_node, lambda _: states.append(legacy_node.held()), lambda _: None)
    assert legacy_node.sync().error is None
    before_nat = next(at for at, held in enumerate(states) if Chain("nat", "KUBE-SERVICES") in held) - 1
    guarded, wanted = states[before_nat], legacy_node.wanted()
    of_services = {
        Chain("filter", name) for name in ("KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS")
    }
    assert {
        each: rules for each, rules in wanted.items() if each.table == "filter" and each not in of_services
    } == {
        each: rules for each, rules in guarded.items() if each.table == "filter" and each not in of_services
    }
    assert not any(each.table == "nat" for each in guarded)
    assert "default/refused has no endpoints" in wanted[Chain("filter", "KUBE-SERVICES")]
    assert is_as_wanted(legacy_node)


def test_first_sync_on_legacy_beside_chains_of_services_is_written_as_a_whole(legacy_node: FakeNode) -> None:
    """Packets may reach them, so the order of a transaction counts: filter, nat, filter."""
    legacy_node.kernel.somebody_runs("*nat\n:KUBE-SVC-OLD - [0:0]\n-A KUBE-SVC-OLD -j RETURN\nCOMMIT\n")
    on_a_clean_node(legacy_node)
    assert legacy_node.sync().error is None
    (run,) = legacy_node.iptables.runs
    assert ["*filter", "*nat"] == [line for line in run.splitlines() if line.startswith("*")]
    assert Chain("nat", "KUBE-SVC-OLD") not in legacy_node.held()
    assert is_as_wanted(legacy_node)


def _jumps(kernel: FakeKernel) -> list[tuple[str, ...]]:
    return [rules for each, rules in kernel.chains.items() if each.is_built_in]


def test_sync_without_a_change_starts_no_program(node: FakeNode) -> None:
    on_a_clean_node(node)
    for verify in (False, True, False):
        assert node.sync(verify=verify).error is None
    assert 1 == len(node.iptables.runs)


def test_new_agent_that_finds_all_as_recorded_reads_no_text_and_writes_nothing(nft_node: FakeNode) -> None:
    on_a_clean_node(nft_node)
    for verify in (False, True):
        assert nft_node.sync(verify=verify).error is None
    nft_node.restart()
    nft_node.reads.read.clear()
    assert (None, 0) == ((report := nft_node.sync(verify=True)).error, report.chains_written)
    assert {"commits"} == {*nft_node.reads.read}
    assert State.SURE == nft_node.observed.state


def test_settled_sync_keeps_nothing_of_what_services_had(node: FakeNode) -> None:
    while_it_runs(node)
    assert node.sync().error is None
    assert ([], []) == (node.proxy.desired.changed, [*node.observed.delta.pending])


# every fault at every step


def texts_of(beginning: Callable[[FakeNode], None], variant: Variant) -> tuple[list[str], list[str]]:
    """The sections that a sync without a fault commits, and the kinds of the reads that it makes."""
    with closing(FakeNode(variant)) as node:
        beginning(node)
        sections: list[str] = []
        reads: list[str] = []
        watch(node, sections.append, reads.append)
        assert node.sync(verify=True).error is None
        return sections, reads


def dies(number: int, text: str, faults: Faults, _harm: Callable[[], None]) -> None:
    faults.die_in_write(number)


def dies_too_late(number: int, text: str, faults: Faults, _harm: Callable[[], None]) -> None:
    faults.die_in_write(number, took_effect=True)


def is_refused_once(number: int, text: str, faults: Faults, _harm: Callable[[], None]) -> None:
    faults.refuse(text, said="Resource temporarily unavailable", times=1)


def is_too_long(number: int, text: str, faults: Faults, _harm: Callable[[], None]) -> None:
    faults.hold_at_most(len(text) - 1)


def others_commit_before(number: int, text: str, faults: Faults, harm: Callable[[], None]) -> None:
    faults.somebody_commits(harm, when=When.BEFORE_WRITE, number=number)


def others_commit_after(number: int, text: str, faults: Faults, harm: Callable[[], None]) -> None:
    faults.somebody_commits(harm, when=When.AFTER_WRITE, number=number)


WRITE_FAULTS = (dies, dies_too_late, is_refused_once, is_too_long, others_commit_before, others_commit_after)


def nothing(node: FakeNode) -> Callable[[], None]:
    return lambda: None


def flush_a_chain(node: FakeNode) -> Callable[[], None]:
    return node.kernel.harm(f"*nat\n:{chain('c').name} - [0:0]\nCOMMIT\n")


def change_a_chain(node: FakeNode) -> Callable[[], None]:
    return node.kernel.harm(f"*nat\n-I {chain('d').name} -j RETURN\nCOMMIT\n")


def delete_all(node: FakeNode) -> Callable[[], None]:
    def act() -> None:
        node.kernel.chains = {each: () for each in node.kernel.chains if each.is_built_in}

    return act


def delete_the_jumps(node: FakeNode) -> Callable[[], None]:
    return node.kernel.harm(FLUSH_OUTPUT)


HARMS = (nothing, flush_a_chain, change_a_chain, delete_all, delete_the_jumps)


def is_taken_for_a_refusal(node: FakeNode, harm: Callable[[FakeNode], Callable[[], None]]) -> bool:
    """Nobody counts commits in legacy tables: where all goes between a look and a write, rules seem to be refused.

    The Services then get their rules after a pause.
    """
    return node.kernel.variant is Variant.LEGACY and harm is delete_all


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("variant", Variant)
@pytest.mark.parametrize("fault", WRITE_FAULTS)
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_fault_at_any_write_is_made_good_by_the_next_syncs(
    beginning: Callable[[FakeNode], None],
    fault: Callable[[int, str, Faults, Callable[[], None]], None],
    variant: Variant,
    is_late: bool,
) -> None:
    sections, _ = texts_of(beginning, variant)
    assert len(sections) >= (1 if variant is Variant.LEGACY else 4)
    harms = HARMS if fault in {others_commit_before, others_commit_after} else HARMS[:1]
    for number, text in enumerate(sections, start=1):
        for harm in harms:
            with closing(FakeNode(variant, is_late=is_late)) as node:
                beginning(node)
                fault(number, text, node.kernel.faults, harm(node))
                report = node.sync(verify=True)
                assert () == report.quarantined or is_taken_for_a_refusal(node, harm)
                if harm is nothing:
                    assert (report.error is not None) == (
                        fault in {dies, dies_too_late, is_refused_once, is_too_long}
                    )
                assert is_made_good(node), (number, harm)


@pytest.mark.parametrize("variant", Variant)
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_read_that_fails_is_made_good_by_the_next_syncs(
    beginning: Callable[[FakeNode], None], variant: Variant
) -> None:
    _, reads = texts_of(beginning, variant)
    for of in {*reads}:
        for times in range(1, 1 + reads.count(of)):
            with closing(FakeNode(variant)) as node:
                beginning(node)
                node.kernel.faults.fail_reads(of, times=times)
                with suppress(OperationFailed):  # the record cannot be made, say
                    assert () == node.sync(verify=True).quarantined
                assert is_made_good(node), (of, times)


@pytest.mark.parametrize("variant", Variant)
@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_commit_of_others_after_any_read_is_made_good_by_the_next_syncs(
    beginning: Callable[[FakeNode], None],
    harm: Callable[[FakeNode], Callable[[], None]],
    variant: Variant,
) -> None:
    _, reads = texts_of(beginning, variant)
    for number in range(1, 1 + len(reads)):
        with closing(FakeNode(variant)) as node:
            beginning(node)
            node.kernel.faults.somebody_commits(harm(node), when=When.AFTER_READ, number=number)
            assert () == node.sync(verify=True).quarantined or is_taken_for_a_refusal(node, harm)
            assert is_made_good(node), number


@pytest.mark.parametrize("variant", Variant)
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_agent_that_is_killed_at_any_write_leaves_a_record_that_the_next_one_can_trust(
    beginning: Callable[[FakeNode], None], variant: Variant
) -> None:
    sections, _ = texts_of(beginning, variant)
    for number in range(1, 1 + len(sections)):
        for took_effect in (False, True):
            with closing(FakeNode(variant)) as node:
                beginning(node)
                node.kernel.faults.die_in_write(number, took_effect=took_effect)
                assert node.sync_unrecorded().error is not None
                node.restart()
                assert is_made_good(node), number


def test_error_of_another_kind_amid_a_sync_loses_no_change(node: FakeNode) -> None:
    fails = [False]

    def render(template: str, values: dict[str, object]) -> str:
        if fails[0] and "dispatch" in template:
            raise MemoryError
        return RENDER(template, values)

    node.restart(render)
    on_a_clean_node(node)
    assert node.sync().error is None
    change(node)
    fails[0] = True
    with pytest.raises(MemoryError):
        node.sync()
    assert State.UNREAD == node.observed.state
    fails[0] = False
    assert is_made_good(node)


# drift


DRIFTS: dict[str, tuple[Callable[[FakeNode], Callable[[], None]], int]] = {
    "nothing of ours": (nothing, 0),
    "a chain flushed": (flush_a_chain, 1),
    "a rule inserted": (change_a_chain, 1),
    "jumps deleted": (delete_the_jumps, 1),
}


@pytest.mark.parametrize(("harm", "drifted"), DRIFTS.values(), ids=DRIFTS)
def test_drift_is_counted_and_put_right_by_a_sync_that_verifies_and_by_no_other(
    node: FakeNode, harm: Callable[[FakeNode], Callable[[], None]], drifted: int
) -> None:
    on_a_clean_node(node)
    assert node.sync().error is None
    node.kernel.faults.somebody_commits_now(harm(node))
    held = node.held()
    assert (0, 0) == ((report := node.sync()).drifted, report.rules_written)
    assert held == node.held()
    report = node.sync(verify=True)
    assert (None, drifted) == (report.error, report.drifted)
    assert is_as_wanted(node)
    assert 0 == node.sync(verify=True).drifted


def test_chains_that_others_delete_are_drift(node: FakeNode) -> None:
    on_a_clean_node(node)
    assert node.sync().error is None
    node.kernel.faults.somebody_commits_now(delete_all(node))
    report = node.sync(verify=True)
    assert report.error is None
    assert report.drifted > 0
    assert is_as_wanted(node)


def test_chain_that_another_agent_brought_to_what_is_wanted_now_is_no_drift(node: FakeNode) -> None:
    on_a_clean_node(node)
    assert node.sync().error is None
    before = node.wanted()
    node.endpoint("c", "10.128.9.9")
    (endpoint,) = node.wanted().keys() - before.keys()
    new = node.wanted()
    text = "".join(f":{each.name} - [0:0]\n" for each in (endpoint, chain("c")))
    node.kernel.somebody_runs(f"*nat\n{text}{new[endpoint]}{new[chain('c')]}COMMIT\n")
    report = node.sync(verify=True)
    assert (None, 0) == (report.error, report.drifted)
    assert is_as_wanted(node)


def test_chains_of_others_are_neither_changed_nor_observed(node: FakeNode) -> None:
    node.kernel.somebody_runs("*nat\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n")
    node.kernel.somebody_runs("*nat\n:CNI-1 - [0:0]\n-A CNI-1 -j RETURN\nCOMMIT\n")
    on_a_clean_node(node)
    for verify in (False, True):
        assert node.sync(verify=verify).error is None
    canary, cni = Chain("nat", "KUBE-KUBELET-CANARY"), Chain("nat", "CNI-1")
    assert ("", "-A CNI-1 -j RETURN\n") == (node.held()[canary], node.held()[cni])
    assert canary not in node.observed.delta.observed


def test_stale_chain_in_use_by_others_holds_up_nothing_and_goes_later(node: FakeNode) -> None:
    on_a_clean_node(node)
    assert node.sync().error is None
    node.kernel.somebody_runs(f"*nat\n:CNI-1 - [0:0]\n-A CNI-1 -j {chain('b').name}\nCOMMIT\n")
    change(node)
    reports = [node.sync(), node.sync()]
    assert [True, True] == [report.error is not None for report in reports]
    assert node.wanted().items() <= node.held().items()
    assert chain("b") in node.held()
    node.kernel.somebody_runs("*nat\n:CNI-1 - [0:0]\nCOMMIT\n")
    assert node.sync().error is None
    assert chain("b") not in node.held()


def test_kernel_that_cannot_be_read_leaves_the_rules_and_is_told(node: FakeNode) -> None:
    on_a_clean_node(node)
    assert node.sync().error is None
    before = node.held()
    node.restart()
    change(node)
    node.kernel.faults.fail_reads(times=100)
    with suppress(KproxyError):
        assert node.sync().error is not None
    assert before == node.held()
    assert is_made_good(node)


# memory


def test_rules_in_the_kernel_are_kept_once(node: FakeNode) -> None:
    on_a_clean_node(node)
    assert node.sync().error is None
    delta = node.observed.delta
    assert all(delta.observed[each] is delta.desired[each] for each in delta.desired)
    node.restart()
    assert node.sync().error is None
    delta = node.observed.delta
    assert all(delta.observed[each] is delta.desired[each] for each in delta.desired)


def test_chains_that_go_are_not_forgotten_where_a_sync_was_not_recorded_before_the_next_one() -> None:
    """A verification made the record sure, and the write after it left chains out of the record, as if they were gone."""
    with closing(FakeNode(Variant.NFT)) as node:
        node.serve("web", "api")
        assert node.sync().error is None
        node.kernel.somebody_runs("*nat\n:CNI-OTHER - [0:0]\nCOMMIT\n")
        node.serve("late")
        assert node.sync_unrecorded().error is None
        node.delete("web")
        node.kernel.faults.die_in_write()
        assert node.sync_unrecorded(verify=True).error is not None
        assert node.sync().error is None
        assert chain("web") not in node.held()
