"""All processes that a program has started, and those that they started."""

import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_MOST_LOOKS = 100
"""The second look finds none as a rule. Only a fork bomb needs more than these."""

_PAUSE_S = 0.01
"""A killed process needs a moment to be gone."""

_DEAD = frozenset("ZX")


class _Process(NamedTuple):
    pid: int
    is_alive: bool
    parent: int
    session: int


def end(leader: int, *, has_own_session: bool) -> None:
    """Kill this process and all that it started, whatever groups of their own they are in.

    A process that left both its parent and its session, as daemons do on purpose, is not found if `leader` has ended.
    To be called before `leader` is waited for, as its number may be another's afterwards.
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
        with suppress(OSError):  # they are ours only where we are the first process of a container
            os.waitpid(pid, os.WNOHANG)


def _stopped(leader: int, *, has_own_session: bool) -> set[int]:
    """All of them, none of which can start another one or leave it without a parent any more."""
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
    """Empty where /proc is not there."""
    with suppress(OSError):
        for name in os.listdir("/proc"):  # noqa: PTH208 # a node has thousands
            if name.isdecimal():
                with suppress(OSError):  # it has ended meanwhile
                    yield _parsed(int(name), Path("/proc", name, "stat").read_bytes())


def _parsed(pid: int, stat: bytes) -> _Process:
    """See proc_pid_stat(5). The name in parentheses is the program's own choice, and may hold any of them."""
    state, parent, _, session = stat.rpartition(b")")[2].split()[:4]
    return _Process(pid, state.decode() not in _DEAD, int(parent), int(session))
