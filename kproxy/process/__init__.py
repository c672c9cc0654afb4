"""The one place that starts programs: those that act on the system, and those that are asked for an answer."""

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
    """Kill all that is waited for here, from any thread, and what starts afterwards: this process is about to end."""
    end_asked()
    acting.end_acting()
