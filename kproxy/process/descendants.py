"""Ends all processes that a program has started, and those that they started."""

import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_MOST_LOOKS = 100
"""Usually the second look finds no new process. Only a fork bomb needs more looks than these."""

_PAUSE_S = 0.01
"""Seconds. A killed process needs a moment to disappear."""

_DEAD = frozenset("ZX")


class _Process(NamedTuple):
    pid: int
    is_alive: bool
    parent: int
    session: int


def end(leader: int, *, has_own_session: bool) -> None:
    """Kill this process and all that it started, also those in process groups of their own.

    A process that left both its parent and its session, as daemons do on purpose, is not found if `leader` has ended.
    Call this before `leader` is waited for, because afterwards its number may belong to another process.
    """
    members = _stopped(leader, has_own_session=has_own_session)
    _signal(members | {leader}, signal.SIGKILL)
    if has_own_session:
        with suppress(OSError):  # for a system without /proc
            os.killpg(leader, signal.SIGKILL)
    for _ in range(_MOST_LOOKS):
        if not members or not any(each.is_alive and each.pid in members for each in _processes()):
            break
        time.sleep(_PAUSE_S)
    for pid in members - {leader}:
        with suppress(OSError):  # they are our children only if we are the first process of a container
            os.waitpid(pid, os.WNOHANG)


def _stopped(leader: int, *, has_own_session: bool) -> set[int]:
    """Stop all of the processes, so that none can start another or leave one without a parent. Returns their ids."""
    members: set[int] = set()
    for _ in range(_MOST_LOOKS):
        found = _alive_members(leader, has_own_session=has_own_session) - members
        _signal(found, signal.SIGSTOP)
        members |= found
        if not found:
            break
    return members


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, number)


def _alive_members(leader: int, *, has_own_session: bool) -> set[int]:
    processes = tuple(_processes())
    members = {leader}
    grows = True
    while grows:
        found = {
            each.pid
            for each in processes
            if each.parent in members or (has_own_session and each.session == leader)
        }
        grows = not found <= members
        members |= found
    return {each.pid for each in processes if each.is_alive and each.pid in members}


def _processes() -> Iterator[_Process]:
    """All processes; empty without /proc."""
    with suppress(OSError):
        for name in os.listdir("/proc"):  # noqa: PTH208 # a node has thousands of processes
            if name.isdecimal():
                with suppress(OSError):  # the process has ended meanwhile
                    yield _parsed(int(name), Path("/proc", name, "stat").read_bytes())


def _parsed(pid: int, stat: bytes) -> _Process:
    """See proc_pid_stat(5). The program chooses the name in parentheses, which may contain parentheses."""
    state, parent, _, session = stat.rpartition(b")")[2].split()[:4]
    return _Process(pid, state.decode() not in _DEAD, int(parent), int(session))
