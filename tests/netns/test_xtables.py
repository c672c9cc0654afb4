"""The chains of iptables-legacy, listed without its programs."""

from collections.abc import Iterator

import pytest

from kproxy import process
from kproxy.kernel.programs.legacy_tables import chain_names, size, tables
from kproxy.values import Family
from namespaces import fresh_namespace, inside

pytestmark = pytest.mark.netns

PROGRAM = {Family.IPV4: "iptables-legacy", Family.IPV6: "ip6tables-legacy"}
NAMES = ("KUBE-SERVICES", "ERROR-LIKE", "a", "K" * 28)


@pytest.fixture(autouse=True)
def kernel() -> Iterator[None]:
    with fresh_namespace() as name, inside(name):
        yield


@pytest.mark.parametrize("family", Family)
def test_chains_are_those_that_the_program_lists(family: Family) -> None:
    for name in NAMES:
        process.run([PROGRAM[family], "-t", "nat", "-N", name])
    for number in range(300):
        comment = ["-m", "comment", "--comment", f"ERROR KUBE-FAKE-{number}"]
        process.run([PROGRAM[family], "-t", "nat", "-A", "KUBE-SERVICES", *comment, "-j", "a"])
    assert sorted(NAMES) == sorted(chain_names(family, "nat"))


@pytest.mark.parametrize("family", Family)
def test_table_that_is_not_there_is_not_created_by_asking(family: Family) -> None:
    process.run([PROGRAM[family], "-t", "nat", "-L"])
    assert ([], []) == (chain_names(family, "nat"), chain_names(family, "filter"))
    assert {"nat"} == tables(family)


@pytest.mark.parametrize("family", Family)
def test_size_grows_with_the_rules_and_is_nothing_where_there_is_no_table(family: Family) -> None:
    assert (0, frozenset()) == (size(family, "nat"), tables(family))
    process.run([PROGRAM[family], "-t", "nat", "-N", "a"])
    small = size(family, "nat")
    for _ in range(10):
        process.run([PROGRAM[family], "-t", "nat", "-A", "a", "-j", "RETURN"])
    assert 0 < small < size(family, "nat") < 10_000
