"""What `nft -j` printed for two Services, `web` with session affinity and `lb` with source ranges, both of policy Local."""

from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.errors import InputError
from kproxy.model.packet import Fate, Host, Packet, Verdict
from kproxy.trace.fates import NotUnderstood
from kproxy.trace.nftables.dump import parse_table
from kproxy.trace.nftables.walk import NftWalker
from kproxy.values import Address, Protocol

LISTING = Path(__file__).with_name("nft-table.json").read_bytes()
HOST = Host(frozenset({Address("10.199.0.2")}))
VIP, ADMITTED, OTHER = "192.0.2.10", "198.51.100.9", "203.0.113.9"


def a_packet(destination: str, port: int = 80, source: str = ADMITTED, interface: str = "eth0") -> Packet:
    return Packet(Protocol.TCP, Address(source), Address(destination), port, interface)


def walker(listing: bytes = LISTING) -> NftWalker:
    return NftWalker(parse_table(listing), HOST)


def sent(*addresses: str, masqueraded: bool = False) -> dict[Fate, Fraction]:
    share = Fraction(1, len(addresses))
    return {Fate(Verdict.SENT, Address(each), 8080, masqueraded): share for each in addresses}


EVERYWHERE = ("10.128.1.5", "10.128.1.8", "10.128.2.6", "10.128.3.7")


@pytest.mark.parametrize(
    ("packet", "fates"),
    [
        (a_packet("10.96.0.10"), sent(*EVERYWHERE, masqueraded=True)),
        (a_packet("10.199.0.2", 30080), sent("10.128.1.5", "10.128.1.8")),
        (a_packet("10.199.0.2", 30080, "10.128.3.9"), sent(*EVERYWHERE)),
        (a_packet(VIP), sent("10.128.1.5")),
        (a_packet(VIP, source=OTHER), {Fate(Verdict.DROPPED): Fraction(1)}),
        (a_packet("10.96.0.10", 81), {Fate(Verdict.REJECTED): Fraction(1)}),
        (a_packet("192.0.2.77"), {Fate(Verdict.NOT_OURS): Fraction(1)}),
    ],
    ids=str,
)
def test_packet_is_followed_to_its_end(packet: Packet, fates: dict[Fate, Fraction]) -> None:
    assert fates == walker().fates(packet)


def test_way_names_the_rules_that_held() -> None:
    (way,) = walker().ways(a_packet(VIP))
    assert [rule.chain for rule in way.rules] == [
        "filter-prerouting",
        "firewall/default/lb/tcp/",
        "nat-prerouting",
        "services",
        "external-3-local-1",
        "local-pick-1",
        "filter-forward",
        "filter-forward",
    ]


@pytest.mark.parametrize(
    ("known", "unknown"),
    [
        (b'{"masquerade": {"flags": "fully-random"}}', b'{"snat": {"addr": "10.0.0.1"}}'),
        (b'{"goto": {"target": "local-pick-1"}}', b'{"goto": {"target": "elsewhere"}}'),
        (b'{"goto": {"target": "local-pick-1"}}', b'{"goto": {"target": "external-3-local-1"}}'),
        (b'"data": "@local-endpoints-1"', b'"data": "@nowhere"'),
    ],
)
def test_what_is_not_understood_is_named_and_never_guessed(known: bytes, unknown: bytes) -> None:
    assert known in LISTING
    changed = walker(LISTING.replace(known, unknown))
    with pytest.raises(NotUnderstood):
        [changed.fates(packet) for packet in (a_packet(VIP), a_packet("10.96.0.10"))]


ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.integers(-1, 2**32),
    st.text(max_size=4),
    st.sampled_from(
        [
            [],
            {},
            [{}],
            {"concat": []},
            {"numgen": {"mod": 2**32, "offset": 0}},
            {"jump": {"target": "services"}},
        ]
    ),
)


@given(odd=ODD, draw=st.randoms(use_true_random=False))
def test_any_table_is_walked_or_refused_with_a_sentence(odd: Any, draw: Any) -> None:
    """One place in the listing, somewhere, says something else."""
    listing = msgspec.json.decode(LISTING)
    at: Any = listing["nftables"]
    while True:
        place = draw.choice(range(len(at)) if isinstance(at, list) else sorted(at))
        if not at[place] or not isinstance(at[place], (dict, list)) or draw.random() < 0.2:
            at[place] = odd
            break
        at = at[place]
    with suppress(InputError, NotUnderstood):
        changed = walker(msgspec.json.encode(listing))
        for packet in (a_packet(VIP), a_packet("10.96.0.10"), a_packet("10.199.0.2", 30080)):
            changed.fates(packet)
