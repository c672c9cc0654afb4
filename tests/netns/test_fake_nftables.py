"""The table in memory against the one in a real kernel: for the same calls both give the same answers."""

import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakekernel.cluster import Cluster
from fakekernel.nftables import FakeNamespace, FakeTable
from kproxy import process
from kproxy.errors import ProgramFailed
from kproxy.kernel.netlink.elements import RawElement
from kproxy.kernel.programs.nft import NftTable
from kproxy.ruleset.nftables.compiler import remembered
from kproxy.ruleset.nftables.ownership import REFERENCE_TABLE
from kproxy.ruleset.nftables.table import TABLE, Block
from kproxy.transaction.nftables.endpoint_chains import endpoint_chains, reference_table
from kproxy.transaction.nftables.run import Run
from kproxy.transaction.nftables.whole import refill, replace_all
from kproxy.transaction.refusal import is_refusal
from kproxy.values import Family
from namespaces import fresh_namespace, inside

pytestmark = pytest.mark.netns

KPROXY = "ip kproxy"
CLIENTS = "affinity/default/sticky/tcp/"


class Pair:
    """Both kernels; each call goes to both, and fails where the answers differ."""

    def __init__(self) -> None:
        self.real = NftTable(Family.IPV4)
        self.namespace = FakeNamespace()
        self.fake = FakeTable(self.namespace)
        self.last = ""
        self._digests: list[dict[str, bytes]] = [{}, {}]
        self._commits = (self.real.generation(), self.fake.generation())

    def apply(self, run: Run) -> bool:
        """Whether both took it; both refuse it by name, or take it."""
        return self._both(run.text, lambda kernel: kernel.apply(run))

    def check(self, text: str) -> bool:
        return self._both(text, lambda kernel: kernel.check(text))

    def _both(self, text: str, call: Callable[[NftTable | FakeTable], None]) -> bool:
        self.last = text
        (expected, said), (answer, as_faked) = (
            _verdict(partial(call, kernel)) for kernel in (self.real, self.fake)
        )
        assert expected == answer, f"{said}\n{as_faked}\n{text}"
        assert self.real.commits == self.fake.commits
        self.compare()
        return expected == ""

    def harm(self, text: str) -> None:
        """Somebody else does this."""
        self.last = text
        process.run(["nft", "-f", "-"], stdin=text)
        self.namespace.somebody_runs(text)
        self.compare()

    def delete(self) -> None:
        for kernel in (self.real, self.fake):
            kernel.delete()
        assert self.real.commits == self.fake.commits
        self.compare()

    def compare(self) -> None:
        """Every read."""
        blocks = set(self.real.blocks())
        assert blocks == set(self.fake.blocks())
        assert self.real.is_dormant() == self.fake.is_dormant()
        for block in {*blocks, Block("map", "nowhere")}:
            if not block.is_chain:
                assert self.real.elements(block.name) == self.fake.elements(block.name), block
        counted = (self.real.generation(), self.fake.generation())
        moved = [after - before for before, after in zip(self._commits, counted, strict=True)]
        self._commits = counted
        assert moved[0] == moved[1], self.last
        self._compare_chains([block.name for block in sorted(blocks) if block.is_chain])

    def _compare_chains(self, chains: Sequence[str]) -> None:
        digests = [kernel.digests([*chains, "nowhere"]) for kernel in (self.real, self.fake)]
        same = [
            {name: digest == before.get(name) for name, digest in held.items()}
            for held, before in zip(digests, self._digests, strict=True)
        ]
        assert same[0] == same[1]
        assert [b"", b""] == [held["nowhere"] for held in digests]
        self._digests = digests

    def expressions_are_equal(self, chains: Sequence[Block]) -> dict[Block, bool]:
        """Whether each chain does the same as its model."""
        answers = []
        for kernel in (self.real, self.fake):
            held, model = (kernel.expressions(table, chains) for table in (TABLE, REFERENCE_TABLE))
            answers.append({chain: held[chain] == model[chain] for chain in chains})
        assert answers[0] == answers[1]
        return answers[0]

    def forget(self, clients: str, endpoints: Sequence[int]) -> bool:
        answers = [kernel.forget(clients, endpoints) for kernel in (self.real, self.fake)]
        assert answers[0] == answers[1]
        self.compare()
        return answers[0]


def _verdict(call: Callable[[], None]) -> tuple[str, str]:
    """What the answer of a kernel means, and its words."""
    try:
        call()
    except ProgramFailed as failed:
        kind = "a Service may be at fault" if is_refusal(failed) else "no Service is at fault"
        return kind, failed.stderr
    return "", ""


@pytest.fixture
def pair() -> Iterator[Pair]:
    with fresh_namespace() as name, inside(name):
        yield Pair()


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster()
    for number, name in enumerate(("web", "sticky", "guarded", "empty")):
        cluster.serve(name, number, 2 if name != "empty" else 0)
    return cluster


@pytest.fixture
def filled(pair: Pair, cluster: Cluster) -> Pair:
    for run in cluster.whole():
        assert pair.apply(run)
    return pair


def test_no_table_is_answered_for_alike(pair: Pair) -> None:
    pair.compare()
    pair.delete()
    assert not pair.forget(CLIENTS, [1])


def test_install_is_taken_alike_and_refused_alike_the_second_time(filled: Pair, cluster: Cluster) -> None:
    assert [False, False, True] == [filled.apply(run) for run in cluster.whole()]


def test_changes_are_taken_alike(filled: Pair, cluster: Cluster) -> None:
    for name, number, endpoints in (
        ("web", 0, 3),
        ("more", 4, 3),
        ("sticky", 1, 1),
        ("guarded", 2, 0),
        ("empty", 3, 2),
        ("guarded", 2, 4),
        ("web", 0, 0),
    ):
        cluster.serve(name, number, endpoints)
        for run in cluster.change():
            assert filled.check(run.text)
            assert filled.apply(run)
    cluster.node_port_primary = False
    cluster.update()
    for name in ("sticky", "guarded", "more"):
        cluster.remove(name)
        for run in cluster.change():
            assert filled.apply(run)


HARMS = [
    "flush ruleset",
    "flush chain ip kproxy services",
    "add rule ip kproxy services accept",
    "insert rule ip kproxy services accept",
    "add chain ip kproxy stray",
    "add set ip kproxy stray { typeof ip saddr; }",
    "flush map ip kproxy service-ips",
    "delete element ip kproxy endpoints-2 { 10.96.0.0 . tcp . 80 . 1 }",
    "add element ip kproxy cluster-ips { 10.96.0.99 }",
    "add chain ip kproxy filter-forward { policy drop; }",
    "add table ip kproxy { flags dormant; }",
    "add table ip other",
    "delete table ip kproxy",
]


@pytest.mark.parametrize("harm", HARMS)
def test_table_that_somebody_else_changed_is_read_and_written_alike(
    filled: Pair, cluster: Cluster, harm: str
) -> None:
    filled.harm(harm)
    table = cluster.table
    cluster.serve("web", 0, 3)
    for run in cluster.change():
        filled.check(run.text)
        filled.apply(run)
    found = set(filled.fake.blocks())
    for transaction in (
        refill(Family.IPV4, found, table.blocks, table.contents(), set()),
        replace_all(Family.IPV4, table.blocks, table.contents()),
    ):
        for run in transaction.runs:
            assert filled.check(run.text)
            assert filled.apply(run)


@pytest.mark.parametrize(
    ("text", "is_taken"),
    [
        ("create element ip kproxy service-ips {\n\t10.96.0.0 . tcp . 80 : goto internal-2,\n}\n", False),
        ("add element ip kproxy service-ips {\n\t10.96.0.0 . tcp . 80 : goto internal-2,\n}\n", True),
        ("add element ip kproxy service-ips {\n\t10.96.0.0 . tcp . 80 : drop,\n}\n", False),
        ("create element ip kproxy service-ips {\n\t10.96.0.9 . tcp . 80 : goto nowhere,\n}\n", False),
        ("create element ip kproxy service-ips {\n\t10.96.0.9 . tcp . 70000 : drop,\n}\n", False),
        ("create element ip kproxy nowhere {\n\t10.96.0.9,\n}\n", False),
        ("delete element ip kproxy cluster-ips {\n\t10.96.0.77,\n}\n", False),
        ("delete chain ip kproxy internal-2\n", False),
        ("delete chain ip kproxy nowhere\n", False),
        ("delete map ip kproxy service-ips\n", False),
        ("delete set ip kproxy hairpin-endpoints\n", False),
        ("flush chain ip kproxy services\n", True),
        ("flush chain ip kproxy nowhere\n", False),
        ("add table ip kproxy\n", True),
        ("table ip kproxy {\nchain x {\n\tjump nowhere\n}\n}\n", False),
        ("table ip kproxy {\nchain x {\n\tip daddr @nowhere drop\n}\n}\n", False),
        ("table ip kproxy {\nchain x {\n\tgoto y\n}\nchain y {\n\tdrop\n}\n}\n", True),
        ("table ip kproxy {\nset cluster-ips {\n\ttypeof ip6 daddr\n}\n}\n", False),
        ("table ip kproxy {\nmap cluster-ips {\n\ttypeof ip daddr : verdict\n}\n}\n", False),
        ("add table ip kproxy\ndelete table ip kproxy\n", True),
    ],
)
def test_text_is_taken_and_refused_alike(filled: Pair, text: str, is_taken: bool) -> None:
    assert is_taken == filled.check(text)
    assert is_taken == filled.apply(Run(text))


def test_text_that_is_refused_at_its_end_changes_nothing(filled: Pair) -> None:
    text = "flush chain ip kproxy services\ndelete chain ip kproxy nowhere\n"
    assert not filled.apply(Run(text))


def test_chain_that_picks_is_compared_with_its_model_alike(filled: Pair, cluster: Cluster) -> None:
    chains = sorted(endpoint_chains(cluster.table.blocks))
    assert {"pick-2", "local-pick-1", "nodeport-pick-2", "nodeport-local-pick-1"} == {
        each.name for each in chains
    }
    for harm in ("", "insert rule ip kproxy pick-2 drop"):
        if harm:
            filled.harm(harm)
        made, gone = reference_table(Family.IPV4, {*chains}, cluster.table.blocks)
        assert filled.apply(made)
        equal = filled.expressions_are_equal(chains)
        assert {chain: not (harm and chain.name == "pick-2") for chain in chains} == equal
        assert filled.apply(gone)


def test_clients_of_an_endpoint_are_forgotten_alike(filled: Pair) -> None:
    ((clients, numbers),) = remembered(["endpoint/default/sticky/tcp//10.128.1.0/8080"]).items()
    assert CLIENTS == clients
    (number,) = numbers
    filled.harm(f"add element {KPROXY} {CLIENTS} {{ 192.0.2.1 . {number}, 192.0.2.2 . 7 }}")
    assert 2 == len(filled.fake.elements(CLIENTS))
    assert filled.forget(CLIENTS, [number])
    assert not filled.forget(CLIENTS, [number])
    left = {RawElement(bytes((192, 0, 2, 2)) + (7).to_bytes(4, "little"), b"")}
    assert left == filled.fake.elements(CLIENTS)


def test_table_is_deleted_alike(filled: Pair) -> None:
    filled.delete()
    filled.delete()


@given(draw=st.randoms(use_true_random=False))
@settings(
    max_examples=max(5, settings().max_examples // 8), suppress_health_check=list(HealthCheck), deadline=None
)
def test_random_changes_and_harms_are_taken_and_refused_alike(draw: random.Random) -> None:
    with fresh_namespace() as namespace, inside(namespace):
        pair, cluster = Pair(), Cluster()
        for _ in range(12):
            kind = draw.choice(("serve", "serve", "serve", "remove", "harm", "refill", "replace", "delete"))
            name = draw.choice(("web", "sticky", "guarded", "empty", "api"))
            if kind == "serve":
                cluster.serve(name, draw.randrange(10), draw.randrange(4))
            elif kind == "remove":
                cluster.remove(name)
            elif kind == "harm":
                harm = draw.choice(HARMS)
                if not pair.check(harm):
                    continue
                pair.harm(harm)
            elif kind == "delete":
                pair.delete()
            table = cluster.table
            whole = kind in {"refill", "replace"}
            transaction = (
                refill(Family.IPV4, set(pair.fake.blocks()), table.blocks, table.contents(), set())
                if kind == "refill"
                else replace_all(Family.IPV4, table.blocks, table.contents())
            )
            for run in transaction.runs if whole else cluster.change():
                if not pair.apply(run):
                    break
