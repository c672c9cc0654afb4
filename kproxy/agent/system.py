"""The settings of the kernel and of this process that kube-proxy makes besides the rules."""

import logging
import os
from pathlib import Path

from kproxy.configuration.schema import Conntrack
from kproxy.errors import EnvironmentLacking
from kproxy.kernel.node import sysctl
from kproxy.model.node import node_port_dispatch
from kproxy.model.settings import Settings
from kproxy.values import Family

_log = logging.getLogger(__name__)

_MOST_SCALED = 1 << 20
"""The highest limit that the number of cores can give (kube-proxy 1.36)."""

_ENTRIES_A_BUCKET = 4
_OOM_SCORE = Path("/proc/self/oom_score_adj")


def set_up_conntrack(conntrack: Conntrack) -> None:
    """Set the configured values; a value that cannot be set is a warning that names the consequence."""
    wanted = conntrack_limit(conntrack, os.cpu_count() or 1)
    if wanted and _raise_limit(wanted):
        _grow_hash(wanted // _ENTRIES_A_BUCKET)
    idle = "idle connections are forgotten after the kernel's own time"
    for name, length_s in (
        (sysctl.CONNTRACK_TCP_ESTABLISHED, conntrack.tcp_established_timeout_s),
        (sysctl.CONNTRACK_TCP_CLOSE_WAIT, conntrack.tcp_close_wait_timeout_s),
        (sysctl.CONNTRACK_UDP, conntrack.udp_timeout_s),
        (sysctl.CONNTRACK_UDP_STREAM, conntrack.udp_stream_timeout_s),
    ):
        if length_s >= 1:
            _set(name, int(length_s), idle)
    if conntrack.tcp_be_liberal:
        _set(
            sysctl.CONNTRACK_TCP_BE_LIBERAL,
            1,
            "packets that conntrack calls invalid are not rewritten, and may reset connections",
        )


def _raise_limit(wanted: int) -> bool:
    """Let the kernel track at least `wanted` connections; whether it does. A higher limit of the host stays."""
    held = sysctl.read(sysctl.CONNTRACK_MAX) or ""
    if held.isdecimal() and int(held) >= wanted:
        return True
    return _set(
        sysctl.CONNTRACK_MAX, wanted, "new connections are dropped once the kernel's own limit is reached"
    )


def conntrack_limit(conntrack: Conntrack, cores: int) -> int:
    """The number of connections that the kernel should track; 0 leaves its limit alone."""
    if not conntrack.max_per_core:
        return 0
    scaled = conntrack.max_per_core * cores
    return _MOST_SCALED if scaled > _MOST_SCALED else max(scaled, conntrack.min)


def open_localhost(settings: Settings) -> None:
    """Let the kernel forward packets to 127.0.0.1, if node ports are to answer there."""
    if node_port_dispatch(settings, None, (), Family.IPV4).on_localhost:
        _set(sysctl.ROUTE_LOCALNET, 1, "node ports do not answer on 127.0.0.1, all else works")


def set_oom_score(score: int) -> None:
    """Set how early the kernel ends this process when memory runs out."""
    try:
        _OOM_SCORE.write_text(str(score), encoding="ascii")
    except OSError as failed:
        _log.warning(
            "cannot set oom_score_adj to %d (%s): the kernel may end this process early when memory runs out",
            score,
            failed.strerror,
        )


def _grow_hash(buckets: int) -> None:
    """Give conntrack at least this number of buckets: each packet searches one bucket, flow by flow."""
    held = sysctl.hash_size()
    if held is None or held >= buckets:
        return
    try:
        sysctl.set_hash_size(buckets)
    except OSError as failed:
        _log.warning(
            "cannot raise conntrack's hash table to %d buckets (%s): each packet takes a little longer once there are many connections",
            buckets,
            failed.strerror,
        )


def _set(name: str, value: int, consequence: str) -> bool:
    try:
        sysctl.ensure(name, str(value), consequence=consequence)
    except EnvironmentLacking as lacking:
        _log.warning("%s", lacking)
        return False
    return True
