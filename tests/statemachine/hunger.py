"""Moments at which an agent's threads get no memory: MemoryError where they are at work, so many times, then no more."""

import importlib
from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from itertools import islice
from pathlib import Path
from typing import Any

VARIABLE = "HUNGER_OF_THE_STATE_MACHINE"
"""The environment variable that names the directory of tokens."""


class Work(StrEnum):
    """Functions of a running agent, each where one thread is when memory runs out."""

    LISTING = "kproxy.sources.listwatch:ListWatch._list"
    WATCHING = "kproxy.sources.listwatch:ListWatch._take"
    DECODING = "kproxy.sources.listwatch:ListWatch._take"
    RECOVERING = "kproxy.sources.listwatch:ListWatch._recover"
    TAKING_EVENTS = "kproxy.agent.loop:Agent._take_events"
    STORING = "kproxy.state.store:Store.apply"
    SYNCING = "kproxy.agent.loop:Agent.sync"
    SYNCING_A_FAMILY = "kproxy.agent.loop:Agent._sync_family"
    RECORDING = "kproxy.agent.loop:Agent._record"
    SCHEDULING = "kproxy.agent.schedule:Schedule.ended"
    QUARANTINE = "kproxy.agent.observers.quarantine:Quarantine.synced"
    FLOWS = "kproxy.agent.observers.udp_flows:FlowCleaner._take"
    EVENTS = "kproxy.sources.recorder:EventRecorder._post"
    RUNNING_A_PROGRAM = "kproxy.process:run"


def arm(directory: Path) -> None:
    """Let each of these functions of this process look for its tokens there."""
    for work in Work:
        module, _, path = work.partition(":")
        *owners, name = path.split(".")
        owner: Any = importlib.import_module(module)
        for each in owners:
            owner = getattr(owner, each)
        setattr(owner, name, _hungry(owner.__dict__[name], directory, work.name))


def starve(directory: Path, work: Work, times: int) -> None:
    """Let the next calls meet MemoryError."""
    for number in range(times):
        (directory / f"{work.name}.{number}").touch()


def hungry_still(directory: Path) -> int:
    """How many calls did not come yet."""
    return sum(1 for _ in directory.iterdir())


def feed(directory: Path) -> None:
    for token in directory.iterdir():
        token.unlink(missing_ok=True)


def _hungry(function: Any, directory: Path, name: str) -> Any:
    if isinstance(function, staticmethod):
        return staticmethod(_wrapped(function.__func__, directory, name))
    return _wrapped(function, directory, name)


def _wrapped(function: Callable[..., object], directory: Path, name: str) -> Callable[..., object]:
    @wraps(function)
    def call(*args: object, **options: object) -> object:
        for token in islice(directory.glob(f"{name}.*"), 1):
            try:
                token.unlink()
            except FileNotFoundError:  # another thread has it
                continue
            raise MemoryError(f"no memory for {name}")
        return function(*args, **options)

    return call
