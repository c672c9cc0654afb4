"""What can happen, as values: a list of steps is a scenario."""

import fcntl
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from statemachine.cluster import Cluster, NodeFacts, Pod, Shape, SliceKey
from statemachine.flags import SYNC_PERIOD_S, Flags
from statemachine.programs import LATE_S, Fault, Purpose

if TYPE_CHECKING:
    from statemachine.world import World

SETTLED_WITHIN_S = 12.0
REPAIRED_WITHIN_S = SYNC_PERIOD_S + 5.0
"""A sync period, and what a busy machine needs for a sync."""


class Change(Protocol):
    """Of one object."""

    def to(self, cluster: Cluster) -> Cluster:
        """The cluster afterwards; the same if there is nothing to change."""


@dataclass(frozen=True, slots=True)
class PutService:
    name: str
    shape: Shape

    def to(self, cluster: Cluster) -> Cluster:
        return cluster.with_service(self.name, self.shape)


@dataclass(frozen=True, slots=True)
class DeleteService:
    name: str

    def to(self, cluster: Cluster) -> Cluster:
        return cluster.without_service(self.name)


@dataclass(frozen=True, slots=True)
class PutSlice:
    key: SliceKey
    pods: tuple[Pod, ...]

    def to(self, cluster: Cluster) -> Cluster:
        return cluster.with_slice(self.key, self.pods)


@dataclass(frozen=True, slots=True)
class DeleteSlice:
    key: SliceKey

    def to(self, cluster: Cluster) -> Cluster:
        return cluster.without_slice(self.key)


@dataclass(frozen=True, slots=True)
class PutNode:
    facts: NodeFacts

    def to(self, cluster: Cluster) -> Cluster:
        return cluster.with_node(self.facts)


@dataclass(frozen=True, kw_only=True)
class Step:
    """Changes of objects, and what else happens meanwhile; here nothing.

    `flags` are those of the agent from then on, None if they stay. `slowly` keeps the kernel for a while in each
    state between two COMMITs, so that packets meet it. `spoils_rules` says that somebody spoils
    our own rules, so that packets go astray until they are repaired; `halts_conversations`, that not even what
    is open goes on until then. `settles_within_s` is how long the kernel
    may take afterwards to be as it should.
    """

    changes: tuple[Change, ...] = ()
    flags: Flags | None = None
    slowly: bool = False
    spoils_rules: ClassVar[bool] = False

    @property
    def halts_conversations(self) -> bool:
        return False

    @property
    def settles_within_s(self) -> float:
        return SETTLED_WITHIN_S

    @property
    def kind(self) -> str:
        """What it counts as."""
        return type(self).__name__

    def play(self, world: "World") -> None:
        world.make(*self.changes)


@dataclass(frozen=True, kw_only=True)
class AgentStopped(Step):
    """Changes come while no agent runs; with a fault, the first comes before, and its program has trouble."""

    fault: Fault | None = None

    @property
    def kind(self) -> str:
        return f"AgentStopped {self.fault or ''}{' for new flags' if self.flags else ''}".strip()

    def play(self, world: "World") -> None:
        if self.fault:
            world.programs.fail(self.fault, 1)
            world.make(*self.changes[:1])
            world.wait(SYNC_PERIOD_S, until=lambda: world.programs.befallen > 0)
        world.agent.stop()
        world.make(*self.changes)
        world.flags = self.flags or world.flags
        world.programs.well()
        world.agent.start(world.flags)


@dataclass(frozen=True, kw_only=True)
class AgentKilled(Step):
    """Between the last change and those before it, maybe while a program that it started has trouble.

    That program goes on, and may do its work when a new agent has done its own.
    """

    after_s: float
    fault: Fault | None = None

    @property
    def kind(self) -> str:
        return f"AgentKilled {self.fault or ''}".strip()

    def play(self, world: "World") -> None:
        if self.fault:
            world.programs.fail(self.fault, 1)
        world.make(*self.changes[:-1])
        world.wait(self.after_s)
        world.agent.kill()
        world.make(*self.changes[-1:])
        world.agent.start(world.flags)
        if self.fault is Fault.WORKS_LATE:
            world.wait(LATE_S)
        world.programs.well()


@dataclass(frozen=True, kw_only=True)
class RestoreFails(Step):
    fault: Fault
    runs: int

    @property
    def kind(self) -> str:
        return f"RestoreFails {self.fault}"

    def play(self, world: "World") -> None:
        world.programs.fail(self.fault, self.runs)
        world.make(*self.changes)
        world.wait(2 * SYNC_PERIOD_S, until=lambda: world.programs.befallen >= self.runs)
        world.programs.well()


@dataclass(frozen=True, kw_only=True)
class ReadFails(Step):
    """Programs that list rules have trouble; a `forgetful` agent starts again and has to ask them for all rules."""

    fault: Fault
    runs: int
    forgetful: bool = False

    @property
    def kind(self) -> str:
        return f"ReadFails {self.fault}"

    def play(self, world: "World") -> None:
        world.programs.fail(self.fault, self.runs, Purpose.READ)
        if self.forgetful:
            world.agent.kill()
            shutil.rmtree(world.agent.record, ignore_errors=True)
        world.make(*self.changes)
        if self.forgetful:
            world.agent.start(world.flags)
        world.wait(2 * SYNC_PERIOD_S, until=lambda: world.programs.befallen >= self.runs)
        world.programs.well()


class Harm(StrEnum):
    """What becomes of the record of what was applied while no agent runs."""

    DELETED = "deleted"
    GARBAGE = "garbage"
    TORN = "torn"
    OLDER = "older"
    OF_ANOTHER_VERSION = "of-another-version"


@dataclass(frozen=True, kw_only=True)
class RecordHarmed(Step):
    """The agent, killed after the changes, finds another record than it left."""

    how: Harm

    @property
    def kind(self) -> str:
        return f"RecordHarmed {self.how}"

    def play(self, world: "World") -> None:
        directory = world.agent.record
        world.agent.kill()
        older = {path: path.read_bytes() for path in directory.glob("*")}
        world.agent.start(world.flags)
        world.make(*self.changes)
        world.wait(2 * SYNC_PERIOD_S)
        world.agent.kill()
        for path in directory.glob("*"):
            self._harm(path, older.get(path))
        world.agent.start(world.flags)

    def _harm(self, path: Path, older: bytes | None) -> None:
        left = path.read_bytes()
        match self.how:
            case Harm.GARBAGE:
                path.write_bytes(b"Z" * len(left))
            case Harm.TORN:
                third = len(left) // 3
                path.write_bytes(left[:third] + b"Z" * third + left[2 * third :])
            case Harm.OF_ANOTHER_VERSION if path.suffix == ".sqlite":
                with closing(sqlite3.connect(path, isolation_level=None)) as file:
                    file.execute("pragma user_version = 99")
                    file.execute("drop table chain")
                    file.execute("create table chain (family text, name text)")
            case Harm.OF_ANOTHER_VERSION:
                pass
            case Harm.OLDER if older is not None:
                path.write_bytes(older)
            case _:
                path.unlink()


@dataclass(frozen=True, kw_only=True)
class LockHeld(Step):
    """Another program has the xtables lock, which iptables-legacy needs and iptables-nft does not know."""

    for_s: float

    def play(self, world: "World") -> None:
        with world.lock.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            world.make(*self.changes)
            world.wait(self.for_s)


class Break(StrEnum):
    """What becomes of the connections to the API server."""

    CUT = "cut"
    EXPIRED = "expired"
    SILENT = "silent"
    REFUSED = "refused"
    AWAY = "away"


@dataclass(frozen=True, kw_only=True)
class WatchBroken(Step):
    how: Break
    for_s: float = 0.2

    @property
    def kind(self) -> str:
        return f"WatchBroken {self.how}"

    def play(self, world: "World") -> None:
        api = world.api
        match self.how:
            case Break.CUT:
                api.close_streams()
            case Break.SILENT:
                api.stall_streams()
            case Break.REFUSED:
                api.fail_next(4, 500)
                api.close_streams()
            case Break.AWAY | Break.EXPIRED:
                api.unreachable()
        world.make(*self.changes)
        world.wait(self.for_s)
        if self.how is Break.EXPIRED:
            api.compact()
        if self.how in (Break.AWAY, Break.EXPIRED):
            api.reachable()
