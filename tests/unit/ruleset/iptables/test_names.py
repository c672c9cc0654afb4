"""Chain names equal to kube-proxy's; the expected ones were read from a node that runs it."""

import pytest

from kproxy.ruleset.iptables.names import backend_hash, service_port_hash
from kproxy.values import NamespacedName, Protocol, ServicePortName

KUBERNETES = ServicePortName(NamespacedName("default", "kubernetes"), "https", Protocol.TCP)
WEB = ServicePortName(NamespacedName("default", "web"), "", Protocol.TCP)


@pytest.mark.parametrize(("name", "expected"), [(KUBERNETES, "NPX46M4PTMTKRN6Y"), (WEB, "LOLE4ISW44XBNF3G")])
def test_service_port_hash_is_kube_proxys(name: ServicePortName, expected: str) -> None:
    assert expected == service_port_hash(name)


def test_backend_hash_is_kube_proxys() -> None:
    assert "QVGYDUX5RMG6I5AW" == backend_hash(WEB, "10.128.1.5:8080")


def test_protocols_have_different_chains() -> None:
    udp = WEB._replace(protocol=Protocol.UDP)
    assert service_port_hash(WEB) != service_port_hash(udp)
