"""Elements that go to the kernel by netlink: what `nft` would have done, and nothing else."""

import logging
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facts import CLUSTER_CIDRS, a_service, a_slice, a_view, an_endpoint
from kproxy import process
from kproxy.errors import ProgramFailed
from kproxy.kernel.netlink.chains import generation
from kproxy.kernel.netlink.elements import messages, raw
from kproxy.kernel.netlink.nfnetlink import Message, Netlink, attributes_within
from kproxy.kernel.programs import nft
from kproxy.kernel.programs.nft import NftTable
from kproxy.kernel.programs.nft_failures import tables_of_newer_nft
from kproxy.kernel.programs.nft_version import nft_version
from kproxy.model.settings import Settings
from kproxy.ruleset.inputs import Circumstances
from kproxy.ruleset.nftables.desired import DesiredTable
from kproxy.ruleset.nftables.table import Element, Numbered, Role, Target, spelled_out
from kproxy.state.events import Changed
from kproxy.state.objects import ServicePort, ServiceType
from kproxy.state.store import Store
from kproxy.transaction.nftables.elements import ElementCommand
from kproxy.transaction.nftables.run import Run
from kproxy.transaction.nftables.whole import replace_all
from kproxy.values import Address, Family, Network, Protocol
from namespaces import fresh_namespace, inside
from nft_elements import a_key, a_value, an_element
from nftlisting import listing
from scenarios import RENDER

pytestmark = pytest.mark.netns

ADDRESSES = {
    Family.IPV4: ("10.96.0.10", "10.96.0.11", "10.128.1.5", "10.199.0.2"),
    Family.IPV6: ("fd00:10:96::10", "fd00:10:96::11", "fd00:10:128:1::5", "fd00:199::2"),
}
IMPOSSIBLE = ("goto services", "goto nowhere", "goto nat-prerouting")
"""A circle, no chain, and a chain that only a hook may lead to."""

PARTS = {
    "meta l4proto": ("tcp", "udp", "sctp"),
    "th dport": ("80", "8080", "30080", "65535"),
    "numgen random mod 2": ("0", "1", "2"),
    "verdict": ("drop", "goto refuse", "goto internal-2", "goto firewall/default/web/tcp/", *IMPOSSIBLE),
}


def a_table(family: Family) -> DesiredTable:
    """One in which each set and map that Services put elements into is there."""
    address, other, pod, _ = ADDRESSES[family]
    service = a_service(
        cluster_ips=(Address(address),),
        type=ServiceType.LOAD_BALANCER,
        ports=(ServicePort("", Protocol.TCP, 80, 30080),),
        load_balancer_vips=(Address(other),),
        source_ranges=(Network(f"{pod}/{32 if family is Family.IPV4 else 128}"),),
        external_policy_local=True,
    )
    store = Store()
    store.apply(Changed(service))
    store.apply(Changed(a_slice(an_endpoint(pod), an_endpoint(f"{pod}0", "node-2"))))
    view = a_view(family, node_port_primary=True)
    circumstances = Circumstances(view, Settings(cluster_cidrs=CLUSTER_CIDRS, is_nftables=True))
    table = DesiredTable(RENDER, circumstances)
    table.update(store, store.services, circumstances)
    return table


TABLES = {family: a_table(family) for family in Family}
ELEMENTS = {family: tuple(table.elements()) for family, table in TABLES.items()}
FRESH = {family: replace_all(family, TABLES[family].blocks, ELEMENTS[family]).runs[0] for family in Family}
FORMS = {
    block.name: re.findall(r"typeof (.+?)(?: : (.+))?\n", body.text)[0]
    for block, body in TABLES[Family.IPV4].blocks.items()
    if not block.is_chain and body.role is not Role.CLIENTS
}
"""The types of the keys and values in each set or map."""


def texts(family: Family, form: str) -> st.SearchStrategy[str]:
    parts = (PARTS.get(each, ADDRESSES[family]) for each in form.split(" . ") if form)
    return st.tuples(*map(st.sampled_from, parts)).map(" . ".join)


@st.composite
def commands(draw: st.DrawFn, family: Family) -> ElementCommand:
    """Mostly to delete what is there, or to add what is not; but not always."""
    verb = draw(st.sampled_from(("create", "delete")))
    holder = draw(st.sampled_from(sorted(FORMS)))
    key, value = FORMS[holder]
    there = [each for each in ELEMENTS[family] if each.holder == holder]
    new = st.builds(an_element, st.just(holder), texts(family, key), texts(family, value))
    old = st.sampled_from(there) if there else new
    elements = draw(
        st.lists(new | new | old if verb == "create" else old | old | new, min_size=1, max_size=2)
    )
    if verb == "delete":
        elements = [each._replace(value=None) for each in elements]
    return ElementCommand(verb, family, holder, tuple(elements))


def text_of(batch: Sequence[ElementCommand]) -> Run:
    """As the fixture above, for `nft` alone."""
    return Run("".join(map(str, batch)))


@pytest.fixture(scope="module")
def by_nft() -> Iterator[str]:
    with fresh_namespace() as name:
        yield name


@pytest.fixture(scope="module")
def by_netlink() -> Iterator[str]:
    with fresh_namespace() as name:
        yield name


def outcome(
    apply: Callable[[Sequence[ElementCommand]], None], batch: Sequence[ElementCommand]
) -> tuple[bool, int]:
    """Whether it was taken, and how many transactions the kernel counts."""
    before = generation()
    try:
        apply(batch)
    except (ProgramFailed, OSError):
        return False, generation() - before
    return True, generation() - before


@given(data=st.data(), family=st.sampled_from(Family))
@settings(max_examples=settings().max_examples // 5)
def test_kernel_takes_and_refuses_the_same_from_netlink_as_from_nft(
    by_nft: str, by_netlink: str, data: st.DataObject, family: Family
) -> None:
    batch = st.lists(commands(family), min_size=1, max_size=2)
    batches = data.draw(st.lists(batch, min_size=4, max_size=6))
    with inside(by_nft):
        table = NftTable(family)
        table.apply(FRESH[family])
        expected = [outcome(lambda batch: table.apply(text_of(batch)), batch) for batch in batches]
        listed = listing(family)
    with inside(by_netlink):
        table = NftTable(family)
        table.apply(FRESH[family])
        assert expected == [outcome(table.commit, batch) for batch in batches]
        assert listed == listing(family)


SHOWN = re.compile(
    r"\| (?P<kind>\d{5}) \| \S+ \|\t"
    r"|\|(?P<length>\d{5})\|(?P<flags>[-N]{2})\|(?P<number>\d{5})\|"
    r"|\| (?P<data>(?:[0-9a-f]{2} ){4}) \|\t\|      data"
)
"""A message, an attribute's head, and four bytes of its value."""

ID_IN_BATCH = re.compile(rb"\x08\x00\x04\x00.{4}", re.DOTALL)
"""NFTA_SET_ELEM_LIST_SET_ID, which only counts where the set is new."""


def sent_by_nft(text: str) -> list[tuple[int, bytes]]:
    """Kinds and attributes of the messages of which it shows that it sends them."""
    shown = process.run(["nft", "--debug=mnl", "-f", "-"], stdin=text)
    sent: list[tuple[int, bytes]] = []
    for part in SHOWN.finditer(re.sub(r"\x1b\[[\d;]*m", "", shown)):
        if part["kind"]:
            sent.append((int(part["kind"]), b""))
            continue
        value = bytes.fromhex(part["data"] or "")
        if part["length"]:
            nested = 0x8000 if part["flags"] == "N-" else 0
            value = struct.pack("=HH", int(part["length"]), nested | int(part["number"]))
        kind, attributes = sent.pop()
        sent.append((kind, attributes + value))
    return sent


SENDS_EACH_COMMAND_APART = {"1.0.6"}
"""Newer ones, such as 1.1.3, send those that follow one another for one set or map as one message, and count its elements."""

ELEMENT_MESSAGES = {10 << 8 | 12, 10 << 8 | 14}
"""NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM."""


def one_by_one(sent: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes, bytes, bytes]]:
    """Each element with its fate: the kind of message, the table, the set or map, and all bytes of the element."""
    for kind, held in sent:
        places = {number: (begin, end) for number, begin, end in attributes_within(held, 0, len(held))}
        table, holder, _ = (held[begin:end] for begin, end in map(places.__getitem__, (1, 2, 3)))
        for _, begin, end in attributes_within(held, *places[3]):  # NFTA_SET_ELEM_LIST_ELEMENTS
            yield kind, table, holder, held[begin:end]


@pytest.mark.parametrize("family", Family)
def test_messages_are_those_that_nft_sends(by_nft: str, family: Family) -> None:
    drop = an_element("unserved-nodeports", "sctp . 1", "drop")
    added = [ElementCommand("create", family, each.holder, (each,)) for each in (*ELEMENTS[family], drop)]
    deleted = [
        each._replace(verb="delete", elements=(Element(each.holder, element.key),))
        for each, element in zip(added, (*ELEMENTS[family], drop), strict=True)
    ]
    with inside(by_nft):
        NftTable(family).apply(FRESH[family])
        NftTable(family).apply(text_of(added[-1:]))
        for batch in (deleted, added):
            sent = [
                (kind, ID_IN_BATCH.sub(b"", held, count=1))
                for kind, held in sent_by_nft(text_of(batch).text)
                if kind in ELEMENT_MESSAGES
            ]
            ours = [(each.kind, each.attributes) for each in messages(batch)]
            assert len(batch) == len(ours)
            assert [*one_by_one(sent)] == [*one_by_one(ours)]
            if nft_version() in SENDS_EACH_COMMAND_APART:
                assert sent == ours


@pytest.mark.parametrize("family", Family)
def test_numbered_elements_are_sent_as_each_of_them_would_be(family: Family) -> None:
    contents = [
        *TABLES[family].contents(),
        Numbered(
            "endpoints-200",
            a_key(f"{ADDRESSES[family][0]} . sctp . 1"),
            200 * (Target(Address(ADDRESSES[family][2]), 2),),
        ),
    ]
    together, apart = (
        [
            ElementCommand("create", family, each.holder, (*spelled_out([each]),) if is_apart else (each,))
            for each in contents
        ]
        for is_apart in (False, True)
    )
    assert [*messages(apart)] == [*messages(together)]
    assert [each.line_count for each in apart] == [each.line_count for each in together]
    assert [*map(str, apart)] == [*map(str, together)]


@pytest.mark.parametrize("family", Family)
def test_old_nft_can_list_the_table_whichever_nft_wrote_it(by_nft: str, family: Family) -> None:
    """A set or map declared by `type` gets from nft 1.1.2 on what nft up to 1.1.1 crashes over."""
    declared = {block: body.text for block, body in TABLES[family].blocks.items() if not block.is_chain}
    assert [] == [block for block, text in declared.items() if not text.startswith("\ttypeof ")]
    with inside(by_nft):
        NftTable(family).apply(FRESH[family])
        assert [] == tables_of_newer_nft()


class CountingTable(NftTable):
    """How often it started `nft` since its table was written."""

    def __init__(self, family: Family) -> None:
        super().__init__(family)
        self.starts = -1
        self.apply(FRESH[family])

    def _run_nft(self, text: str) -> None:
        self.starts += 1
        super()._run_nft(text)


LONG = f"external/{'n' * 63}/{'s' * 63}/sctp/{'p' * 15}"
"""A chain's name, as long as Kubernetes allows."""


def many(family: Family, count: int) -> Run:
    elements = tuple(
        an_element("service-ips", f"{ADDRESSES[family][0]} . udp . {number}", f"goto {LONG}")
        for number in range(1, count + 1)
    )
    command = ElementCommand("create", family, "service-ips", elements)
    return Run(str(command), (command,))


@pytest.mark.parametrize(("count", "room", "starts"), [(500, False, 0), (5_000, False, 1), (5_000, True, 0)])
def test_what_one_batch_cannot_hold_is_left_to_nft(
    by_netlink: str,
    count: int,
    room: bool,
    starts: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if not room:
        monkeypatch.setattr(Netlink, "_make_room", lambda *_: None)
    with inside(by_netlink):
        table = CountingTable(Family.IPV6)
        process.run(["nft", "add", "chain", "ip6", "kproxy", LONG])
        before = len(table.elements("service-ips"))
        table.apply(many(Family.IPV6, count))
        assert (before + count, starts) == (len(table.elements("service-ips")), table.starts)
        table.apply(a_change(Family.IPV6))
        assert (starts, "") == (table.starts, caplog.text)


def replaced(family: Family, number: int) -> tuple[Element, Element]:
    """An endpoint and one for it."""
    old = next(each for each in ELEMENTS[family] if each.holder == "endpoints-2")
    return old, old._replace(value=a_value(f"{ADDRESSES[family][number]} . {number}"))


def a_change(family: Family, number: int = 1) -> Run:
    old, new = replaced(family, number)
    batch = (
        ElementCommand("delete", family, old.holder, (old._replace(value=None),)),
        ElementCommand("create", family, old.holder, (new,)),
    )
    return Run(text_of(batch).text, batch)


def in_another_set(commands: Iterable[ElementCommand]) -> Iterator[Message]:
    return messages(each._replace(holder="lost") for each in commands)


@pytest.mark.parametrize("unanswered", [False, True])
@pytest.mark.parametrize("family", Family)
def test_kernel_that_does_not_do_as_told_is_told_by_nft_from_then_on(
    by_netlink: str,
    family: Family,
    unanswered: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with inside(by_netlink), caplog.at_level(logging.WARNING):
        table = CountingTable(family)
        if unanswered:
            monkeypatch.setattr(Netlink, "_verdicts", lambda _: iter(()))
        else:
            monkeypatch.setattr(nft, "messages", in_another_set)
        for number in (1, 2):
            table.apply(a_change(family, number))
            assert number == table.starts
            assert raw(replaced(family, number)[1]) in table.elements("endpoints-2")
    assert 1 == caplog.text.count("from now on nft makes all changes")


@pytest.mark.parametrize(("count", "complaint"), [(3, "No such file"), (1_000, "No buffer space")])
def test_refusals_change_nothing_and_are_of_their_own_batch(
    by_netlink: str, count: int, complaint: str
) -> None:
    """So many that the kernel cannot deliver them are no consent, and none is taken for one of the next batch."""
    family = Family.IPV4
    lost = ElementCommand("delete", family, "service-ips", (an_element("service-ips", "1.2.3.4 . tcp . 1"),))
    with inside(by_netlink):
        table = CountingTable(family)
        before = table.generation()
        for number in (1, 2):
            with pytest.raises(OSError, match=complaint):
                table.commit([*a_change(family, number).commands, *(lost for _ in range(count))])
            table.apply(a_change(family, number))
        assert (before + 2, 0) == (table.generation(), table.starts)


@pytest.mark.parametrize(
    "element",
    [an_element("service-ips", "10.96.0.10 . tcp . 70000", "drop"), an_element("cluster-ips", "10.96.0.256")],
)
def test_what_is_no_element_is_refused_by_nft(by_netlink: str, element: Element) -> None:
    command = ElementCommand("create", Family.IPV4, element.holder, (element,))
    with inside(by_netlink):
        table = CountingTable(Family.IPV4)
        with pytest.raises(ProgramFailed, match="nft -f - failed with exit code 1"):
            table.apply(Run(str(command), (command,)))
        table.apply(a_change(Family.IPV4))
        assert table.starts == 1
