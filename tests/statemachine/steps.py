"""Events as values: a list of steps is a scenario."""

import fcntl
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from kproxy.state.objects import Kind
from statemachine import hunger
from statemachine.cluster import NODE_KEY, Cluster, Networks, NodeFacts, ObjectKey, Pod, Shape, SliceKey
from statemachine.flags import SYNC_PERIOD_S, Flags
from statemachine.flaws import Flaw
from statemachine.hunger import Work
from statemachine.programs import LATE_S, Fault, Purpose

if TYPE_CHECKING:
    from statemachine.world import World

SETTLED_WITHIN_S = 12.0
_RECORD = ".sqlite"
REPAIRED_WITHIN_S = SYNC_PERIOD_S + 5.0
"""A sync period, and what a busy machine needs for a sync."""

FED_WITHIN_S = 30.0
"""A thread that failed may take its time before it runs again."""

_NEEDS_A_BREAK = frozenset({Work.LISTING, Work.RECOVERING})


class Change(Protocol):
    """A change of one object."""

    @property
    def about(self) -> ObjectKey: ...

    @property
    def flaw(self) -> Flaw | None: ...

    def to(self, cluster: Cluster) -> Cluster:
        """The cluster afterwards; the same if there is nothing to change."""


@dataclass(frozen=True, slots=True)
class PutService:
    name: str
    shape: Shape
    flaw: Flaw | None = None

    @property
    def about(self) -> ObjectKey:
        return Kind.SERVICE, self.name

    def to(self, cluster: Cluster) -> Cluster:
        return cluster.with_service(self.name, self.shape, self.flaw)


@dataclass(frozen=True, slots=True)
class DeleteService:
    flaw: ClassVar[None] = None
    name: str

    @property
    def about(self) -> ObjectKey:
        return Kind.SERVICE, self.name

    def to(self, cluster: Cluster) -> Cluster:
        return cluster.without_service(self.name)


@dataclass(frozen=True, slots=True)
class PutSlice:
    key: SliceKey
    pods: tuple[Pod, ...]
    flaw: Flaw | None = None

    @property
    def about(self) -> ObjectKey:
        return Kind.ENDPOINT_SLICE, self.key.name

    def to(self, cluster: Cluster) -> Cluster:
        return cluster.with_slice(self.key, self.pods, self.flaw)


@dataclass(frozen=True, slots=True)
class DeleteSlice:
    flaw: ClassVar[None] = None
    key: SliceKey

    @property
    def about(self) -> ObjectKey:
        return Kind.ENDPOINT_SLICE, self.key.name

    def to(self, cluster: Cluster) -> Cluster:
        return cluster.without_slice(self.key)


@dataclass(frozen=True, slots=True)
class PutNode:
    facts: NodeFacts
    flaw: Flaw | None = None

    @property
    def about(self) -> ObjectKey:
        return NODE_KEY

    def to(self, cluster: Cluster) -> Cluster:
        return cluster.with_node(self.facts, self.flaw)


@dataclass(frozen=True, slots=True)
class PutServiceCIDR:
    name: str
    networks: Networks
    flaw: Flaw | None = None

    @property
    def about(self) -> ObjectKey:
        return Kind.SERVICE_CIDR, self.name

    def to(self, cluster: Cluster) -> Cluster:
        return cluster.with_service_cidr(self.name, self.networks, self.flaw)


@dataclass(frozen=True, slots=True)
class DeleteServiceCIDR:
    flaw: ClassVar[None] = None
    name: str

    @property
    def about(self) -> ObjectKey:
        return Kind.SERVICE_CIDR, self.name

    def to(self, cluster: Cluster) -> Cluster:
        return cluster.without_service_cidr(self.name)


@dataclass(frozen=True, kw_only=True)
class Step:
    """Changes of objects, and what else happens meanwhile; here nothing.

    `brings_defects` says that the agent may tell of a defect, since it meets what no agent should.
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
    brings_defects: ClassVar[bool] = False

    @property
    def restarts_agent(self) -> bool:
        """Whether a new agent runs afterwards, which knows no older version of what cannot be used."""
        return False

    @property
    def halts_conversations(self) -> bool:
        return False

    @property
    def settles_within_s(self) -> float:
        return SETTLED_WITHIN_S

    @property
    def kind(self) -> str:
        """The name under which the tally counts this step."""
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

    @property
    def restarts_agent(self) -> bool:
        return True

    def play(self, world: "World") -> None:
        if self.fault:
            world.programs.fail(self.fault, 1)
            world.make(*self.changes[:1])
            world.wait(SYNC_PERIOD_S, until=lambda: world.programs.befallen > 0)
        world.agent.stop()
        world.make(*self.changes)
        world.flags = self.flags or world.flags
        world.programs.well()
        world.start_agent()


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

    @property
    def restarts_agent(self) -> bool:
        return True

    def play(self, world: "World") -> None:
        if self.fault:
            world.programs.fail(self.fault, 1)
        world.make(*self.changes[:-1])
        world.wait(self.after_s)
        world.agent.kill()
        world.make(*self.changes[-1:])
        world.start_agent()
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

    @property
    def restarts_agent(self) -> bool:
        return self.forgetful

    def play(self, world: "World") -> None:
        world.programs.fail(self.fault, self.runs, Purpose.READ)
        if self.forgetful:
            world.agent.kill()
            shutil.rmtree(world.agent.record, ignore_errors=True)
        world.make(*self.changes)
        if self.forgetful:
            world.start_agent()
        world.wait(2 * SYNC_PERIOD_S, until=lambda: world.programs.befallen >= self.runs)
        world.programs.well()


class Harm(StrEnum):
    """Harm to the record of applied rules while no agent runs."""

    DELETED = "deleted"
    GARBAGE = "garbage"
    TORN = "torn"
    OLDER = "older"
    EMPTY = "empty"
    OTHER_TABLES = "of another schema"
    OTHER_COLUMNS = "with other columns"
    OTHER_TYPES = "with values of other types"
    NEWER = "of a newer version"


_SCRIPTS = {
    Harm.OTHER_TABLES: "drop table chain; create table chain (family text, name text)",
    Harm.OTHER_COLUMNS: "alter table sure rename column commits_of_others to others; alter table node add more text",
    Harm.OTHER_TYPES: "pragma ignore_check_constraints = on; update chain set held = 'text', applied = 7; "
    "update sure set commits_of_others = 'many'; update node set commits = x'00'",
    Harm.NEWER: "pragma user_version = 77",
}


@dataclass(frozen=True, kw_only=True)
class RecordHarmed(Step):
    """The agent, killed after the changes but for the last, finds another record than it left.

    An object that cannot be used never comes last: a new agent may have listed its older version by then, or not.
    """

    how: Harm

    @property
    def kind(self) -> str:
        return f"RecordHarmed {self.how}"

    @property
    def restarts_agent(self) -> bool:
        return True

    def play(self, world: "World") -> None:
        directory = world.agent.record
        world.agent.kill()
        older = {path: path.read_bytes() for path in directory.glob("*")}
        late = tuple(change for change in self.changes[-1:] if not change.flaw)
        world.start_agent()
        world.make(*self.changes[: len(self.changes) - len(late)])
        world.wait(2 * SYNC_PERIOD_S)
        world.agent.kill()
        for path in [*directory.glob("*")]:
            self._harm(path, older.get(path))
        world.start_agent()
        world.make(*late)

    def _harm(self, path: Path, older: bytes | None) -> None:
        left = path.read_bytes()
        match self.how:
            case Harm.GARBAGE:
                path.write_bytes(b"Z" * len(left))
            case Harm.TORN:
                third = len(left) // 3
                path.write_bytes(left[:third] + b"Z" * third + left[2 * third :])
            case Harm.EMPTY:
                path.write_bytes(b"")
            case Harm.OLDER if older is not None:
                path.write_bytes(older)
            case how if how in _SCRIPTS:
                if path.suffix == _RECORD:
                    _execute(path, _SCRIPTS[how])
            case _:
                path.unlink()


def _execute(record: Path, script: str) -> None:
    with closing(sqlite3.connect(record)) as opened:
        opened.executescript(script)


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
    """A fault of the connections to the API server."""

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


@dataclass(frozen=True, kw_only=True)
class Starved(Step):
    """A thread of the agent meets MemoryError at this work, so many times.

    The agent goes on, or ends and is started again, as a kubelet does it.
    """

    brings_defects = True
    work: Work
    times: int

    @property
    def kind(self) -> str:
        return f"Starved {self.work.name}"

    @property
    def restarts_agent(self) -> bool:
        return True

    @property
    def settles_within_s(self) -> float:
        return FED_WITHIN_S

    def play(self, world: "World") -> None:
        hunger.starve(world.agent.hunger, self.work, self.times)
        world.make(*self.changes)
        if self.work in _NEEDS_A_BREAK:
            world.api.close_streams()
        world.wait(
            2 * SYNC_PERIOD_S,
            until=lambda: not (hunger.hungry_still(world.agent.hunger) and world.agent.is_up),
        )
        hunger.feed(world.agent.hunger)
        if not world.agent.is_up:
            world.start_agent()
        world.make(*self.changes)
