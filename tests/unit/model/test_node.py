"""Local detectors and node port addresses: one row a configuration."""

from typing import Any

import pytest

from facts import a_node, a_view
from kproxy.model.node import LocalDetector, NodePortDispatch
from kproxy.model.settings import DetectLocalMode
from kproxy.values import Address, Family, Network

V4, V6 = Family.IPV4, Family.IPV6


@pytest.mark.parametrize(
    ("family", "settings", "expected"),
    [
        (V4, {}, LocalDetector(source=Network("10.128.0.0/9"))),
        (V6, {}, LocalDetector(source=Network("fd00:10:128::/48"))),
        (V4, {"cluster_cidrs": ()}, LocalDetector()),
        (V6, {"cluster_cidrs": (Network("10.128.0.0/9"),)}, LocalDetector()),
        (
            V4,
            {"detect_local_mode": DetectLocalMode.NODE_CIDR},
            LocalDetector(source=Network("10.128.1.0/24")),
        ),
        (
            V6,
            {"detect_local_mode": DetectLocalMode.NODE_CIDR},
            LocalDetector(source=Network("fd00:10:128:1::/64")),
        ),
        (
            V4,
            {"detect_local_mode": DetectLocalMode.BRIDGE_INTERFACE, "bridge_interface": "cni0"},
            LocalDetector(interface="cni0"),
        ),
        (
            V6,
            {"detect_local_mode": DetectLocalMode.INTERFACE_NAME_PREFIX, "interface_name_prefix": "cali"},
            LocalDetector(interface="cali+"),
        ),
    ],
)
def test_local_detector_follows_its_mode(
    family: Family, settings: dict[str, Any], expected: LocalDetector
) -> None:
    assert expected == a_view(family, **settings).local


def test_node_cidr_mode_without_a_pod_cidr_detects_nothing() -> None:
    view = a_view(node=a_node(pod_cidrs=()), detect_local_mode=DetectLocalMode.NODE_CIDR)
    assert LocalDetector() == view.local


def everywhere(but: str | None, *, on_localhost: bool) -> NodePortDispatch:
    return NodePortDispatch(True, Network(but) if but else None, (), on_localhost)


def just(*addresses: str, on_localhost: bool = False) -> NodePortDispatch:
    return NodePortDispatch(False, None, tuple(map(Address, addresses)), on_localhost)


def networks(*texts: str) -> dict[str, Any]:
    return {"node_port_networks": tuple(map(Network, texts))}


@pytest.mark.parametrize(
    ("family", "settings", "expected"),
    [
        pytest.param(V4, {}, everywhere(None, on_localhost=True), id="default"),
        pytest.param(V6, {}, everywhere("::1/128", on_localhost=False), id="default v6: never ::1"),
        pytest.param(
            V4,
            {"localhost_node_ports": False},
            everywhere("127.0.0.0/8", on_localhost=False),
            id="not localhost",
        ),
        pytest.param(V4, networks("10.199.0.0/24"), just("10.199.0.2"), id="cidr"),
        pytest.param(
            V6, networks("10.199.0.0/24"), everywhere("::1/128", on_localhost=False), id="cidr of the other"
        ),
        pytest.param(V4, networks("0.0.0.0/0"), everywhere(None, on_localhost=True), id="the whole space"),
        pytest.param(
            V4,
            networks("127.0.0.0/8", "10.199.0.0/24"),
            just("127.0.0.1", "10.199.0.2", on_localhost=True),
            id="loopback",
        ),
        pytest.param(
            V4,
            {**networks("127.0.0.0/8", "10.199.0.0/24"), "localhost_node_ports": False},
            just("10.199.0.2"),
            id="loopback asked for but switched off",
        ),
        pytest.param(
            V4, networks("127.0.0.1/32"), just("127.0.0.1", on_localhost=True), id="one loopback address"
        ),
        pytest.param(
            V4,
            networks("126.0.0.0/7"),
            just("127.0.0.1", on_localhost=True),
            id="loopback inside a larger one",
        ),
        pytest.param(V6, networks("::1/128", "fd00:199::/64"), just("fd00:199::2"), id="v6 loopback never"),
        pytest.param(V4, networks("192.0.2.0/24"), just(), id="no address there"),
        pytest.param(V4, {"node_port_primary": True}, just("10.199.0.2"), id="primary"),
        pytest.param(V6, {"node_port_primary": True}, just("fd00:199::2"), id="primary v6"),
        pytest.param(
            V4,
            {**networks("127.0.0.0/8", "::1/128"), "node_port_primary": True},
            just("10.199.0.2", "127.0.0.1", on_localhost=True),
            id="primary and localhost",
        ),
        pytest.param(
            V6,
            {**networks("127.0.0.0/8", "::1/128"), "node_port_primary": True},
            just("fd00:199::2"),
            id="primary and localhost v6",
        ),
        pytest.param(
            V6,
            {**networks("10.0.0.0/8"), "node_port_primary": True},
            just("fd00:199::2"),
            id="primary and a cidr of the other",
        ),
        pytest.param(
            V4,
            {**networks("10.199.0.0/24"), "node_port_primary": True},
            just("10.199.0.2"),
            id="primary and a cidr that has it",
        ),
        pytest.param(
            V4,
            {**networks("0.0.0.0/0", "::/0"), "node_port_primary": True},
            everywhere(None, on_localhost=True),
            id="primary and all",
        ),
    ],
)
def test_node_ports_answer_where_the_settings_say(
    family: Family, settings: dict[str, Any], expected: NodePortDispatch
) -> None:
    assert expected == a_view(family, **settings).node_ports


def test_primary_without_an_address_of_the_family_opens_no_node_port() -> None:
    view = a_view(V6, node=a_node(addresses=(Address("10.199.0.2"),)), node_port_primary=True)
    assert just() == view.node_ports


def test_configured_address_is_the_primary_one_of_its_family() -> None:
    chosen = Address("10.199.0.9")
    assert chosen == a_view(V4, node_address=chosen).address
    assert Address("fd00:199::2") == a_view(V6, node_address=chosen).address
