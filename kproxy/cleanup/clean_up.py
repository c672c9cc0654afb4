"""Takes away all that kproxy and kube-proxy put into this node's kernel, and nothing of others."""

import logging
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial

from kproxy.cleanup.iptables_chains import GUARD, remove_chains
from kproxy.errors import EnvironmentLacking, KproxyError
from kproxy.kernel.netlink.chains import delete_table
from kproxy.kernel.netlink.ipvs import INTERFACE, count_servers, remove_interface
from kproxy.kernel.node import sysctl
from kproxy.kernel.programs.iptables import Iptables, Variant
from kproxy.ruleset.nftables.table import TABLE
from kproxy.transaction.nftables.endpoint_chains import REFERENCE_TABLE
from kproxy.values import Family

_log = logging.getLogger(__name__)

_KUBE_PROXYS_TABLE = "kube-proxy"
_NFT_TABLES = (_KUBE_PROXYS_TABLE, TABLE, REFERENCE_TABLE)


_AGENT_PORTS = (10249, 10256)
"""Where an agent, kproxy's or kube-proxy's, answers by default: the metrics and the health server."""


def clean_up() -> None:
    """Remove the rules of every mode, variant and family.

    EnvironmentLacking if a program is missing that some rules need, KproxyError if something else had to stay.
    """
    if _agent_runs():
        _log.warning(
            "an agent seems to run here (something answers on 127.0.0.1:10249 or :10256): "
            "it writes its rules again unless it is stopped first"
        )
    removed, failures = _all_done(_parts())
    for name, failure in failures:
        _log.error("%s: not all rules could be removed: %s", name, failure)
    _tell_of_servers()
    _tell_what_stays()
    lacking = [f"{name}: {failure}" for name, failure in failures if isinstance(failure, EnvironmentLacking)]
    if lacking:
        raise EnvironmentLacking(
            f"some rules are still there: {'; '.join(lacking)}; mend that, and run this again"
        )
    if failures:
        raise KproxyError("some rules are still there, see above; solve that and run this again")
    if not removed:
        _log.info("nothing of kproxy or kube-proxy was there to be removed")


def end_iptables_mode(family: Family) -> None:
    """Remove iptables mode's rules in both variants, kube-proxy's nftables rules, and the interface of mode ipvs."""
    _end(
        *((Iptables(variant, family).program, _by_iptables(variant, family)) for variant in Variant),
        (f"nftables, {family}", partial(_clean_nft, family, _KUBE_PROXYS_TABLE)),
        (INTERFACE, _remove_interface),
    )


def end_other_variant_and_nftables_mode(variant: Variant, family: Family) -> None:
    """Remove the rules of iptables mode in the variant that is not this one, and what `end_nftables_mode` removes."""
    (other,) = (each for each in Variant if each is not variant)
    _end((Iptables(other, family).program, _by_iptables(other, family)), *_of_nftables_mode(family))


def end_nftables_mode(family: Family) -> None:
    """Remove the rules of nftables mode, kube-proxy's and ours, and the interface of mode ipvs."""
    _end(*_of_nftables_mode(family))


_Part = tuple[str, Callable[[], bool]]
"""A name for messages, and a function that tells whether it removed anything."""


def _of_nftables_mode(family: Family) -> Sequence[_Part]:
    return (
        (f"nftables, {family}", partial(_clean_nft, family, *_NFT_TABLES)),
        (INTERFACE, _remove_interface),
    )


def _parts() -> Iterator[_Part]:
    for family in Family:
        for variant in Variant:
            yield Iptables(variant, family).program, _by_iptables(variant, family)
        yield f"nftables, {family}", partial(_clean_nft, family, *_NFT_TABLES)
    yield INTERFACE, _remove_interface


def _by_iptables(variant: Variant, family: Family) -> Callable[[], bool]:
    return partial(remove_chains, Iptables(variant, family))


def _end(*parts: _Part) -> None:
    _, failures = _all_done(parts)
    if failures:
        raise KproxyError("; ".join(f"{name}: {failure}" for name, failure in failures))
    _tell_of_servers()


def _all_done(parts: Iterable[_Part]) -> tuple[bool, list[tuple[str, KproxyError]]]:
    """Whether anything was removed, and why parts of it stay; one part that fails does not hinder the others."""
    removed = False
    failures: list[tuple[str, KproxyError]] = []
    for name, clean in parts:
        try:
            removed |= clean()
        except KproxyError as failed:
            failures.append((name, failed))
    return removed, failures


def _clean_nft(family: Family, *tables: str) -> bool:
    """By netlink alone: a table of somebody else may keep `nft` from working.

    Where there is none, nothing is committed.
    """
    deleted = [table for table in tables if delete_table(family, table)]
    for table in deleted:
        _log.info("nftables, %s: removed table %s", family, table)
    return bool(deleted)


def _remove_interface() -> bool:
    if not remove_interface():
        return False
    _log.info("removed %s, the interface of kube-proxy's mode ipvs", INTERFACE)
    return True


def _tell_of_servers() -> None:
    if servers := count_servers():
        _log.warning(
            "IPVS has %d virtual servers, of kube-proxy or of others, which stay: "
            "if no other program uses IPVS, remove them by ipvsadm --clear",
            servers,
        )


def _tell_what_stays() -> None:
    guarded = [program for variant in Variant for family in Family if (program := _guarding(variant, family))]
    if guarded:
        _log.info(
            "%s stays in filter (%s): the kubelet uses it too, and it keeps strangers from 127.0.0.1 while "
            "net.ipv4.conf.all.route_localnet is 1; a restart of the node removes it",
            GUARD,
            ", ".join(guarded),
        )
    if sysctl.read(sysctl.ROUTE_LOCALNET) == "1":
        _log.info(
            "net.ipv4.conf.all.route_localnet stays 1, for other programs may need it; "
            "if none does: sysctl -w net.ipv4.conf.all.route_localnet=0"
        )


def _guarding(variant: Variant, family: Family) -> str:
    """The name of the program whose table still has the guard; empty if none, or if that cannot be told."""
    iptables = Iptables(variant, family)
    with suppress(KproxyError):
        if GUARD in iptables.chain_names("filter"):
            return iptables.program
    return ""


def _agent_runs() -> bool:
    for port in _AGENT_PORTS:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    return False
