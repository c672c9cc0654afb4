"""In which run of `nft` each part of a change to a table goes."""

import pytest

from kproxy.ruleset.nftables.desired import TableChange
from kproxy.ruleset.nftables.table import Block, Element
from kproxy.transaction.nftables import TableTransaction, change_table
from kproxy.values import Family

KEY = "10.96.0.10 . tcp . 80"
VERDICT = Element("service-ips", KEY, "goto internal-1")
OTHER_VERDICT = Element("service-ips", KEY, "goto internal-2")
REFUSAL = Element("unserved-ips", KEY, "goto refuse")
GUARD = Element("firewall-ips", KEY, "goto firewall/default/web/tcp/80")
OTHER_GUARD = Element("firewall-ips", KEY, "goto firewall/default/api/tcp/80")
ENDPOINT = Element("endpoints-1", f"{KEY} . 0", "10.128.1.1 . 8080")
OTHER_ENDPOINT = Element("endpoints-1", f"{KEY} . 0", "10.128.1.2 . 8080")
MARK = Element("cluster-ips", "10.96.0.10")
CHAIN = Block("chain", "internal-2")
MAP = Block("map", "endpoints-2")


def runs_with(part: str, transaction: TableTransaction) -> list[str]:
    return [name for name in ("first", "text", "last") if part in getattr(transaction, name)]


def change(
    *added: Element, deleted: tuple[Element, ...] = (), **blocks: tuple[str | None, str | None]
) -> TableTransaction:
    named = {{"chain": CHAIN, "map": MAP}[name]: texts for name, texts in blocks.items()}
    return change_table(Family.IPV4, TableChange(named, list(deleted), list(added)))


@pytest.mark.parametrize(
    ("added", "deleted", "runs"),
    [
        pytest.param((VERDICT,), (), ["text"], id="a Service comes"),
        pytest.param((), (VERDICT,), ["text"], id="a Service goes"),
        pytest.param((OTHER_VERDICT,), (VERDICT,), ["text"], id="a verdict takes the place of another"),
        pytest.param((OTHER_ENDPOINT,), (ENDPOINT,), ["text"], id="an endpoint takes the place of another"),
        pytest.param((), (ENDPOINT,), ["last"], id="an endpoint goes"),
        pytest.param((), (REFUSAL,), ["last"], id="there is something better than a refusal"),
        pytest.param((REFUSAL,), (), ["text"], id="a refusal comes"),
        pytest.param((REFUSAL._replace(value="drop"),), (REFUSAL,), ["text"], id="a refusal becomes another"),
        pytest.param((GUARD,), (), ["first"], id="a guard comes"),
        pytest.param((), (GUARD,), ["text"], id="a guard goes"),
        pytest.param((OTHER_GUARD,), (GUARD,), ["text"], id="a guard takes the place of another"),
        pytest.param((MARK,), (), ["text"], id="a cluster IP comes"),
        pytest.param((), (MARK,), ["text"], id="a cluster IP goes"),
    ],
)  # fmt: skip
def test_each_element_comes_and_goes_in_its_run(
    added: tuple[Element, ...], deleted: tuple[Element, ...], runs: list[str]
) -> None:
    transaction = change(*added, deleted=deleted)
    assert runs == runs_with("element", transaction)
    assert bool(transaction)


@pytest.mark.parametrize(
    "holder", ["endpoints-3", "local-endpoints-3", "nodeport-endpoints-3", "nodeport-local-endpoints-3"]
)
def test_endpoints_of_every_kind_go_last(holder: str) -> None:
    assert ["last"] == runs_with(holder, change(deleted=(ENDPOINT._replace(holder=holder),)))


@pytest.mark.parametrize(("added", "run"), [((OTHER_VERDICT,), "first"), ((GUARD,), "first"), ((), "text")])
def test_new_chain_and_map_come_before_what_leads_there(added: tuple[Element, ...], run: str) -> None:
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
    assert ["text"] == runs_with("flush chain ip kproxy internal-2", transaction)
    assert ["text"] == runs_with("\taccept", transaction)
    assert ("internal-2",) == transaction.written


def test_what_nothing_leads_to_any_more_goes_last_and_its_elements_with_it() -> None:
    inside = Element("endpoints-2", f"{KEY} . 1", "10.128.1.1 . 8080")
    transaction = change(
        deleted=(inside, ENDPOINT), chain=("\tdrop\n", None), map=("\ttypeof ip daddr\n", None)
    )
    assert transaction.last == (
        f"delete element ip kproxy endpoints-1 {{\n\t{KEY} . 0,\n}}\n"
        "flush chain ip kproxy internal-2\n"
        "delete chain ip kproxy internal-2\n"
        "delete map ip kproxy endpoints-2\n"
    )
    assert ("", "") == (transaction.first, transaction.text)
    assert ((), ("internal-2",)) == (transaction.written, transaction.deleted)


def test_change_of_nothing_is_empty() -> None:
    assert not change()
