"""Removes all that kproxy and kube-proxy put into this node's kernel, and nothing of others."""

import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from kproxy.cleanup.leftovers import tell_of_localhost, tell_of_servers
from kproxy.cleanup.parts import Part, all_parts, interface_part, iptables_part, nftables_part
from kproxy.errors import EnvironmentLacking, KproxyError
from kproxy.kernel.programs.iptables import Variant
from kproxy.ruleset.nftables.ownership import KUBE_PROXYS_TABLE
from kproxy.values import Family

_log = logging.getLogger(__name__)

_AGENT_PORTS = (10249, 10256)
"""The ports on which an agent, kproxy's or kube-proxy's, answers by default: its metrics and its health server."""

_Failures = list[tuple[str, KproxyError]]
"""The name of each part that failed, and the reason."""


def clean_up() -> None:
    """Remove the rules of every mode, variant and family.

    EnvironmentLacking if a program is missing that some rules need, KproxyError if something else had to stay.
    """
    if _agent_runs():
        _log.warning(
            "an agent seems to run here (something answers on 127.0.0.1:10249 or :10256): "
            "it writes its rules again unless it is stopped first"
        )
    removed, failures = _remove(all_parts())
    for name, failure in failures:
        _log.error("%s: not all rules could be removed: %s", name, failure)
    tell_of_servers()
    tell_of_localhost()
    _raise_of(failures, "some rules are still there")
    if not removed:
        _log.info("nothing of kproxy or kube-proxy was there to be removed")


def show_removals(write: Callable[[str], object]) -> None:
    """Hand to `write` what `clean_up` would remove, part by part; nothing is changed.

    A part without rules to remove is passed over. Raises as `clean_up` would for rules that it cannot remove.
    """
    failures: _Failures = []
    is_empty = True
    for part in all_parts():
        try:
            transaction = part.find().transaction
        except KproxyError as failed:
            failures.append((part.name, failed))
            continue
        if transaction:
            is_empty = False
            write(f"# {part.name}\n{transaction}")
    for name, failure in failures:
        _log.error("%s: not all rules could be removed: %s", name, failure)
    tell_of_servers()
    _raise_of(failures, "some rules cannot be removed")
    if is_empty:
        _log.info("nothing of kproxy or kube-proxy is there to be removed")


def end_iptables_mode(family: Family) -> None:
    """Remove iptables mode's rules in both variants, kube-proxy's nftables rules, and the interface of mode ipvs."""
    _end(
        *(iptables_part(variant, family) for variant in Variant),
        nftables_part(family, (KUBE_PROXYS_TABLE,)),
        interface_part(),
    )


def end_other_variant_and_nftables_mode(variant: Variant, family: Family) -> None:
    """Remove the rules of iptables mode in the variant that is not this one, and what `end_nftables_mode` removes."""
    (other,) = (each for each in Variant if each is not variant)
    _end(iptables_part(other, family), *_of_nftables_mode(family))


def end_nftables_mode(family: Family) -> None:
    """Remove the rules of nftables mode, kube-proxy's and ours, and the interface of mode ipvs."""
    _end(*_of_nftables_mode(family))


def _of_nftables_mode(family: Family) -> Sequence[Part]:
    return nftables_part(family), interface_part()


def _end(*parts: Part) -> None:
    _, failures = _remove(parts)
    if failures:
        raise KproxyError("; ".join(f"{name}: {failure}" for name, failure in failures))
    tell_of_servers()


def _remove(parts: Iterable[Part]) -> tuple[bool, _Failures]:
    """Whether anything was removed, and why parts of it stay; one part that fails does not hinder the others."""
    removed = False
    failures: _Failures = []
    for part in parts:
        try:
            removed |= part.find().apply()
        except KproxyError as failed:
            failures.append((part.name, failed))
    return removed, failures


def _raise_of(failures: _Failures, consequence: str) -> None:
    lacking = [f"{name}: {failure}" for name, failure in failures if isinstance(failure, EnvironmentLacking)]
    if lacking:
        raise EnvironmentLacking(f"{consequence}: {'; '.join(lacking)}; mend that, and run this again")
    if failures:
        raise KproxyError(f"{consequence}, see above; solve that and run this again")


def _agent_runs() -> bool:
    for port in _AGENT_PORTS:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    return False
