"""Kernel settings under /proc/sys on which the rules depend."""

from pathlib import Path

from kproxy.errors import EnvironmentLacking

_ROOT = Path("/proc/sys")

ROUTE_LOCALNET = "net/ipv4/conf/all/route_localnet"
CONNTRACK_MAX = "net/netfilter/nf_conntrack_max"
CONNTRACK_TCP_BE_LIBERAL = "net/netfilter/nf_conntrack_tcp_be_liberal"
CONNTRACK_TCP_CLOSE_WAIT = "net/netfilter/nf_conntrack_tcp_timeout_close_wait"
CONNTRACK_TCP_ESTABLISHED = "net/netfilter/nf_conntrack_tcp_timeout_established"
CONNTRACK_UDP = "net/netfilter/nf_conntrack_udp_timeout"
CONNTRACK_UDP_STREAM = "net/netfilter/nf_conntrack_udp_timeout_stream"

_HASH_SIZE = Path("/sys/module/nf_conntrack/parameters/hashsize")


def read(name: str) -> str | None:
    """The setting's value; None if this kernel has no such setting."""
    try:
        return (_ROOT / name).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None


def ensure(name: str, value: str, *, consequence: str) -> None:
    """Set the value if it differs. EnvironmentLacking names the consequence if it cannot be set."""
    if read(name) == value:
        return
    try:
        (_ROOT / name).write_text(value, encoding="ascii")
    except OSError as failed:
        raise EnvironmentLacking(
            f"cannot set {name.replace('/', '.')}={value} ({failed.strerror}): {consequence}"
        ) from failed


def hash_size() -> int | None:
    """The number of buckets of conntrack's table; None if this kernel does not show it."""
    try:
        return int(_HASH_SIZE.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def set_hash_size(buckets: int) -> None:
    """Set the number for all network namespaces. OSError if this namespace may not set it."""
    _HASH_SIZE.write_text(str(buckets), encoding="ascii")
