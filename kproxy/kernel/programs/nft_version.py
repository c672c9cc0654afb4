"""The versions of the kernel and of `nft` that nftables mode requires, as kube-proxy does.

kproxy itself needs no such versions. But an nft up to 0.9.8 on the host reads all tables when it starts, crashes over
ours, and the firewall of the node fails. A container does not see the host's nft, but a distribution with Linux 5.13 or
newer has nft 1.0.1 or newer.
"""

import logging
import os
import re
from collections.abc import Mapping

from kproxy import process
from kproxy.errors import EnvironmentLacking, KproxyError

_log = logging.getLogger(__name__)

SKIP = "KUBE_PROXY_NFTABLES_SKIP_KERNEL_VERSION_CHECK"
"""The environment variable that turns this check off if it has any value; kube-proxy has the same."""

_LONGEST_S = 10.0
_LEAST_KERNEL = (5, 13)
_LEAST_NFT = (1, 0, 1)
_KERNEL = re.compile(r"(\d{1,6})\.(\d{1,6})(?!\d)", re.ASCII)
_NFT = re.compile(r"v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?(?!\d)", re.ASCII)

_CONSEQUENCE = (
    "an nft older than 1.0.1 (such as 0.9.8 of Debian 11) crashes whenever it runs on a node that has kproxy's table, "
    "so that no program can change the node's firewall by it"
)


def nft_version() -> str:
    """The version of the `nft` that kproxy finds, as 1.0.6; empty if nft does not tell."""
    try:
        words = process.run(["nft", "--version"], timeout_s=_LONGEST_S).split()
    except KproxyError:
        return ""
    return words[1].removeprefix("v") if len(words) > 1 and words[0] == "nftables" else ""


def require_versions(
    release: str | None = None, nft: str | None = None, environment: Mapping[str, str] = os.environ
) -> None:
    """EnvironmentLacking if this kernel or the nft on PATH is too old. An unknown version is no reason to refuse.

    `release` None means this kernel's release, `nft` None the version of the program.
    """
    problem = _kernel_problem(os.uname().release if release is None else release)
    problem = problem or _nft_problem(nft_version() if nft is None else nft)
    if not problem:
        _log.info("nftables mode: %s", _CONSEQUENCE)
    elif environment.get(SKIP):
        _log.warning("nftables mode: %s: %s; %s is set, so it goes on", problem, _CONSEQUENCE, SKIP)
    else:
        raise EnvironmentLacking(
            f"nftables mode cannot run here: {problem}: {_CONSEQUENCE}; use --proxy-mode iptables, "
            f"or set the environment variable {SKIP}=1 if the node has a newer nft"
        )


def _kernel_problem(release: str) -> str:
    found = _KERNEL.match(release)
    if not found:
        _log.warning("nftables mode: whether kernel %r is older than 5.13 cannot be told", release[:64])
        return ""
    is_old = (int(found[1]), int(found[2])) < _LEAST_KERNEL
    return (
        f"kernel {release[:64]} is older than 5.13, and its distribution may have an old nft"
        if is_old
        else ""
    )


def _nft_problem(version: str) -> str:
    found = _NFT.match(version)
    is_old = found is not None and tuple(int(part or 0) for part in found.groups()) < _LEAST_NFT
    return f"nft {version[:64]}, at {process.find('nft')}, is older than 1.0.1" if is_old else ""
