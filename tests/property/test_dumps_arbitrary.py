"""Whatever a dump says, it is read, refused by line, or carried as not understood; never guessed, never a crash."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kproxy.errors import InputError
from kproxy.model.packet import Host, Packet
from kproxy.trace.fates import NotUnderstood
from kproxy.trace.iptables.dump import parse_tables
from kproxy.trace.iptables.rules import read_rule
from kproxy.trace.iptables.walk import Walker
from kproxy.values import Address, Family, Protocol
from recordings import CLUSTERS, DUMP

DUMPS = [(cluster / DUMP[family]).read_text() for cluster in CLUSTERS[:6] for family in Family]
WORDS = sorted({word for dump in DUMPS for word in dump.split()})
PACKET = Packet(Protocol.TCP, Address("198.51.100.9"), Address("10.96.0.10"), 80, "eth0")
HOST = Host(frozenset({Address("10.199.0.2")}))
ODD_WORDS = st.one_of(
    st.sampled_from(WORDS),
    st.text(max_size=8),
    st.sampled_from(
        [
            "!",
            '"',
            "--rcheck",
            "--probability",
            "5e-324",
            "inf",
            "nan",
            "0",
            "-1",
            "٣",
            "::",
            "[::1]:",
            "/",
            "0x",
        ]
    ),
)


@given(words=st.lists(ODD_WORDS, max_size=12))
@example(words=["--rcheck"])
@example(words=["-m", "statistic", "--mode", "random", "--probability", "5e-324"])
@example(words=["-m", "statistic", "--mode", "random", "--probability", "0/0"])
@example(words=["-m", "statistic", "--mode", "random", "--probability", "1e999999999"])
@example(words=["-j", "DNAT", "--to-destination", "10.0.0.1-10.0.0.9"])
@example(words=["-p"])
@example(words=["-d"])
def test_any_rule_is_read_or_carries_what_is_not_understood(words: list[str]) -> None:
    rule = read_rule("nat", "PREROUTING", " ".join(("-A PREROUTING", *words)))
    assert 0 <= rule.odds <= 1
    assert rule.text.startswith("-A PREROUTING")


@st.composite
def altered_dumps(draw: st.DrawFn) -> str:
    """A recorded dump with a few lines gone, doubled, moved, or with a word changed."""
    lines = draw(st.sampled_from(DUMPS)).splitlines()
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(lines) - 1))
        words = lines[at].split(" ")
        words[draw(st.integers(0, len(words) - 1))] = draw(ODD_WORDS)
        lines[at : at + 1] = draw(
            st.sampled_from([[], [lines[at]] * 2, [" ".join(words)], [lines[0], lines[at]]])
        )
        lines = lines or [""]
    return "\n".join(lines)


@given(text=st.one_of(st.text(), altered_dumps()))
def test_any_dump_is_refused_by_line_or_walked_to_an_end(text: str) -> None:
    try:
        fates = Walker(parse_tables(text), HOST).fates(PACKET)
    except (InputError, NotUnderstood) as refused:
        said = str(refused)
        fates = {}
    assert 1 == sum(fates.values()) or "is not understood, in" in said or said.startswith("line ")


@given(text=altered_dumps(), at=st.floats(0, 1), table=st.sampled_from(["filter", "nat", "mangle"]))
def test_dump_that_lacks_a_table_with_native_rules_is_refused(text: str, at: float, table: str) -> None:
    """As iptables-nft-save 1.8.9 prints it; without a refusal its packets would seem to pass."""
    lines = text.splitlines()
    lines.insert(int(at * len(lines)), f"# Table `{table}' is incompatible, use 'nft' tool.")
    with pytest.raises(InputError, match=r"line \d+: "):
        parse_tables("\n".join(lines))
