"""The chains of a family as Services are withdrawn, admitted, kept, or cannot be computed."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facts import CLUSTER_CIDRS, a_service, a_slice, a_view, an_endpoint
from kproxy.errors import InputError
from kproxy.model.settings import Settings
from kproxy.render.templates import rule_templates
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.inputs import Circumstances
from kproxy.ruleset.iptables.desired import LARGE_CLUSTER_ENDPOINTS, DesiredRuleset
from kproxy.ruleset.layout import FLAT, TREE, Layout
from kproxy.state.events import Changed, Deleted
from kproxy.state.objects import Kind, ServicePort
from kproxy.state.store import Store
from kproxy.values import Address, NamespacedName, Protocol

RENDER = rule_templates()
NAMES = [f"s{number}" for number in range(6)]

Ports = dict[str, int]
"""The port of each Service that is there; it has no endpoints where the port is odd."""


def circumstances(layout: Layout = FLAT, *, masquerade_all: bool = False) -> Circumstances:
    return Circumstances(
        a_view(), Settings(cluster_cidrs=CLUSTER_CIDRS, masquerade_all=masquerade_all), layout
    )


def key(name: str) -> NamespacedName:
    return NamespacedName("default", name)


def put(store: Store, ports: Ports) -> None:
    """Let these be the Services."""
    for name in NAMES:
        if name not in ports:
            store.apply(Deleted(Kind.SERVICE, key(name)))
            store.apply(Deleted(Kind.ENDPOINT_SLICE, key(f"{name}-a")))
            continue
        port = ports[name]
        address = Address(f"10.96.0.{10 + NAMES.index(name)}")
        store.apply(
            Changed(a_service(name, cluster_ips=(address,), ports=(ServicePort("", Protocol.TCP, port),)))
        )
        endpoints = [] if port % 2 else [an_endpoint(f"10.128.1.{port}")]
        store.apply(Changed(a_slice(*endpoints, name=f"{name}-a", service=name)))


def afresh(ports: Ports, circumstances: Circumstances) -> dict[Chain, str]:
    store, ruleset = Store(), DesiredRuleset(RENDER)
    put(store, ports)
    ruleset.update(store, store.services, circumstances)
    return ruleset.chains


some_ports = st.dictionaries(st.sampled_from(NAMES), st.integers(80, 90))
some_keys = st.sets(st.sampled_from(NAMES)).map(lambda names: {key(name) for name in names})
layouts = st.sampled_from([FLAT, TREE])


@given(before=some_ports, after=some_ports, keys=some_keys, layout=layouts, masquerade_all=st.booleans())
def test_withdrawn_services_are_what_they_were_and_admitted_ones_what_they_became(
    before: Ports, after: Ports, keys: set[NamespacedName], layout: Layout, masquerade_all: bool
) -> None:
    now = circumstances(layout)
    store, ruleset = Store(), DesiredRuleset(RENDER)
    put(store, before)
    ruleset.update(store, store.take_dirty(), now)
    ruleset.settle(ruleset.changed)
    put(store, after)
    ruleset.update(store, store.take_dirty(), now)
    changed = ruleset.changed
    assert [key(name) for name in NAMES if before.get(name) != after.get(name)] == changed
    seen = {**ruleset.chains}
    touched = ruleset.withdraw(keys)
    mixed = {name: before[name] for name in before if key(name) in keys}
    mixed |= {name: after[name] for name in after if key(name) not in keys}
    assert afresh(mixed, now) == ruleset.chains
    assert {
        each for each in seen.keys() | ruleset.chains if seen.get(each) != ruleset.chains.get(each)
    } <= touched
    assert len(mixed) == ruleset.service_ports
    ruleset.withdraw(changed)
    assert afresh(before, now) == ruleset.chains
    ruleset.admit(changed)
    assert afresh(after, now) == ruleset.chains
    ruleset.withdraw(keys)
    ruleset.settle(changed)
    assert [] == ruleset.changed
    ruleset.admit(changed)
    assert afresh(mixed, now) == ruleset.chains


@given(before=some_ports, after=some_ports, kept=some_keys, layout=layouts)
def test_services_that_are_kept_stay_what_they_were_also_where_the_circumstances_change(
    before: Ports, after: Ports, kept: set[NamespacedName], layout: Layout
) -> None:
    store, ruleset = Store(), DesiredRuleset(RENDER)
    put(store, before)
    ruleset.update(store, store.take_dirty(), circumstances(layout))
    ruleset.settle(ruleset.changed)
    own = {each: rules for each, rules in ruleset.chains.items() if "SVC" in each.name}
    put(store, after)
    newest = circumstances(layout, masquerade_all=True)
    for _ in ruleset.update_in_parts(store, store.take_dirty(), newest, kept):
        pass
    others = {name: port for name, port in after.items() if key(name) not in kept}
    mixed = others | {name: port for name, port in before.items() if key(name) in kept}
    wanted = afresh(mixed, newest)
    for each in afresh({name: port for name, port in mixed.items() if name not in others}, newest):
        if each in own:
            wanted[each] = own[each]
    assert wanted == ruleset.chains
    ruleset.update(store, kept, newest)
    assert afresh(after, newest) == ruleset.chains
    ruleset.withdraw(ruleset.changed)
    assert afresh(before, newest).keys() == ruleset.chains.keys()


def failing(names: Iterable[str], failure: Exception) -> tuple[DesiredRuleset, set[str]]:
    ill = {*names}

    def render(template: str, values: dict[str, object]) -> str:
        if any(f"default/{name}" == str(values.get("name")) for name in ill):
            raise failure
        return RENDER(template, values)

    return DesiredRuleset(render), ill


@pytest.mark.parametrize("failure", [InputError("no"), ZeroDivisionError("no"), RecursionError()])
def test_service_that_cannot_be_computed_keeps_what_it_had_and_is_told_once(failure: Exception) -> None:
    store, (ruleset, ill) = Store(), failing((), failure)
    put(store, {"s0": 80, "s1": 80})
    ruleset.update(store, store.take_dirty(), circumstances())
    ill.add("s0")
    put(store, {"s0": 82, "s1": 82, "s2": 80})
    ruleset.update(store, store.take_dirty(), circumstances())
    assert {key("s0"): failure} == ruleset.take_not_computed()
    assert {} == ruleset.take_not_computed()
    assert afresh({"s0": 80, "s1": 82, "s2": 80}, circumstances()) == ruleset.chains
    ill.clear()
    ruleset.update(store, {key("s0")}, circumstances())
    assert afresh({"s0": 82, "s1": 82, "s2": 80}, circumstances()) == ruleset.chains


def test_shortage_of_memory_is_no_fault_of_a_service() -> None:
    store, (ruleset, ill) = Store(), failing(["s0"], MemoryError())
    put(store, {"s0": 80, "s1": 80})
    with pytest.raises(MemoryError):
        ruleset.update(store, store.take_dirty(), circumstances())
    ill.clear()
    ruleset.update(store, (), circumstances())
    assert afresh({"s0": 80, "s1": 80}, circumstances()) == ruleset.chains


def test_update_that_is_broken_off_forgets_nothing_of_what_was() -> None:
    store, ruleset = Store(), DesiredRuleset(RENDER)
    put(store, dict.fromkeys(NAMES, 80))
    ruleset.update(store, store.take_dirty(), circumstances())
    ruleset.settle(ruleset.changed)
    put(store, dict.fromkeys(NAMES, 82))
    newest = circumstances(masquerade_all=True)
    for parts in (0, 1, 2):
        updates = ruleset.update_in_parts(store, store.take_dirty(), newest)
        for _ in range(parts):
            next(updates)
        del updates
    ruleset.update(store, (), newest)
    assert afresh(dict.fromkeys(NAMES, 82), newest) == ruleset.chains
    ruleset.withdraw(ruleset.changed)
    assert afresh(dict.fromkeys(NAMES, 80), circumstances()).keys() == ruleset.chains.keys()
    assert ("10.128.1.80:8080" in str(ruleset.chains), "10.128.1.82" in str(ruleset.chains)) == (True, False)


def test_kept_service_keeps_its_comments_though_others_lose_theirs() -> None:
    store, ruleset = Store(), DesiredRuleset(RENDER)
    put(store, {"s0": 80, "s1": 80})
    ruleset.update(store, store.take_dirty(), circumstances())
    before = {**ruleset.chains}
    many = [an_endpoint(f"10.129.{number >> 8}.{number & 255}") for number in range(LARGE_CLUSTER_ENDPOINTS)]
    store.apply(Changed(a_slice(*many, name="s1-a", service="s1")))
    for _ in ruleset.update_in_parts(store, store.take_dirty(), circumstances(), {key("s0")}):
        pass
    kept = [
        each
        for each, rules in before.items()
        if each.table == "nat" and "default/s0" in rules and "SERVICES" not in each.name
    ]
    assert len(kept) == 2
    assert {each: before[each] for each in kept} == {each: ruleset.chains[each] for each in kept}


@pytest.mark.parametrize("layout", [FLAT, TREE])
def test_owner_of_a_line_is_the_changed_service_whose_rule_it_is(layout: Layout) -> None:
    store, ruleset = Store(), DesiredRuleset(RENDER)
    put(store, {"s0": 80, "s1": 80, "s2": 81})
    ruleset.update(store, store.take_dirty(), circumstances(layout))
    for name in ("s0", "s1", "s2"):
        lines = [
            line
            for rules in ruleset.chains.values()
            for line in rules.splitlines()
            if f"default/{name}" in line
        ]
        assert lines
        assert {key(name)} == {ruleset.owner(line) for line in lines}
    declared = [each for each in ruleset.chains if each.name.startswith("KUBE-SVC-")]
    assert {key("s0"), key("s1")} == {ruleset.owner(f":{each.name} - [0:0]") for each in declared}
    assert ruleset.owner("-I KUBE-SERVICES 1 -j RETURN") is None
    assert ruleset.owner("-A KUBE-SERVICES") is None
    assert ruleset.owner("COMMIT") is None
    ruleset.settle(ruleset.changed)
    assert ruleset.owner(f":{declared[0].name} - [0:0]") is None


@pytest.mark.parametrize(
    "line",
    [
        "-A KUBE-NODEPORTS -p tcp -m tcp --dport 99999999 -j RETURN",
        "-A KUBE-SERVICES -d 999.1.2.3/32 -j RETURN",
        "-A KUBE-SERVICES -d fd00::1/128 -j RETURN",
        "-A KUBE-SERVICES",
    ],
)
@pytest.mark.parametrize("layout", [FLAT, TREE])
def test_rule_that_asks_for_what_cannot_be_stays_in_the_root_of_the_dispatch(
    line: str, layout: Layout
) -> None:
    store = Store()
    put(store, dict.fromkeys(NAMES, 80))
    ruleset = DesiredRuleset(
        lambda template, values: (
            RENDER(template, values) + (f"*nat\n{line}\n" if "service-port" in template else "")
        )
    )
    ruleset.update(store, store.take_dirty(), circumstances(layout))
    assert {} == ruleset.take_not_computed()
    ruleset.withdraw(ruleset.changed)
    assert afresh({}, circumstances(layout)) == ruleset.chains


@pytest.mark.parametrize("chain", ["KUBE-MARK-MASQ", "KUBE-POSTROUTING", "FORWARD", "DOCKER", "CNI-HOSTPORT"])
def test_service_may_write_neither_chains_of_the_node_nor_of_others(chain: str) -> None:
    store = Store()
    put(store, {"s0": 80, "s1": 80})
    ruleset = DesiredRuleset(
        lambda template, values: (
            RENDER(template, values)
            + (f"*nat\n-A {chain} -j RETURN\n" if str(values.get("name")) == "default/s0" else "")
        )
    )
    ruleset.update(store, store.take_dirty(), circumstances())
    assert [key("s0")] == [*ruleset.take_not_computed()]
    assert afresh({"s1": 80}, circumstances()) == ruleset.chains
