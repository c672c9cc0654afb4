"""The kernel in memory gives the answers of the real one: the same calls, variant by variant."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from fakekernel.iptables import FakeIptables, FakeKernel, FakeReads, saved
from kproxy.errors import ProgramFailed
from kproxy.kernel.programs.iptables import Iptables, Variant
from kproxy.observed.iptables_kernel import IptablesProgram
from kproxy.observed.iptables_legacy import saved_chains
from kproxy.observed.iptables_reads import NftReads
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.iptables.chains import TABLES, Ruleset
from kproxy.values import Family
from namespaces import fresh_namespace, inside

pytestmark = pytest.mark.netns

BASE = "*nat\n:KUBE-A - [0:0]\n:KUBE-B - [0:0]\n-A KUBE-B -j KUBE-A\nCOMMIT\n"
A, B = Chain("nat", "KUBE-A"), Chain("nat", "KUBE-B")

SECTIONS = {
    "nothing": "",
    "an empty chain emptied": ":KUBE-A - [0:0]\n",
    "a chain emptied": ":KUBE-B - [0:0]\n",
    "a chain written as it is": ":KUBE-B - [0:0]\n-A KUBE-B -j KUBE-A\n",
    "a new chain": ":KUBE-C - [0:0]\n-A KUBE-C -s 10.1.2.3/32 -j KUBE-B\n",
    "a rule for no chain": ":KUBE-C - [0:0]\n-A KUBE-D -j KUBE-A\n",
    "a jump to no chain": ":KUBE-C - [0:0]\n-A KUBE-C -j KUBE-D\n-A KUBE-C -j KUBE-A\n",
    "a jump to a later chain": ":KUBE-C - [0:0]\n:KUBE-D - [0:0]\n-A KUBE-C -j KUBE-D\n",
    "a chain in use deleted": ":KUBE-A - [0:0]\n-X KUBE-A\n",
    "a chain deleted with its user": ":KUBE-B - [0:0]\n:KUBE-A - [0:0]\n-X KUBE-B\n-X KUBE-A\n",
    "a full chain deleted": "-X KUBE-B\n",
    "no chain deleted": "-X KUBE-D\n",
    "a rule deleted": "-D KUBE-B -j KUBE-A\n",
    "no rule deleted": "-D KUBE-B -j KUBE-B\n",
    "a rule at the head": "-I KUBE-B -j RETURN\n",
    "a rule at a place": "-I KUBE-B 2 -j RETURN\n",
    "a rule too far": "-I KUBE-B 5 -j RETURN\n",
    "a jump of a built-in chain": "-I OUTPUT -j KUBE-B\n",
}


class Pair:
    """The real kernel and the one in memory, of one variant."""

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.kernel = FakeKernel(variant)
        self.programs: tuple[IptablesProgram, ...] = (
            Iptables(variant, Family.IPV4),
            FakeIptables(self.kernel),
        )

    def answers(self, ask: Callable[[IptablesProgram], object]) -> list[object]:
        return [ask(program) for program in self.programs]

    def rules(self) -> list[Ruleset]:
        return [saved_chains(f"iptables-{self.variant}", TABLES), saved(self.kernel)()]


def restore(program: IptablesProgram, text: str) -> tuple[int | None, int, str]:
    """The exit code, the line, and the line of the text that is shown for it."""
    try:
        with program.restoring() as write:
            write(text)
    except ProgramFailed as failed:
        named = [line.split(" ", 1)[1] for line in failed.excerpt.splitlines() if line.startswith(">")]
        return failed.exit_code, failed.line, named[0].strip()
    return 0, 0, ""


@pytest.fixture(params=Variant)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with ExitStack() as stack:
        stack.enter_context(inside(stack.enter_context(fresh_namespace())))
        made = Pair(request.param)
        made.answers(lambda program: restore(program, BASE))
        yield made


def same(answers: list[object]) -> object:
    real, fake = answers
    assert real == fake
    return real


@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS)
def test_commit_has_the_same_answer_and_leaves_the_same_rules(pair: Pair, section: str) -> None:
    text = f"*nat\n{section}COMMIT\n"
    same(pair.answers(lambda program: restore(program, text)))
    same([*pair.rules()])


@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS)
def test_commits_before_a_refused_one_stay_and_later_ones_do_not_come(pair: Pair, section: str) -> None:
    before, after = "*nat\n:KUBE-X - [0:0]\nCOMMIT\n", "*filter\n:KUBE-Y - [0:0]\nCOMMIT\n"
    text = f"{before}*nat\n{section}COMMIT\n{after}"
    code, _, _ = restore(pair.programs[0], text)
    assert restore(pair.programs[1], text)[0] == code
    held = same([*pair.rules()])
    assert isinstance(held, dict)
    assert (True, not code) == (Chain("nat", "KUBE-X") in held, Chain("filter", "KUBE-Y") in held)


@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS)
def test_commit_count_moves_alike(section: str) -> None:
    with fresh_namespace() as name, inside(name):
        pair = Pair(Variant.NFT)
        counts = NftReads(Family.IPV4).commits, FakeReads(pair.kernel).commits
        pair.answers(lambda program: restore(program, BASE))
        before = [count() for count in counts]
        pair.answers(lambda program: restore(program, f"*nat\n{section}COMMIT\n"))
        real, fake = (count() - were for count, were in zip(counts, before, strict=True))
        assert real == fake


def test_reads_have_the_same_answers(pair: Pair) -> None:
    if pair.variant is Variant.LEGACY:
        pytest.skip("the legacy tables are read by iptables-legacy-save alone")
    reads = NftReads(Family.IPV4), FakeReads(pair.kernel)
    gone = Chain("nat", "KUBE-GONE")
    assert {A, B} == same([each.names() for each in reads])
    assert {A: "", B: "-A KUBE-B -j KUBE-A\n"} == same([each.texts([A, B]) for each in reads])
    for each in reads:
        first = each.digests([A, B, gone])
        assert {A, B, gone} == {*first}
        assert (True, False) == (first[A] == first[gone], first[A] == first[B])
        assert first == each.digests([A, B, gone])
    pair.answers(lambda program: restore(program, "*nat\n-A KUBE-A -j RETURN\nCOMMIT\n"))
    for each in reads:
        assert first[A] != each.digests([A])[A]


def test_missing_jumps_have_the_same_answers(pair: Pair) -> None:
    output, forward = Chain("nat", "OUTPUT"), Chain("filter", "FORWARD")
    jumps = {
        output: '-A OUTPUT -m comment --comment "kube one" -j KUBE-A\n-A OUTPUT -m comment --comment "kube two" -j KUBE-B\n',
        forward: '-A FORWARD -m comment --comment "kube three" -j ACCEPT\n',
    }
    first = '*nat\n-I OUTPUT -m comment --comment "kube one" -j KUBE-A\nCOMMIT\n'
    second = '*nat\n-I OUTPUT 2 -m comment --comment "kube two" -j KUBE-B\nCOMMIT\n'
    for text in ("*nat\nCOMMIT\n", first, second):
        pair.answers(lambda program, text=text: restore(program, text))  # type: ignore[misc] # bound now
        same(pair.answers(lambda program: program.missing_jumps(jumps)))
        same(pair.answers(lambda program: program.lacks_jumps(jumps)))
    third = '*filter\n-I FORWARD -m comment --comment "kube three" -j ACCEPT\nCOMMIT\n'
    pair.answers(lambda program: restore(program, third))
    assert {} == same(pair.answers(lambda program: program.missing_jumps(jumps)))
    assert False is same(pair.answers(lambda program: program.lacks_jumps(jumps)))
