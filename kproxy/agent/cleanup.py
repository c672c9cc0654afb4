"""Takes away all that kproxy and kube-proxy put into this node's kernel, and nothing of others."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from kproxy.errors import KproxyError, ProgramFailed
from kproxy.kernel import process
from kproxy.kernel.iptables import Backend, Iptables
from kproxy.kernel.nftables import has_table
from kproxy.ruleset.chains import Chain
from kproxy.ruleset.nftables.table import FAMILY_WORD, TABLE
from kproxy.transaction.halving import find_culprits
from kproxy.transaction.nftables import MODEL
from kproxy.transaction.order import parents_first
from kproxy.transaction.plan import is_ours
from kproxy.transaction.transaction import Section
from kproxy.values import Family

_log = logging.getLogger(__name__)

_SHARED = frozenset(
    {
        "KUBE-EXTERNAL-SERVICES",
        "KUBE-FORWARD",
        "KUBE-IPVS-FILTER",
        "KUBE-IPVS-OUT-FILTER",
        "KUBE-LOAD-BALANCER",
        "KUBE-NODE-PORT",
        "KUBE-NODEPORTS",
        "KUBE-POSTROUTING",
        "KUBE-PROXY-CANARY",
        "KUBE-PROXY-FIREWALL",
        "KUBE-SERVICES",
        "KUBE-SOURCE-RANGES-FIREWALL",
    }
)
"""The chains that stand whatever the Services, in iptables mode and in kube-proxy's mode ipvs."""

_MARKING = "KUBE-MARK-MASQ"
"""Ours, but plugins that open host ports may send packets there too."""

_GUARD = "KUBE-FIREWALL"
"""Where the kubelet and we both keep strangers from 127.0.0.1. With rules in it, it stays, as route_localnet does."""

_TABLES = ("filter", "nat", "mangle")
_KUBE_PROXYS_TABLE = "kube-proxy"
_NFT_TABLES = (_KUBE_PROXYS_TABLE, TABLE, MODEL)


def clean_up() -> bool:
    """Remove the rules of every mode, backend and family; False if something had to stay, which is logged."""
    failed = [what for what, clean in _parts() if not _succeeds(what, clean)]
    return not failed


def end_iptables_mode(family: Family) -> None:
    """Remove the rules of iptables mode, in both backends, and kube-proxy's of nftables mode."""
    for backend in Backend:
        iptables = Iptables(backend, family)
        if process.find(iptables.program):
            _clean_iptables(iptables)
    _clean_nft(family, _KUBE_PROXYS_TABLE)


def end_other_backend_and_nftables_mode(backend: Backend, family: Family) -> None:
    """Remove the rules of iptables mode in the backend that is not this one, and the rules of nftables mode."""
    (other,) = (each for each in Backend if each is not backend)
    iptables = Iptables(other, family)
    try:
        if process.find(iptables.program):
            _clean_iptables(iptables)
    finally:
        end_nftables_mode(family)


def end_nftables_mode(family: Family) -> None:
    """Remove the rules of nftables mode, kube-proxy's and ours."""
    if process.find("nft"):
        _clean_nft(family, *_NFT_TABLES)


def _parts() -> Iterator[tuple[str, Callable[[], None]]]:
    for family in Family:
        for backend in Backend:
            iptables = Iptables(backend, family)
            if process.find(iptables.program):
                yield iptables.program, partial(_clean_iptables, iptables)
        if process.find("nft"):
            yield f"nft, {family}", partial(_clean_nft, family, *_NFT_TABLES)


def _succeeds(what: str, clean: Callable[[], None]) -> bool:
    try:
        clean()
    except KproxyError as failed:
        _log.error("%s: not all rules could be removed: %s", what, failed)
        return False
    return True


def _clean_iptables(iptables: Iptables) -> None:
    """KproxyError if rules of others lead to chains of ours, which are then left without a rule; all others are gone."""
    left: list[Chain] = []
    for table in _TABLES:
        chains = [Chain(table, name) for name in iptables.chain_names(table)]
        ours = [chain for chain in chains if _goes(iptables, chain)]
        if ours:
            iptables.delete_jumps(table, {chain.name for chain in ours})
            in_use = _delete(iptables, ours, iptables.backend.section_size(len(chains)))
            _log.info("%s: removed %d chains from %s", iptables.program, len(ours) - len(in_use), table)
            left += in_use
    if _MARKING in iptables.chain_names("nat"):
        _delete_unless_in_use(iptables, Chain("nat", _MARKING))
    if left:
        names = ", ".join(f"{chain.name} in {chain.table}" for chain in left)
        raise KproxyError(
            f"rules of others lead to {names}; left without rules there; remove those rules, and clean up again"
        )


def _delete(iptables: Iptables, chains: Sequence[Chain], size: int | None) -> list[Chain]:
    """The chains of one table that had to stay, without rules, because rules of others lead to them."""
    try:
        iptables.restore(map(str, _deletion(chains, size)))
    except ProgramFailed as failed:
        if not _says_in_use(iptables, failed):
            raise
    else:
        return []
    pieces = list(_deletion(chains, size))
    iptables.restore(str(Section(each.table, dict.fromkeys(each.deleted, ""))) for each in pieces)
    refuses = partial(_refuses_to_delete, iptables)
    return [chain for piece in pieces for chain in find_culprits(piece.deleted, refuses)]


def _refuses_to_delete(iptables: Iptables, chains: Sequence[Chain]) -> bool:
    try:
        iptables.restore([str(Section(chains[0].table, deleted=tuple(chains)))])
    except ProgramFailed as failed:
        if _says_in_use(iptables, failed):
            return True
        raise
    return False


def _says_in_use(iptables: Iptables, failed: ProgramFailed) -> bool:
    """iptables-legacy-restore tells no reason, but another exit code where it cannot have the lock."""
    return failed.exit_code == 1 if iptables.backend is Backend.LEGACY else "resource busy" in failed.stderr


def _delete_unless_in_use(iptables: Iptables, chain: Chain) -> None:
    """The kernel tells by refusing all of it."""
    try:
        iptables.restore([str(Section(chain.table, deleted=(chain,)))])
    except ProgramFailed as failed:
        _log.info(
            "%s: %s stays, because rules of others jump to it: %s", iptables.program, chain.name, failed
        )


def _goes(iptables: Iptables, chain: Chain) -> bool:
    if chain == Chain("filter", _GUARD):
        return iptables.is_empty(chain)
    return chain.name in _SHARED or is_ours(chain)


def _deletion(chains: Sequence[Chain], size: int | None) -> Iterator[Section]:
    """Those first that jump to the others, so that none is deleted while it is in use."""
    ordered = parents_first(chains)
    step = size or max(len(ordered), 1)
    for start in range(0, len(ordered), step):
        yield Section(ordered[start].table, deleted=tuple(ordered[start : start + step]))


def _clean_nft(family: Family, *tables: str) -> None:
    """Adding a table first forgives that it has gone just now. Where there is none, nothing is committed."""
    name = FAMILY_WORD[family]
    found = [table for table in tables if has_table(family, table)]
    if found:
        text = "".join(f"add table {name} {table}\ndelete table {name} {table}\n" for table in found)
        process.run(["nft", "-f", "-"], stdin=text)
