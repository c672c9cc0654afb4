"""The only package that starts programs: programs that act on the system, and programs that answer a question."""

from kproxy.process import acting
from kproxy.process.acting import feeding, find, passed_over, run, running
from kproxy.process.asking import NotStarted, Said, ask, end_asked, is_ending

__all__ = [
    "NotStarted",
    "Said",
    "ask",
    "end_all",
    "end_asked",
    "feeding",
    "find",
    "is_ending",
    "passed_over",
    "run",
    "running",
]


def end_all() -> None:
    """Kill all programs that this package waits for, and all later ones, from any thread.

    Call it when this process ends.
    """
    end_asked()
    acting.end_acting()
