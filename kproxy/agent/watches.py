"""The time since the answers of the cluster were last understood, and whether kproxy is at fault."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from kproxy.sources.freshness import Freshness

if TYPE_CHECKING:
    from kproxy.state.objects import Kind

_LONGEST_SILENCE_S = 300.0
"""A watch that is silent for 150 s is closed and opened again; twice that time is no accident."""

_LONGEST_MISUNDERSTANDING_S = 300.0
"""The server answers, and no answer can be used: ten lists fail in that time. A restart helps if this process is at
fault. It comes late, so that the agents of all nodes do not ask a server that has just started for lists as well."""


class _Misunderstanding(NamedTuple):
    """Since `since` no answer of the server was understood.

    The last answer that was understood came at `understood_at`.
    """

    understood_at: float | None
    since: float


class Watches:
    """Judges the list/watch loops by the times that they note; may be asked from any thread."""

    def __init__(
        self,
        freshness: Callable[[], Sequence[Freshness]],
        source_outdated: Callable[[], tuple[str, ...]] = tuple,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._freshness = freshness
        self._source_outdated = source_outdated
        self._clock = clock
        self._began_at = clock()
        self._misunderstandings: dict[Kind, _Misunderstanding] = {}

    def stuck(self) -> tuple[str, ...]:
        """A sentence for each loop that does nothing, or understands no answer: defects that a restart may end."""
        hung = self._old(
            "the watch of {} has hung for {:.0f} s; restart the agent",
            lambda each: each.tried_at,
        )
        return (*hung, *self._misunderstood())

    def outdated(self) -> tuple[str, ...]:
        """A sentence for each kind without an understood answer, yet or for a long time, and the source's sentences."""
        now = self._clock()
        sentences = []
        for each in self._freshness():
            age_s = self._age_s(each.understood_at, now)
            if age_s < _LONGEST_SILENCE_S:
                if each.understood_at is None:
                    sentences.append(
                        f"no list of {each.kind} has come yet; where that lasts, the log says why"
                    )
                continue
            if self._age_s(each.heard_at, now) < _LONGEST_SILENCE_S:
                sentences.append(
                    f"nothing of {each.kind} was understood for {age_s:.0f} s, although the API server answers; "
                    "the log says what is wrong with its answers"
                )
            else:
                sentences.append(
                    f"nothing was heard of {each.kind} for {age_s:.0f} s; "
                    "see whether the API server can be reached from this node"
                )
        return (*sentences, *self._source_outdated())

    def ages_s(self) -> Mapping[str, float]:
        """By kind, the seconds since the last answer; since the start, if none came yet."""
        now = self._clock()
        return {str(each.kind): self._age_s(each.heard_at, now) for each in self._freshness()}

    def _misunderstood(self) -> tuple[str, ...]:
        """A sentence for each kind whose answers are not understood.

        None for a silent server, which is not our defect.
        """
        now = self._clock()
        sentences = []
        for each in self._freshness():
            heard_at, understood_at = each.heard_at, each.understood_at
            is_silent = self._age_s(heard_at, now) >= _LONGEST_SILENCE_S
            if heard_at is None or is_silent or (understood_at is not None and understood_at >= heard_at):
                self._misunderstandings.pop(each.kind, None)
                continue
            began = self._misunderstandings.get(each.kind)
            if began is None or began.understood_at != understood_at:
                began = self._misunderstandings[each.kind] = _Misunderstanding(understood_at, now)
            if now - began.since >= _LONGEST_MISUNDERSTANDING_S:
                sentences.append(
                    f"the API server's answers about {each.kind} have not been understood for {now - began.since:.0f} s; "
                    "the log says why, and a restart of the agent may help"
                )
        return tuple(sentences)

    def _old(self, sentence: str, last: Callable[[Freshness], float | None]) -> tuple[str, ...]:
        now = self._clock()
        ages = ((each.kind, self._age_s(last(each), now)) for each in self._freshness())
        return tuple(sentence.format(kind, age_s) for kind, age_s in ages if age_s >= _LONGEST_SILENCE_S)

    def _age_s(self, at: float | None, now: float) -> float:
        return now - (self._began_at if at is None else at)
