"""nfacct counters: named packet counters in the kernel that rules may add to."""

import errno
from collections.abc import Iterable

from kproxy.kernel.netlink.nfnetlink import NFPROTO_UNSPEC, Netlink, attributes, text_attribute

_SUBSYSTEM = 7  # NFNL_SUBSYS_ACCT
_NEW, _GET = (_SUBSYSTEM << 8) | 0, (_SUBSYSTEM << 8) | 1
_NAME, _PACKETS = 1, 2  # NFACCT_NAME, NFACCT_PKTS
_CREATE = 0x400  # NLM_F_CREATE

COUNTERS = ("ct_state_invalid_dropped_pkts", "localhost_nps_accepted_pkts")
"""kube-proxy's names; its metrics of dropped and accepted packets read them."""


def ensure_counters(names: Iterable[str] = COUNTERS) -> bool:
    """Create missing counters; whether all are there. False if the kernel has no counters, or without CAP_NET_ADMIN.

    A rule that names a counter is refused unless the counter exists (linux/netfilter/xt_nfacct.h).
    """
    return all(_is_taken(_NEW, name, _CREATE) for name in names)


def have_counters(names: Iterable[str] = COUNTERS) -> bool:
    """Whether this network namespace holds all the counters; False also without CAP_NET_ADMIN."""
    return all(_is_taken(_GET, name, 0) for name in names)


def packets(name: str) -> int | None:
    """The number of packets that the counter has counted; None if it does not exist."""
    try:
        with Netlink() as netlink:
            answer = netlink.ask(_GET, NFPROTO_UNSPEC, text_attribute(_NAME, name))
    except OSError:
        return None
    counts = (answer[begin:end] for kind, begin, end in attributes(answer) if kind == _PACKETS)
    return int.from_bytes(next(counts, b""), "big")


def _is_taken(kind: int, name: str, flags: int) -> bool:
    try:
        with Netlink() as netlink:
            netlink.tell(kind, NFPROTO_UNSPEC, text_attribute(_NAME, name), flags)
    except OSError as refused:
        return kind == _NEW and refused.errno in {errno.EBUSY, errno.EEXIST}
    return True
