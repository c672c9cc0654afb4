"""Each block has a role: ours by name, those of other templates by a rule."""

import pytest

from facts import a_node, a_service, a_slice, a_view, an_endpoint
from kproxy.model.settings import Settings
from kproxy.ruleset.inputs import Circumstances
from kproxy.ruleset.nftables.desired import DesiredTable
from kproxy.ruleset.nftables.roles import OF_NODE, with_roles
from kproxy.ruleset.nftables.table import Block, Role, parse_blocks
from kproxy.state.events import Changed
from kproxy.state.objects import ServicePort, ServiceType
from kproxy.state.store import Store
from kproxy.values import Address, Network, Protocol
from scenarios import RENDER


def everything() -> DesiredTable:
    """A table with a block of each kind that our templates declare."""
    store = Store()
    for number, (name, timeout_s) in enumerate((("web", None), ("api", 60))):
        service = a_service(
            name,
            cluster_ips=(Address(f"10.96.0.{number}"),),
            type=ServiceType.LOAD_BALANCER,
            ports=(ServicePort("", Protocol.TCP, 80, 30080 + number),),
            load_balancer_vips=(Address(f"192.0.2.{number}"),),
            source_ranges=(Network("10.0.0.0/8"),),
            external_policy_local=True,
            affinity_timeout_s=timeout_s,
        )
        store.apply(Changed(service))
        store.apply(
            Changed(
                a_slice(
                    an_endpoint("10.128.1.5"),
                    an_endpoint("10.128.2.5", "node-2"),
                    name=f"{name}-a",
                    service=name,
                )
            )
        )
    store.apply(Changed(a_node()))
    circumstances = Circumstances(a_view(), Settings(is_nftables=True))
    table = DesiredTable(RENDER, circumstances)
    table.update(store, store.services, circumstances)
    return table


def test_every_block_of_our_templates_has_a_role_by_name() -> None:
    bodies = everything().blocks
    roles = {body.role for body in bodies.values()}
    assert {*Role} - {Role.ADDED} == roles
    assert [] == [block for block in OF_NODE if block not in bodies]


def test_roles_by_name_are_those_that_the_rule_for_added_chains_would_give() -> None:
    """Hook chains have a hook, dispatch chains ask for a verdict or lead to chains that do, and no other chain does."""
    bodies = everything().blocks
    by_rule = with_roles({block: body.text for block, body in bodies.items()}, {})
    leading = {Role.HOOK, Role.DISPATCH}
    assert {block: body.role for block, body in bodies.items() if body.role in leading} == {
        block: body.role for block, body in by_rule.items() if body.role in leading
    }


def test_sets_and_maps_that_services_fill_are_plain_and_the_set_of_clients_is_not() -> None:
    holders = {block: body for block, body in everything().blocks.items() if not block.is_chain}
    assert [] == [block for block, body in holders.items() if body.is_plain is (body.role is Role.CLIENTS)]


def test_chain_that_picks_from_a_map_knows_it() -> None:
    picked_from = {
        block.name: body.picks_from for block, body in everything().blocks.items() if body.picks_from
    }
    assert {
        "pick-2": "endpoints-2",
        "local-pick-1": "local-endpoints-1",
        "nodeport-pick-2": "nodeport-endpoints-2",
        "nodeport-local-pick-1": "nodeport-local-endpoints-1",
    } == picked_from


@pytest.mark.parametrize(
    ("rule", "role"),
    [
        ("type filter hook input priority 5; policy accept;", Role.HOOK),
        ("ip saddr . th dport vmap @mine", Role.DISPATCH),
        ("jump services", Role.DISPATCH),
        ("ct state new goto unserved", Role.DISPATCH),
        ("jump first", Role.DISPATCH),
        ("jump second", Role.DISPATCH),
        ("jump refuse", Role.ADDED),
        ('log prefix "a hook of mine" drop', Role.ADDED),
        ("drop", Role.ADDED),
    ],
)
def test_chain_that_a_template_adds_has_its_role_by_rule(rule: str, role: Role) -> None:
    text = (
        f"chain added {{\n\t{rule}\n}}\n"
        "chain second {\n\tgoto first\n}\n"
        "chain first {\n\tjump services\n}\n"
        "chain services {\n\tip daddr vmap @service-ips\n}\n"
    )
    assert role is with_roles(parse_blocks(text), OF_NODE)[Block("chain", "added")].role


@pytest.mark.parametrize("kind", ["set", "map"])
def test_set_or_map_that_a_template_adds_is_only_there(kind: str) -> None:
    body = with_roles({Block(kind, "mine"): "\ttypeof ip saddr\n\tflags interval\n"}, OF_NODE)[
        Block(kind, "mine")
    ]
    assert (Role.ADDED, False) == (body.role, body.is_plain)


def test_chain_named_as_one_of_our_sets_is_added() -> None:
    chain = Block("chain", "cluster-ips")
    assert Role.ADDED is with_roles({chain: "\tdrop\n"}, OF_NODE)[chain].role
