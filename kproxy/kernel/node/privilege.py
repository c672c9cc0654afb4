"""The privilege that a change of rules needs."""

from pathlib import Path

from kproxy.errors import EnvironmentLacking

_CAP_NET_ADMIN = 12  # linux/capability.h


def require_net_admin() -> None:
    """Raise EnvironmentLacking unless this process may change rules in its network namespace."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    if not int(effective.split()[1], 16) >> _CAP_NET_ADMIN & 1:
        raise EnvironmentLacking(
            "changing rules needs CAP_NET_ADMIN, which this process lacks; run it as root, or in a privileged container"
        )
