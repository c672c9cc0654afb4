"""Where a packet comes from, and which addresses are the host's own."""

import pytest

from kproxy.model.packet import Fate, Host, Packet, Verdict
from kproxy.values import Address, Protocol

NODE = Address("10.199.0.2")


@pytest.mark.parametrize(("interface", "by_a_process"), [("", True), ("eth0", False)])
def test_packet_without_interface_is_from_a_process(interface: str, by_a_process: bool) -> None:
    packet = Packet(Protocol.TCP, NODE, Address("10.96.0.10"), 80, interface)
    assert by_a_process == packet.is_from_a_process


@pytest.mark.parametrize(
    ("address", "own"),
    [("10.199.0.2", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("10.199.0.3", False)],
)
def test_host_owns_its_addresses_and_all_of_loopback(address: str, own: bool) -> None:
    assert own == Host(frozenset({NODE})).owns(Address(address))


def test_fate_is_not_masqueraded_unless_it_says_so() -> None:
    assert not Fate(Verdict.REJECTED).masqueraded
