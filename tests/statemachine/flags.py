"""The agent's configuration as a value: flags on its command line, and settings for who judges it."""

from collections.abc import Iterator
from dataclasses import dataclass

from kproxy.configuration.flags import decode_flags
from kproxy.configuration.rules import rule_settings
from kproxy.kernel.netlink.accounting import have_counters
from kproxy.kernel.node import sysctl
from kproxy.model.settings import DetectLocalMode, Settings
from kproxy.ruleset.layout import FLAT, Layout

SYNC_PERIOD_S = 1.0
BOTH_CIDRS = "10.128.0.0/9,fd00:10:128::/48"
LAYOUTS = {
    "flat": FLAT,
    "tree": Layout(root_rules=1, chain_rules=2, most_backends=2),
    "auto": Layout(4, 2, 2),
}
"""The agent's layouts in these tests: so small that the smallest cluster has trees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    cluster_cidr: str = BOTH_CIDRS
    dispatch: str = "flat"
    masquerade_all: bool = False
    masquerade_bit: int = 14
    detect_local_mode: DetectLocalMode = DetectLocalMode.CLUSTER_CIDR
    localhost_node_ports: bool = True
    node_port_addresses: tuple[str, ...] = ()

    def arguments(self) -> Iterator[str]:
        for name, value in self._values().items():
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            yield f"--{name}={text.lower() if isinstance(value, bool) else text}"
        yield f"--dispatch={self.dispatch}"
        yield f"--iptables-sync-period={SYNC_PERIOD_S * 1000:.0f}ms"
        yield "--iptables-min-sync-period=20ms"

    @property
    def layout(self) -> Layout:
        return LAYOUTS[self.dispatch]

    def settings(self, *, nftables: bool = False) -> Settings:
        """The settings that these flags give in this thread's network namespace, once an agent has run there."""
        values = {
            name: list(value) if isinstance(value, tuple) else value for name, value in self._values().items()
        }
        if nftables:
            values["proxy-mode"] = "nftables"
        liberal = sysctl.read(sysctl.CONNTRACK_TCP_BE_LIBERAL) == "1"
        return rule_settings(
            decode_flags(values),
            accounting=not nftables and have_counters(),
            conntrack_tcp_be_liberal=liberal,
        )

    def _values(self) -> dict[str, object]:
        chosen: dict[str, object] = {
            "cluster-cidr": self.cluster_cidr,
            "masquerade-all": self.masquerade_all,
            "iptables-masquerade-bit": self.masquerade_bit,
            "detect-local-mode": str(self.detect_local_mode),
            "iptables-localhost-nodeports": self.localhost_node_ports,
        }
        if self.node_port_addresses:
            chosen["nodeport-addresses"] = self.node_port_addresses
        if self.detect_local_mode is DetectLocalMode.BRIDGE_INTERFACE:
            chosen["pod-bridge-interface"] = "cni0"
        if self.detect_local_mode is DetectLocalMode.INTERFACE_NAME_PREFIX:
            chosen["pod-interface-name-prefix"] = "cni"
        return chosen
