"""Logs the things that stay on a cleaned node because others may need them, and how to remove each."""

import logging
from contextlib import suppress

from kproxy.errors import KproxyError
from kproxy.kernel.netlink.ipvs import count_servers
from kproxy.kernel.node import sysctl
from kproxy.kernel.programs.iptables import Iptables, Variant
from kproxy.ruleset.iptables.ownership import GUARD
from kproxy.values import Family

_log = logging.getLogger(__name__)


def tell_of_servers() -> None:
    """Warn of the virtual servers of IPVS: nobody can know whether they are kube-proxy's."""
    if servers := count_servers():
        _log.warning(
            "IPVS has %d virtual servers, of kube-proxy or of others, which stay: "
            "if no other program uses IPVS, remove them by ipvsadm --clear",
            servers,
        )


def tell_of_localhost() -> None:
    """Tell of the guard of 127.0.0.1, and of the setting that makes it necessary."""
    guarded = [program for variant in Variant for family in Family if (program := _guarding(variant, family))]
    if guarded:
        _log.info(
            "%s stays in filter (%s): the kubelet uses it too, and it keeps strangers from 127.0.0.1 while "
            "net.ipv4.conf.all.route_localnet is 1; a restart of the node removes it",
            GUARD.name,
            ", ".join(guarded),
        )
    if sysctl.read(sysctl.ROUTE_LOCALNET) == "1":
        _log.info(
            "net.ipv4.conf.all.route_localnet stays 1, because other programs may need it; "
            "if none does: sysctl -w net.ipv4.conf.all.route_localnet=0"
        )


def _guarding(variant: Variant, family: Family) -> str:
    """The name of the program whose table still has the guard.

    Empty if there is none, or if no program can list the table.
    """
    iptables = Iptables(variant, family)
    with suppress(KproxyError):
        if GUARD.name in iptables.chain_names(GUARD.table):
            return iptables.program
    return ""
