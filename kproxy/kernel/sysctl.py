"""Kernel settings under /proc/sys that rules rest on."""

from pathlib import Path

from kproxy.errors import EnvironmentLacking

_ROOT = Path("/proc/sys")

ROUTE_LOCALNET = "net/ipv4/conf/all/route_localnet"
CONNTRACK_TCP_BE_LIBERAL = "net/netfilter/nf_conntrack_tcp_be_liberal"


def read(name: str) -> str | None:
    """The setting's value, or None where this kernel has no such setting."""
    try:
        return (_ROOT / name).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None


def ensure(name: str, value: str, *, consequence: str) -> None:
    """Set it if it differs; EnvironmentLacking says what follows when it cannot be set."""
    if read(name) == value:
        return
    try:
        (_ROOT / name).write_text(value, encoding="ascii")
    except OSError as failed:
        raise EnvironmentLacking(
            f"cannot set {name.replace('/', '.')}={value} ({failed.strerror}): {consequence}"
        ) from failed
