"""nfacct counters: named packet counters in the kernel that rules may add to."""

import errno
from collections.abc import Iterable

_SUBSYSTEM = 7  # NFNL_SUBSYS_ACCT
_NEW, _GET = (_SUBSYSTEM << 8) | 0, (_SUBSYSTEM << 8) | 1

COUNTERS = ("ct_state_invalid_dropped_pkts", "localhost_nps_accepted_pkts")
"""kube-proxy's names; its metrics of dropped and accepted packets read them."""


def ensure_counters(names: Iterable[str] = COUNTERS) -> bool:
    """Create the counters that are missing; False where the kernel cannot have them or we may not ask.

    A rule that names a counter is refused unless the counter exists (linux/netfilter/xt_nfacct.h).
    """
    return all(_ask(_NEW, name, {0, errno.EBUSY, errno.EEXIST}) for name in names)


def have_counters(names: Iterable[str] = COUNTERS) -> bool:
    """Whether this network namespace holds all the counters; False also without CAP_NET_ADMIN."""
    return all(_ask(_GET, name, {0}) for name in names)


def _ask(kind: int, name: str, fine: set[int]) -> bool:
    from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NetlinkError
    from pyroute2.netlink.nfnetlink import nfgen_msg
    from pyroute2.netlink.nlsocket import NetlinkSocket

    class AccountingMessage(nfgen_msg):  # type: ignore[misc] # pyroute2 ships no types
        nla_map = (("NFACCT_UNSPEC", "none"), ("NFACCT_NAME", "asciiz"))

    message = AccountingMessage()
    message["attrs"] = [("NFACCT_NAME", name)]
    flags = NLM_F_REQUEST | NLM_F_ACK | (NLM_F_CREATE if kind == _NEW else 0)
    try:
        with NetlinkSocket(family=12) as netlink:  # NETLINK_NETFILTER
            netlink.register_policy(kind, AccountingMessage)
            tuple(netlink.nlm_request(message, msg_type=kind, msg_flags=flags))
    except NetlinkError as refused:
        return refused.code in fine
    except OSError:
        return False
    return True
