"""The kernel's named counters, as somebody deletes them whom our rules do not concern."""

import errno

from kproxy.kernel.netlink.accounting import COUNTERS
from kproxy.kernel.netlink.nfnetlink import NFPROTO_UNSPEC, Netlink, text_attribute

_DELETE = (7 << 8) | 3  # NFNL_SUBSYS_ACCT, NFNL_MSG_ACCT_DEL
_NAME = 1  # NFACCT_NAME


def delete_counters() -> None:
    """Those that no rule names at the moment."""
    for name in COUNTERS:
        try:
            with Netlink() as netlink:
                netlink.tell(_DELETE, NFPROTO_UNSPEC, text_attribute(_NAME, name))
        except OSError as refused:
            if refused.errno not in {errno.EBUSY, errno.ENOENT}:
                raise
