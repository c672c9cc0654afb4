"""The only package that starts programs: programs that act on the system, and programs that answer a question."""

from kproxy.process import acting
from kproxy.process.acting import feeding, find, run, running, unused_program_note
from kproxy.process.asking import Answer, ask, end_asked, is_ending
from kproxy.process.pipes import NotStarted

__all__ = [
    "Answer",
    "NotStarted",
    "ask",
    "end_all",
    "end_asked",
    "feeding",
    "find",
    "is_ending",
    "run",
    "running",
    "unused_program_note",
]


def end_all() -> None:
    """Kill all programs that this package waits for, and all later ones, from any thread.

    Call it when this process ends.
    """
    end_asked()
    acting.end_acting()
