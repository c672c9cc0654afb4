"""Fields that have an effect in kube-proxy, and none in kproxy."""

from collections.abc import Iterator

from kproxy.configuration.encode import encode_configuration, value_at
from kproxy.configuration.schema import Configuration, Mode
from kproxy.configuration.units import NodePortAddress
from kproxy.values import Address, is_loopback

_IDLE = {
    "configSyncPeriod": "its watches need no regular refresh",
    "enableProfiling": "it has no profiling pages",
}


def idle_fields(configuration: Configuration) -> Iterator[tuple[str, str]]:
    """Each field that differs from its default and has no effect, with the reason."""
    if configuration.mode is Mode.NFTABLES:
        for at, chosen in enumerate(configuration.node_port_addresses):
            if _is_localhost(chosen):
                yield f"nodePortAddresses[{at}]", "node ports never answer on localhost in mode nftables"
    document, default = encode_configuration(configuration), encode_configuration(Configuration())
    for field, reason in _IDLE.items():
        if value_at(document, field) != value_at(default, field):
            yield field, reason


def _is_localhost(chosen: NodePortAddress) -> bool:
    return any(is_loopback(Address(network.partition("/")[0])) for network in chosen.networks)
