"""The faults of a fake kernel, switched on in one place, and the commit count of its network namespace.

A test switches faults on, and the fake kernel asks for them at each write, check and read. A write is a step that the
kernel takes as a whole or not at all: a run of `nft`, a netlink batch, or one COMMIT of `iptables-restore`. Writes and
reads are counted from the moment when a fault is switched on, so number 1 is the next one. Each fake kernel puts the
exceptions of this module into the words of its program.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum, auto

ALWAYS = 1_000_000
"""So many times that no test sees the end."""


class Refused(Exception):
    """The kernel takes nothing of this write; `line` of its text is at fault, counted from 1."""

    def __init__(self, line: int, said: str) -> None:
        super().__init__(f"line {line}: {said}")
        self.line = line
        self.said = said


class Died(Exception):
    """The program died by a signal; nobody heard whether the kernel took the write."""


class TooLong(Exception):
    """The write is more than a socket holds; the kernel took nothing of it."""


class Unreadable(Exception):
    """The kernel gives no answer to a read."""


class When(StrEnum):
    """The moment, beside a write or read of ours, when somebody else commits."""

    BEFORE_WRITE = auto()
    AFTER_WRITE = auto()
    AFTER_READ = auto()


class CommitCount:
    """How many commits a network namespace has seen, of any program and family; nothing lowers it."""

    def __init__(self) -> None:
        self.value = 0

    def add(self) -> None:
        self.value += 1


@dataclass(slots=True)
class Step:
    """A write that takes effect; the kernel does not count one that changes nothing."""

    is_counted: bool = True


@dataclass(slots=True)
class _Refusal:
    said: str
    times: int
    words: str = ""
    line: int = 0

    def line_at_fault(self, text: str) -> int:
        """The line that this refuses; 0 if the text has no such line."""
        if self.line:
            return self.line if self.line <= text.count("\n") else 0
        at = text.find(self.words)
        return 0 if at < 0 else text.count("\n", 0, at) + 1


@dataclass(slots=True)
class _Read:
    of: str
    times: int


@dataclass(slots=True)
class _Commit:
    when: When
    number: int
    act: Callable[[], None]
    of: str = ""


def _change_elsewhere() -> None:
    """A commit of somebody else that leaves our tables alone."""


@dataclass(slots=True)
class Faults:
    """The faults that are to come; fakes of several families may share one, or share its `commits` alone."""

    commits: CommitCount = field(default_factory=CommitCount)
    _refusals: list[_Refusal] = field(default_factory=list)
    _deaths: dict[int, bool] = field(default_factory=dict)
    _others: list[_Commit] = field(default_factory=list)
    _unreadable: list[_Read] = field(default_factory=list)
    _room: int | None = None
    _is_acting: bool = False

    def refuse(self, words: str, *, said: str = "is not wanted here", times: int = ALWAYS) -> None:
        """Refuse the next writes and checks whose text holds these words, at the line of the first of them."""
        self._refusals.append(_Refusal(said, times, words=words))

    def refuse_line(self, line: int, *, said: str = "is not wanted here", times: int = 1) -> None:
        """Refuse the next write or check at this line, counted from 1, if its text has so many lines."""
        self._refusals.append(_Refusal(said, times, line=line))

    def die_in_write(self, number: int = 1, *, took_effect: bool = False) -> None:
        """Let the program die in that write, before or after the kernel took it."""
        self._deaths[number] = took_effect

    def somebody_commits(
        self,
        act: Callable[[], None] = _change_elsewhere,
        *,
        when: When = When.BEFORE_WRITE,
        number: int = 1,
        of: str = "",
    ) -> None:
        """Let somebody else act beside that write, or beside that read (`of` one kind), and then count a commit."""
        self._others.append(_Commit(when, number, act, of))

    def fail_reads(self, of: str = "", *, times: int = 1) -> None:
        """Give no answer to the next reads; only to those `of` one kind if it is named."""
        self._unreadable.append(_Read(of, times))

    def hold_at_most(self, characters: int | None) -> None:
        """Let no write or check pass whose text is longer; None lets every one pass."""
        self._room = characters

    def end(self) -> None:
        """Switch all faults off. The commit count stays."""
        self._refusals.clear()
        self._deaths.clear()
        self._others.clear()
        self._unreadable.clear()
        self._room = None

    def somebody_commits_now(self, act: Callable[[], None] = _change_elsewhere) -> None:
        """Somebody else acts at once, which is one commit. Faults are for our own writes, not for theirs."""
        was_acting, self._is_acting = self._is_acting, True
        try:
            act()
        finally:
            self._is_acting = was_acting
        self.commits.add()

    # what a fake kernel asks

    def judge(self, text: str) -> None:
        """Raise TooLong or Refused if the kernel does not take this text, be it a write or a check."""
        if self._is_acting:
            return
        if self._room is not None and len(text) > self._room:
            raise TooLong
        for refusal in self._refusals:
            line = refusal.line_at_fault(text) if refusal.times else 0
            if line:
                refusal.times -= 1
                raise Refused(line, refusal.said)

    @contextmanager
    def writing(self, text: str) -> Iterator[Step]:
        """Around the step that takes effect, which is one commit if it raises nothing; raises as `judge`, or Died."""
        step = Step()
        if self._is_acting:
            yield step
            return
        dies = self._deaths.pop(1, None)
        self._deaths = {number - 1: took_effect for number, took_effect in self._deaths.items()}
        self._let_others_act(When.BEFORE_WRITE)
        if dies is False:
            self._let_others_act(When.AFTER_WRITE)
            raise Died
        self.judge(text)
        yield step
        if step.is_counted:
            self.commits.add()
        self._let_others_act(When.AFTER_WRITE)
        if dies:
            raise Died

    @contextmanager
    def reading(self, of: str) -> Iterator[None]:
        """Around a read of this kind; raises Unreadable."""
        if self._is_acting:
            yield
            return
        for read in self._unreadable:
            if read.times and read.of in {"", of}:
                read.times -= 1
                raise Unreadable(of)
        yield
        self._let_others_act(When.AFTER_READ, of)

    def _let_others_act(self, when: When, of: str = "") -> None:
        concerned = [each for each in self._others if each.when is when and each.of in {"", of}]
        for each in concerned:
            each.number -= 1
        for each in [each for each in concerned if not each.number]:
            self._others.remove(each)
            self.somebody_commits_now(each.act)
