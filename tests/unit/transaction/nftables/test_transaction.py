"""In which run of `nft` each part of a change to a table goes."""

import re

import pytest

from facts import a_service, a_slice, a_view, an_endpoint
from kproxy.model.settings import Settings
from kproxy.ruleset.inputs import Circumstances
from kproxy.ruleset.nftables.desired import DesiredTable, TableDifference
from kproxy.ruleset.nftables.frontends import Picker
from kproxy.ruleset.nftables.roles import OF_NODE, of_picker, with_roles
from kproxy.ruleset.nftables.table import DROP, Block, Blocks, Body, Element, Role, Verdict
from kproxy.state.events import Changed
from kproxy.state.objects import ServicePort, ServiceType
from kproxy.state.store import Store
from kproxy.transaction.nftables.change import change as change_of
from kproxy.transaction.nftables.elements import ElementCommand
from kproxy.transaction.nftables.endpoint_chains import endpoint_chains, reference_table
from kproxy.transaction.nftables.run import Reason, Run
from kproxy.transaction.nftables.transaction import Transaction
from kproxy.transaction.nftables.whole import install, refill
from kproxy.values import Address, Family, Network, Protocol
from nft_elements import an_element
from scenarios import RENDER

KEY = "10.96.0.10 . tcp . 80"
VERDICT = an_element("service-ips", KEY, "goto internal-1")
OTHER_VERDICT = an_element("service-ips", KEY, "goto internal-2")
REFUSAL = an_element("unserved-ips", KEY, "goto refuse")
GUARD = an_element("firewall-ips", KEY, "goto firewall/default/web/tcp/80")
OTHER_GUARD = an_element("firewall-ips", KEY, "goto firewall/default/api/tcp/80")
ENDPOINT = an_element("endpoints-1", f"{KEY} . 0", "10.128.1.1 . 8080")
OTHER_ENDPOINT = an_element("endpoints-1", f"{KEY} . 0", "10.128.1.2 . 8080")
MARK = an_element("cluster-ips", "10.96.0.10")
CHAIN = Block("chain", "internal-2")
MAP = Block("map", "endpoints-2")


def declared(family: Family) -> Blocks:
    """A table in which every set and map is there that Services put elements into."""
    pod, other = ("10.128.1.5", "10.128.2.5") if family is Family.IPV4 else ("fd00::5", "fd00::6")
    service = a_service(
        cluster_ips=(Address(pod),),
        type=ServiceType.LOAD_BALANCER,
        ports=(ServicePort("", Protocol.TCP, 80, 30080),),
        load_balancer_vips=(Address(other),),
        source_ranges=(Network("10.0.0.0/8"), Network("fd00::/8")),
        external_policy_local=True,
    )
    store = Store()
    store.apply(Changed(service))
    store.apply(Changed(a_slice(an_endpoint(pod))))
    circumstances = Circumstances(a_view(family), Settings(is_nftables=True))
    table = DesiredTable(RENDER, circumstances)
    table.update(store, store.services, circumstances)
    return table.blocks


DECLARED = declared(Family.IPV4)


PREPARE, CHANGE, REMOVE = Reason.PREPARE, Reason.CHANGE, Reason.REMOVE


def runs_with(part: str, transaction: Transaction) -> list[Reason]:
    return [run.reason for run in transaction.runs if part in run.text]


def text_of(reason: Reason, transaction: Transaction) -> str:
    (text,) = [run.text for run in transaction.runs if run.reason is reason]
    return text


def change(
    *added: Element, deleted: tuple[Element, ...] = (), **blocks: tuple[str | None, str | None]
) -> Transaction:
    named = {"chain": (CHAIN, Role.POLICY), "map": (MAP, Role.ENDPOINTS)}
    differing = {
        block: (None if before is None else Body(role, before), None if after is None else Body(role, after))
        for (block, role), (before, after) in ((named[name], texts) for name, texts in blocks.items())
    }
    return change_of(Family.IPV4, DECLARED, TableDifference(differing, list(deleted), list(added)))


@pytest.mark.parametrize(
    ("added", "deleted", "runs"),
    [
        pytest.param((VERDICT,), (), [CHANGE], id="a Service comes"),
        pytest.param((), (VERDICT,), [CHANGE], id="a Service goes"),
        pytest.param((OTHER_VERDICT,), (VERDICT,), [CHANGE], id="a verdict takes the place of another"),
        pytest.param((OTHER_ENDPOINT,), (ENDPOINT,), [CHANGE], id="an endpoint takes the place of another"),
        pytest.param((), (ENDPOINT,), [REMOVE], id="an endpoint goes"),
        pytest.param((), (REFUSAL,), [REMOVE], id="there is something better than a refusal"),
        pytest.param((REFUSAL,), (), [CHANGE], id="a refusal comes"),
        pytest.param((REFUSAL._replace(value=DROP),), (REFUSAL,), [CHANGE], id="a refusal becomes another"),
        pytest.param((GUARD,), (), [PREPARE], id="a guard comes"),
        pytest.param((), (GUARD,), [REMOVE], id="a guard goes"),
        pytest.param((OTHER_GUARD,), (GUARD,), [CHANGE], id="a guard takes the place of another"),
        pytest.param((MARK,), (), [CHANGE], id="a cluster IP comes"),
        pytest.param((), (MARK,), [CHANGE], id="a cluster IP goes"),
    ],
)  # fmt: skip
def test_each_element_comes_and_goes_in_its_run(
    added: tuple[Element, ...], deleted: tuple[Element, ...], runs: list[Reason]
) -> None:
    transaction = change(*added, deleted=deleted)
    assert runs == runs_with("element", transaction)
    assert bool(transaction)


@pytest.mark.parametrize(
    "holder", ["endpoints-3", "local-endpoints-3", "nodeport-endpoints-3", "nodeport-local-endpoints-3"]
)
def test_endpoints_of_every_kind_go_last(holder: str) -> None:
    blocks = {**DECLARED, Block("map", holder): Body(Role.ENDPOINTS, "")}
    gone = TableDifference(deleted=[ENDPOINT._replace(holder=holder)])
    assert [REMOVE] == runs_with(holder, change_of(Family.IPV4, blocks, gone))


@pytest.mark.parametrize(("added", "run"), [((OTHER_VERDICT,), PREPARE), ((GUARD,), PREPARE), ((), CHANGE)])
def test_new_chain_and_map_come_before_what_leads_there(added: tuple[Element, ...], run: Reason) -> None:
    transaction = change(
        *added, deleted=(VERDICT,), chain=(None, "\tdrop\n"), map=(None, "\ttypeof ip daddr\n")
    )
    assert [run] == runs_with("chain internal-2 {", transaction)
    assert [run] == runs_with("map endpoints-2 {", transaction)
    assert ("internal-2",) == transaction.written
    assert () == transaction.deleted


@pytest.mark.parametrize("added", [(OTHER_VERDICT,), ()])
def test_altered_chain_is_flushed_where_it_is_written(added: tuple[Element, ...]) -> None:
    transaction = change(*added, deleted=(VERDICT,), chain=("\tdrop\n", "\taccept\n"))
    assert [CHANGE] == runs_with("flush chain ip kproxy internal-2", transaction)
    assert [CHANGE] == runs_with("\taccept", transaction)
    assert ("internal-2",) == transaction.written


def test_what_nothing_leads_to_any_more_goes_last_and_its_elements_with_it() -> None:
    inside = an_element("endpoints-2", f"{KEY} . 1", "10.128.1.1 . 8080")
    transaction = change(
        deleted=(inside, ENDPOINT), chain=("\tdrop\n", None), map=("\ttypeof ip daddr\n", None)
    )
    assert text_of(REMOVE, transaction) == (
        f"delete element ip kproxy endpoints-1 {{\n\t{KEY} . 0,\n}}\n"
        "flush chain ip kproxy internal-2\n"
        "delete chain ip kproxy internal-2\n"
        "delete map ip kproxy endpoints-2\n"
    )
    assert [REMOVE] == [run.reason for run in transaction.runs]
    assert ((), ("internal-2",)) == (transaction.written, transaction.deleted)


def test_change_of_nothing_is_empty() -> None:
    assert not change()


@pytest.mark.parametrize("family", Family)
def test_elements_of_all_that_services_fill_are_commands(family: Family) -> None:
    blocks = declared(family)
    holders = {block.name for block in blocks if not block.is_chain}
    assert holders > {"local-endpoints-1", "nodeport-endpoints-1", "unserved-nodeports", "hairpin-endpoints"}
    for holder in holders:
        gone = an_element(holder, KEY)
        (run,) = change_of(family, blocks, TableDifference(deleted=[gone])).runs
        assert (ElementCommand("delete", family, holder, (gone,)),) == run.commands


@pytest.mark.parametrize(
    "text",
    [
        "\ttypeof ip daddr\n\tflags interval\n",
        "\ttypeof ip daddr : ip daddr . meta mark\n",
        "\ttypeof meta mark . ip daddr\n",
        "\ttypeof ip daddr\n\ttimeout 1h\n",
        "\ttype ipv4_addr\n",
        "\ttypeof ip saddr . numgen inc mod 2\n\tsize 1048576\n\tflags dynamic,timeout\n",
        None,
    ],
)
def test_elements_of_what_templates_of_others_declare_are_left_to_nft(text: str | None) -> None:
    other = an_element("other", "10.96.0.10")
    other_set = Block("set", "other")
    blocks = {**DECLARED, **with_roles({other_set: text}, {})} if text else DECLARED
    (run,) = change_of(Family.IPV4, blocks, TableDifference(added=[MARK, other])).runs
    assert (True, ()) == (other.holder in run.text, run.commands)


def test_commands_say_what_the_text_says() -> None:
    transaction = change(OTHER_VERDICT, OTHER_ENDPOINT, MARK, GUARD, deleted=(VERDICT, ENDPOINT, REFUSAL))
    assert [PREPARE, CHANGE, REMOVE] == [run.reason for run in transaction.runs]
    for run in transaction.runs:
        assert run.commands
        assert run.text == "".join(map(str, run.commands))


@pytest.mark.parametrize("texts", [("\tdrop\n", "\taccept\n"), (None, "\tdrop\n")])
def test_run_with_more_than_elements_is_left_to_nft(texts: tuple[str | None, str]) -> None:
    transaction = change(MARK, deleted=(ENDPOINT,), chain=texts)
    main, last = transaction.runs
    assert (True, True) == (not main.commands, bool(last.commands))


PICK, PICKED_FROM = Block("chain", "pick-1"), Block("map", "endpoints-1")
BASE, INNER = Block("chain", "nat-output"), Block("chain", "services")
CLIENTS, VERDICTS = Block("set", "affinity/default/web/tcp/"), Block("map", "service-ips")
OLD = {Block(kind, f"an-old-{kind}") for kind in ("chain", "map", "set")}
BLOCKS = with_roles(
    {
        VERDICTS: "\ttypeof ip daddr : verdict\n",
        CLIENTS: "\ttypeof ip saddr\n",
        PICKED_FROM: "\ttypeof ip daddr : ip daddr . th dport\n",
        PICK: "\tdnat ip to ip daddr map @endpoints-1\n",
        INNER: "\tip daddr vmap @service-ips\n",
        BASE: "\ttype nat hook output priority -100; policy accept;\n\tjump services\n",
    },
    {
        **OF_NODE,
        **of_picker(Picker(is_node_port=False, is_local=False, size=1)),
        CLIENTS: Role.CLIENTS,
    },
)


@pytest.mark.parametrize("is_intact", [True, False])
def test_table_is_written_again_in_the_sets_and_maps_that_are_there(is_intact: bool) -> None:
    """But for a map whose chain cannot be written without a new one."""
    transaction = refill(
        Family.IPV4, {*BLOCKS, *OLD}, BLOCKS, [VERDICT, ENDPOINT], {PICK} if is_intact else set()
    )
    (run,) = transaction.runs
    text = run.text

    def commands(verb: str) -> set[Block]:
        return {Block(*found) for found in re.findall(rf"(?m)^{verb} (chain|map|set) ip kproxy (\S+)$", text)}

    assert {*BLOCKS, *OLD} - {CLIENTS} - ({PICK} if is_intact else set()) == commands("flush")
    assert OLD | {BASE} | (set() if is_intact else {PICKED_FROM}) == commands("delete")
    assert is_intact != ("chain pick-1 {" in text)
    assert {block.name for block in BLOCKS if block.is_chain} == set(transaction.written)
    assert text.index("add element ip kproxy endpoints-1") < text.index("add element ip kproxy service-ips")
    assert text.index("add element ip kproxy service-ips") < text.index("chain services {")


def test_model_of_a_chain_is_the_chain_with_its_map_in_a_table_that_goes_again() -> None:
    made, gone = reference_table(Family.IPV6, {PICK}, BLOCKS)
    assert gone.text == "add table ip6 kproxy-model\ndelete table ip6 kproxy-model\n"
    assert made.text.startswith(gone.text)
    assert ["map endpoints-1 {", "chain pick-1 {"] == re.findall(r"(?m)^(?:map|chain) .*$", made.text)


@pytest.mark.parametrize(
    ("texts", "waits"),
    [
        pytest.param(None, [False, True, True], id="elements alone"),
        pytest.param((None, "\tdrop\n"), [False, False, True], id="nft writes a new chain in the first run"),
        pytest.param(("\tdrop\n", "\taccept\n"), [False, True, False], id="nft writes a chain in the second"),
    ],
)
def test_run_after_elements_alone_waits_for_packets(
    texts: tuple[str | None, str] | None, waits: list[bool]
) -> None:
    """`nft` takes longer than any packet is on its way."""
    chain = {"chain": texts} if texts else {}
    transaction = change(OTHER_VERDICT, GUARD, deleted=(VERDICT, REFUSAL), **chain)
    assert waits == [run.waits_for_packets for run in transaction.runs]


@pytest.mark.parametrize("old", [VERDICT, REFUSAL, GUARD])
def test_whatever_verdict_is_replaced_new_chains_are_there_before(old: Element) -> None:
    new = old._replace(value=Verdict(CHAIN.name))
    transaction = change(new, deleted=(old,), chain=(None, "\tdrop\n"))
    assert [PREPARE] == runs_with("chain internal-2 {", transaction)


def test_marks_are_comments_before_the_runs_and_the_rest_is_what_nft_reads() -> None:
    transaction = change(OTHER_VERDICT, GUARD, deleted=(VERDICT,))
    first, second = transaction.runs
    assert transaction.marked == (
        f"# run 1 of 2: {PREPARE.value}\n{first.text}# run 2 of 2: {CHANGE.value}\n{second.text}"
    )


def test_chain_that_picks_from_a_map_that_nobody_declares_is_no_endpoint_chain() -> None:
    undeclared = {block: body for block, body in BLOCKS.items() if block != PICKED_FROM}
    assert {PICK: PICKED_FROM} == endpoint_chains(BLOCKS)
    assert {} == endpoint_chains(undeclared)


def test_only_a_removal_may_be_busy_and_blames_no_service() -> None:
    transaction = change(OTHER_VERDICT, deleted=(VERDICT, REFUSAL), chain=(None, "\tdrop\n"))
    prepare, main, removal = transaction.runs
    assert [False, False, True] == [run.may_be_busy for run in transaction.runs]
    assert prepare.text + main.text == transaction.refusable
    assert str(transaction) == transaction.refusable + removal.text


def test_removal_may_be_divided_between_its_commands() -> None:
    inside = an_element("endpoints-1", f"{KEY} . 1", "10.128.1.1 . 8080")
    transaction = change(
        deleted=(inside, ENDPOINT), chain=("\tdrop\n", None), map=("\ttypeof ip daddr\n", None)
    )
    (removal,) = transaction.runs
    assert [
        f"delete element ip kproxy endpoints-1 {{\n\t{KEY} . 1,\n\t{KEY} . 0,\n}}\n",
        "flush chain ip kproxy internal-2\n",
        "delete chain ip kproxy internal-2\n",
        "delete map ip kproxy endpoints-2\n",
    ] == [*removal.parts]
    first, second = removal.divided()
    assert ((*removal.parts[:2],), (*removal.parts[2:],)) == (first.parts, second.parts)
    assert removal.text == first.text + second.text
    assert [True, True] == [half.may_be_busy for half in (first, second)]
    assert [] == [*Run("flush ruleset\n").divided()]


def test_table_is_installed_in_runs_of_which_only_the_last_lets_packets_in() -> None:
    transaction = install(Family.IPV4, BLOCKS, [VERDICT, ENDPOINT])
    assert [Reason.PREPARE, Reason.FILL, Reason.OPEN] == [run.reason for run in transaction.runs]
    prepare, fill, opened = transaction.runs
    assert [False, False, True] == [" hook " in run.text for run in transaction.runs]
    assert (True, True) == (bool(fill.commands), "jump services" in opened.text)
    assert prepare.parts
    assert [False] * 3 == [run.waits_for_packets for run in transaction.runs]


def test_table_without_services_is_installed_without_a_run_of_elements() -> None:
    assert [Reason.PREPARE, Reason.OPEN] == [run.reason for run in install(Family.IPV4, BLOCKS, []).runs]
