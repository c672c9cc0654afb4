"""The table of nftables mode as data: what a Service adds, and what is left when a template fails."""

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from facts import WEB, a_plan, a_service, a_slice, a_view, an_endpoint
from kproxy.errors import InputError
from kproxy.model.settings import DetectLocalMode, Settings
from kproxy.ruleset.inputs import Circumstances
from kproxy.ruleset.nftables.desired import DesiredTable
from kproxy.ruleset.nftables.frontends import contents_of, frontends_of
from kproxy.ruleset.nftables.table import Block, Target, Verdict, parse_blocks, spelled_out
from kproxy.state.events import Changed
from kproxy.state.objects import ServicePort, ServiceType
from kproxy.state.store import Store
from kproxy.transaction.nftables.table_delta import TableDelta
from kproxy.values import Address, NamespacedName, Network, Protocol
from nft_elements import a_key, a_value, an_element
from scenarios import RENDER

SETTINGS = Settings(is_nftables=True, node_port_primary=True, localhost_node_ports=False)


def test_service_port_is_elements_for_each_of_its_addresses() -> None:
    service = a_service(
        type=ServiceType.LOAD_BALANCER,
        ports=(ServicePort("", Protocol.TCP, 80, 30080),),
        load_balancer_vips=(Address("192.0.2.10"),),
        external_policy_local=True,
    )
    plan = a_plan(service, an_endpoint("10.128.1.5"), an_endpoint("10.128.2.6", "node-2"))
    found = [element for each in frontends_of(plan) for element in spelled_out(contents_of(*each))]
    assert [
        an_element("service-ips", "10.96.0.10 . tcp . 80", "goto internal-2"),
        an_element("service-ips", "192.0.2.10 . tcp . 80", "goto external-2-local-1"),
        an_element("local-endpoints-1", "192.0.2.10 . tcp . 80 . 0", "10.128.1.5 . 8080"),
        an_element("service-nodeports", "tcp . 30080", "goto nodeport-2-local-1"),
    ] == [
        each
        for each in found
        if not each.holder.endswith("endpoints-2") and "nodeport-local" not in each.holder
    ]
    assert 8 == sum(each.holder.endswith(("endpoints-2", "endpoints-1")) for each in found)


def test_chains_stand_on_the_hooks_that_the_drawing_shows() -> None:
    """Also where packets cannot tell: other tables stand before or behind. See templates/nftables/README.md."""
    circumstances = Circumstances(a_view(), SETTINGS)
    blocks = DesiredTable(RENDER, circumstances).blocks
    assert {
        "filter-prerouting": "filter hook prerouting priority dstnat - 10",
        "filter-output-first": "filter hook output priority -110",
        "nat-prerouting": "nat hook prerouting priority dstnat",
        "nat-output": "nat hook output priority -100",
        "filter-input": "filter hook input priority filter",
        "filter-forward": "filter hook forward priority filter",
        "filter-output": "filter hook output priority filter",
        "nat-postrouting": "nat hook postrouting priority srcnat",
    } == {
        block.name: declared.removeprefix("\ttype ").removesuffix("; policy accept;")
        for block, body in blocks.items()
        for declared in body.text.splitlines()
        if " hook " in declared
    }


def test_address_that_two_services_guard_is_guarded_by_the_one_that_serves_or_the_first_by_name() -> None:
    store = Store()
    for number, name in enumerate("ab"):
        service = a_service(
            name,
            type=ServiceType.LOAD_BALANCER,
            cluster_ips=(Address(f"10.96.0.{number}"),),
            load_balancer_vips=(Address("192.0.2.10"),),
            source_ranges=(Network("198.51.100.0/24"),),
        )
        store.apply(Changed(service))
    circumstances = Circumstances(a_view(), SETTINGS)
    table = DesiredTable(RENDER, circumstances)

    def guards() -> list[Verdict | Target | None]:
        table.update(store, store.take_dirty(), circumstances)
        return [each.value for each in table.elements() if each.holder == "firewall-ips"]

    assert [a_value("goto firewall/default/a/tcp/")] == guards()
    store.apply(Changed(a_slice(an_endpoint("10.128.1.5"), service="b")))
    assert [a_value("goto firewall/default/b/tcp/")] == guards()


SHARED = Address("192.0.2.10")
CLAIMANTS = {
    "elsewhere": a_plan(
        a_service(
            "elsewhere",
            type=ServiceType.LOAD_BALANCER,
            load_balancer_vips=(SHARED,),
            source_ranges=(Network("203.0.113.0/24"),),
            external_policy_local=True,
        ),
        an_endpoint("10.128.2.6", "node-2"),
    ),
    "empty": a_plan(a_service("empty", external_ips=(SHARED,))),
    "one": a_plan(a_service("one", external_ips=(SHARED,)), an_endpoint("10.128.2.1")),
    "two": a_plan(a_service("two", external_ips=(SHARED,)), *map(an_endpoint, ("10.128.2.2", "10.128.2.3"))),
}


@pytest.mark.parametrize("order", list(permutations(CLAIMANTS)), ids=" ".join)
def test_address_belongs_to_the_claim_that_serves_most_and_is_first_by_name_in_whatever_order_they_came(
    order: tuple[str, ...],
) -> None:
    table = DesiredTable(RENDER, Circumstances(a_view(), SETTINGS))
    for name in order:
        table.place(NamespacedName("default", name), (CLAIMANTS[name],))
    guard = "goto firewall/default/elsewhere/tcp/"
    for best, expected in (
        ("one", {"goto external-1", guard}),
        ("two", {"goto external-2", guard}),
        ("elsewhere", {"goto external-1-local-0", "drop", guard}),
        ("empty", {"goto refuse"}),
    ):
        found = {each.value for each in table.elements() if each.key == a_key(f"{SHARED} . tcp . 80")}
        assert {*map(a_value, expected)} == found
        table.place(NamespacedName("default", best), ())
    assert [] == [each for each in table.elements() if each.holder != "nodeport-ips"]


@pytest.mark.parametrize("addresses", [(), ("primary",), ("127.0.0.0/8",), ("10.199.0.0/24",)])
def test_filter_chains_mind_new_connections_alone(addresses: tuple[str, ...]) -> None:
    """What was let through once goes on, whatever became of the address since."""
    settings = replace(
        SETTINGS,
        node_port_primary=addresses == ("primary",),
        node_port_networks=() if addresses == ("primary",) else tuple(map(Network, addresses)),
    )
    view = a_view(
        node_port_primary=settings.node_port_primary, node_port_networks=settings.node_port_networks
    )
    blocks = DesiredTable(RENDER, Circumstances(view, settings)).blocks
    rules = [
        rule
        for _, text, *_ in blocks.values()
        if "type filter hook" in text
        for rule in text.splitlines()[1:]
    ]
    assert 8 == len(rules)
    assert all(rule.startswith("\tct state new ") for rule in rules)


@pytest.mark.parametrize(
    ("mode", "name"),
    [(DetectLocalMode.INTERFACE_NAME_PREFIX, "cni*"), (DetectLocalMode.BRIDGE_INTERFACE, "cni0")],
)
def test_interfaces_of_pods_are_named_as_nft_names_them(mode: DetectLocalMode, name: str) -> None:
    chosen: dict[str, Any] = {
        "detect_local_mode": mode,
        "bridge_interface": "cni0",
        "interface_name_prefix": "cni",
    }
    circumstances = Circumstances(a_view(**chosen), replace(SETTINGS, **chosen))
    store = Store()
    store.apply(Changed(a_service()))
    store.apply(Changed(a_slice(an_endpoint("10.128.1.5"))))
    table = DesiredTable(RENDER, circumstances)
    table.update(store, [WEB], circumstances)
    assert f'iifname != "{name}" meta mark set' in table.blocks[Block("chain", "internal-1")].text


def test_changes_come_in_the_order_of_names_whatever_the_order_of_events() -> None:
    names = [f"web-{number:02}" for number in range(50)]
    store = Store()
    for number, name in enumerate(names):
        service = a_service(name, cluster_ips=(Address(f"10.96.0.{number}"),))
        store.apply(Changed(service))
        store.apply(Changed(a_slice(an_endpoint("10.128.1.5"), name=f"{name}-a", service=name)))
    circumstances = Circumstances(a_view(), SETTINGS)
    delta = TableDelta()
    table = DesiredTable(RENDER, circumstances, delta.desired)
    table.update(store, {*store.services}, circumstances)
    added = [each.key.address for each in delta.difference().added if each.holder == "service-ips"]
    assert [f"10.96.0.{number}" for number in range(50)] == added


@pytest.mark.parametrize("text", ["lost\n", "chain a {\n\tdrop\n", "chain a {\ndrop\n}\n"])
def test_template_that_writes_no_blocks_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_blocks(text)


@pytest.mark.parametrize("broken", ["nftables/node.j2", "nftables/way.j2"])
def test_what_could_not_be_rendered_is_tried_again(broken: str) -> None:
    fails = {broken}

    def render(name: str, values: dict[str, Any]) -> str:
        if name in fails:
            raise InputError(f"{name} is broken")
        return RENDER(name, values)

    store = Store()
    store.apply(Changed(a_service()))
    store.apply(Changed(a_slice(an_endpoint("10.128.1.5"))))
    old = Circumstances(a_view(cluster_cidrs=()), SETTINGS)
    new = Circumstances(a_view(), SETTINGS)
    fails.clear()
    table = DesiredTable(render, old)
    table.update(store, [WEB], old)
    fails.add(broken)
    with pytest.raises(InputError):
        table.update(store, [], new)
    fails.clear()
    table.update(store, [], new)
    afresh = DesiredTable(RENDER, new)
    afresh.update(store, [WEB], new)
    assert afresh.blocks == table.blocks
    assert "saddr !=" in table.blocks[Block("chain", "internal-1")].text
