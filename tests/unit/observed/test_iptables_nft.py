"""The reader of iptables-nft's chains and its record, over a kernel in memory."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from fakekernel.faults import When
from fakekernel.iptables import FakeKernel, FakeReads
from kproxy.errors import KernelRefused
from kproxy.observed.iptables_kernel import Differences
from kproxy.observed.iptables_nft import NftChains
from kproxy.observed.record import Record
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.iptables.chains import Ruleset
from kproxy.transaction.iptables.transaction import Section, Transaction
from kproxy.values import Family

A, B = Chain("nat", "KUBE-SVC-A"), Chain("nat", "KUBE-SVC-B")
RULES = {A: "-A KUBE-SVC-A -j RETURN\n", B: "-A KUBE-SVC-B -j KUBE-SVC-A\n"}
OURS = Section("nat", RULES)
ELSEWHERE = "*nat\n:CNI-1 - [0:0]\nCOMMIT\n"


class Reader:
    """A reader with a record in memory, and the kernel that it reads."""

    def __init__(self) -> None:
        self.kernel = FakeKernel()
        self.reads = FakeReads(self.kernel)
        self.record = Record(None)
        self.restart()

    def restart(self) -> None:
        self.chains = NftChains(Family.IPV4, self.record, self.reads)
        self.reads.read.clear()

    def write(self, section: Section, *, tells: bool = True) -> None:
        """As a proxy does; `tells` whether it lives long enough to record."""
        self.chains.begin()
        self.chains.about_to_write(section)
        self.kernel.commit(str(section))
        if tells:
            self.chains.wrote(Transaction((section,)))
            self.chains.record(Transaction((section,)))


@pytest.fixture
def reader() -> Iterator[Reader]:
    made = Reader()
    with closing(made.record):
        yield made


@pytest.fixture
def sure(reader: Reader) -> Reader:
    """The reader has written our chains, and has compared them."""
    reader.write(OURS)
    reader.chains.verify(RULES)
    assert reader.chains.verify(RULES) is None
    reader.reads.read.clear()
    return reader


def test_look_at_an_empty_kernel_finds_nothing(reader: Reader) -> None:
    assert (True, {}) == (reader.chains.holds_no_service(), reader.chains.look(RULES))


def test_look_where_nobody_else_committed_reads_the_record_alone(sure: Reader) -> None:
    sure.restart()
    assert (RULES, False) == (sure.chains.look(RULES), sure.chains.holds_no_service())
    assert {"commits"} == {*sure.reads.read}


def test_look_where_others_committed_elsewhere_reads_digests_and_no_text(sure: Reader) -> None:
    sure.kernel.somebody_runs(ELSEWHERE)
    sure.restart()
    assert RULES == sure.chains.look(RULES)
    assert {"commits", "names", "digests"} == {*sure.reads.read}
    assert sure.chains.verify(RULES) is None


def test_look_without_a_record_reads_texts_and_records_them(sure: Reader) -> None:
    sure.record.forget(Family.IPV4, RULES)
    sure.record.make_unsure(Family.IPV4)
    sure.restart()
    assert RULES == sure.chains.look(RULES)
    assert "texts" in sure.reads.read
    sure.restart()
    assert RULES == sure.chains.look(RULES)
    assert "texts" not in sure.reads.read


def test_chain_that_nobody_desires_is_not_read(sure: Reader) -> None:
    sure.restart()
    assert {A: RULES[A], B: None} == sure.chains.look({A: RULES[A]})
    assert "texts" not in sure.reads.read


# the three cases of a chain that the record does not prove


def changed(reader: Reader, observed: Ruleset = RULES) -> Differences:
    found = reader.chains.verify(observed)
    assert found is not None
    return found


def test_chain_that_was_never_recorded_counts_as_unchanged_until_it_is_read(sure: Reader) -> None:
    sure.record.forget(Family.IPV4, [A])
    sure.kernel.somebody_runs(ELSEWHERE)
    sure.kernel.faults.fail_reads("texts")
    assert ({}, set(), False) == changed(sure)
    assert ({}, set(), True) == changed(sure)
    assert sure.chains.verify(RULES) is None


def test_chain_whose_bytes_are_not_known_counts_as_unchanged_until_it_is_read(sure: Reader) -> None:
    sure.record.blank(Family.IPV4, [A])
    sure.kernel.somebody_runs(f"*nat\n-I {A.name} -j ACCEPT\nCOMMIT\n")
    sure.kernel.faults.fail_reads("texts")
    assert ({}, set(), False) == changed(sure)
    newest = f"-A {A.name} -j ACCEPT\n{RULES[A]}"
    assert ({A: newest}, set(), True) == changed(sure)


def test_chain_that_others_changed_is_read_or_counts_as_unknown(sure: Reader) -> None:
    sure.kernel.somebody_runs(f"*nat\n-I {A.name} -j ACCEPT\nCOMMIT\n")
    sure.kernel.faults.fail_reads("texts")
    assert ({A: None}, set(), False) == changed(sure)
    assert ({A: f"-A {A.name} -j ACCEPT\n{RULES[A]}"}, set(), True) == changed(sure)


def test_chains_that_come_and_go_are_found(sure: Reader) -> None:
    sure.kernel.somebody_runs(f"*nat\n:{B.name} - [0:0]\n-X {B.name}\n:KUBE-SVC-C - [0:0]\nCOMMIT\n")
    assert ({Chain("nat", "KUBE-SVC-C"): ""}, {B}, True) == changed(sure)


def test_verification_in_pieces_is_complete_after_the_last_one(
    sure: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kproxy.observed.iptables_nft._CHAINS_A_LOOK", 1)
    sure.kernel.somebody_runs(f"*nat\n-I {B.name} -j ACCEPT\nCOMMIT\n")
    found = [changed(sure) for _ in range(3)]
    assert [False, False, True] == [each.is_complete for each in found]
    assert [set(), {B}, set()] == [{*each.holds} for each in found]


# what may be relied on after a write


def test_write_that_is_recorded_keeps_the_reader_sure(sure: Reader) -> None:
    newest = Section("nat", {A: "-A KUBE-SVC-A -j ACCEPT\n"})
    sure.write(newest)
    sure.restart()
    assert sure.chains.verify(RULES | newest.written) is None
    assert RULES | newest.written == sure.chains.look(RULES | newest.written)
    assert {"commits"} == {*sure.reads.read}


def test_write_that_nobody_recorded_is_read_by_the_next_agent(sure: Reader) -> None:
    newest = Section("nat", {A: "-A KUBE-SVC-A -j ACCEPT\n"})
    sure.write(newest, tells=False)
    sure.restart()
    assert RULES | newest.written == sure.chains.look(RULES)
    assert "texts" in sure.reads.read


@pytest.mark.parametrize("number", [1, 2, 3])
def test_write_that_others_may_have_undone_is_not_recorded_as_ours(sure: Reader, number: int) -> None:
    """They commit while the record is made: after its first, second or third read."""
    newest = Section("nat", {A: "-A KUBE-SVC-A -j ACCEPT\n"})
    sure.chains.begin()
    sure.chains.about_to_write(newest)
    sure.kernel.commit(str(newest))
    sure.chains.wrote(Transaction((newest,)))
    undo = sure.kernel.harm(f"*nat\n:{A.name} - [0:0]\nCOMMIT\n")
    sure.kernel.faults.somebody_commits(undo, when=When.AFTER_READ, number=number)
    sure.chains.record(Transaction((newest,)))
    assert {A: ""} == changed(sure, RULES | newest.written).holds
    sure.restart()
    assert "" == sure.chains.look(RULES | newest.written)[A]


def test_kernel_that_gives_no_answer_fails_and_changes_nothing(sure: Reader) -> None:
    sure.kernel.faults.fail_reads("commits", times=3)
    for ask in (lambda: sure.chains.look(RULES), lambda: sure.chains.verify(RULES), sure.chains.begin):
        with pytest.raises(KernelRefused):
            ask()
    assert sure.chains.verify(RULES) is None
