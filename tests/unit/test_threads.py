"""Threads after an exception: they run again and log it, or are the reason for the agent's end."""

import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from kproxy import threads
from kproxy.errors import EnvironmentLacking, KproxyError
from kproxy.threads import Need, SupervisedThread, not_running, when_hopeless

BOUND_S = 10.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_SHORTEST_PAUSE_S", 0.01)


class Failing:
    """A function that raises `failure` in its first `times` calls. The next call runs until it is asked to end."""

    def __init__(self, failure: BaseException, times: float) -> None:
        self.failure = failure
        self.times = times
        self.runs = 0
        self.lives = threading.Event()
        self.asked = threading.Event()

    def __call__(self) -> None:
        self.runs += 1
        if self.runs <= self.times:
            raise self.failure
        self.lives.set()
        self.asked.wait(BOUND_S)


class Kept:
    def __init__(self, run: Failing, need: Need) -> None:
        self.run = run
        self.thread = SupervisedThread("watch-of-a-test", run, need)
        self.thread.start()

    def end(self) -> None:
        self.thread.end()
        self.run.asked.set()
        self.thread.join(BOUND_S)


Keep = Callable[[Failing, Need], Kept]


@pytest.fixture
def keep() -> Iterator[Keep]:
    made: list[Kept] = []

    def make(run: Failing, need: Need) -> Kept:
        made.append(Kept(run, need))
        return made[-1]

    yield make
    for each in made:
        each.end()


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + BOUND_S
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.001)
    return holds()


@pytest.mark.parametrize("need", Need)
@pytest.mark.parametrize(
    "failure",
    [MemoryError(), RecursionError(), SystemExit(1), KeyboardInterrupt(), GeneratorExit(), ValueError("x")],
    ids=repr,
)
def test_thread_after_any_exception_runs_again_and_logs(
    keep: Keep, caplog: pytest.LogCaptureFixture, failure: BaseException, need: Need
) -> None:
    kept = keep(Failing(failure, 1), need)
    assert kept.run.lives.wait(BOUND_S)
    assert "watch-of-a-test ended unexpectedly" in caplog.text
    assert type(failure).__name__ in caplog.text
    assert () == not_running(need)


def test_thread_that_the_rules_need_and_that_keeps_ending_ends_the_agent(keep: Keep) -> None:
    reasons: list[str] = []
    forget = when_hopeless(reasons.append)
    try:
        kept = keep(Failing(MemoryError(), float("inf")), Need.RULES)
        assert eventually(lambda: bool(reasons))
    finally:
        forget()
    (reason,) = reasons
    assert "watch-of-a-test ended unexpectedly 7 times in a row, the last time with MemoryError" in reason
    assert eventually(lambda: not kept.thread.is_alive())
    (sentence,) = not_running(Need.RULES)
    assert sentence.startswith("watch-of-a-test does not run (MemoryError)")


@pytest.mark.parametrize("need", [Need.NODE, Need.REPORTS])
def test_thread_that_the_rules_do_not_need_is_tried_for_ever_without_ending_the_agent(
    keep: Keep, need: Need
) -> None:
    reasons: list[str] = []
    forget = when_hopeless(reasons.append)
    try:
        kept = keep(Failing(MemoryError(), 8), need)
        assert eventually(lambda: len(not_running(need)) == 1)
        assert kept.run.lives.wait(BOUND_S)
    finally:
        forget()
    assert [] == reasons
    assert eventually(lambda: not_running(need) == ())


def test_thread_whose_failure_cannot_be_logged_runs_again(
    keep: Keep, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(logging.Logger, "_log", fails)
    kept = keep(Failing(MemoryError(), 2), Need.RULES)
    assert kept.run.lives.wait(BOUND_S)
    assert "a defect, and the log cannot be written" in capfd.readouterr().err


def test_thread_whose_failure_cannot_be_handled_runs_again(
    keep: Keep, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise MemoryError

    kept = keep(Failing(Unspeakable(), 2), Need.RULES)
    assert kept.run.lives.wait(BOUND_S)
    assert "so did the handling of its failure" in capfd.readouterr().err


def test_thread_that_ran_long_has_its_failures_forgotten(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_STEADY_S", 0.0)
    kept = keep(Failing(MemoryError(), 14), Need.RULES)
    assert kept.run.lives.wait(BOUND_S)


def test_thread_that_is_ended_in_its_pause_ends_at_once(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_SHORTEST_PAUSE_S", 60.0)
    kept = keep(Failing(MemoryError(), float("inf")), Need.RULES)
    assert eventually(lambda: len(not_running(Need.RULES)) == 1)
    kept.thread.end()
    kept.thread.join(BOUND_S)
    assert (False, ()) == (kept.thread.is_alive(), not_running(Need.RULES))


def test_function_that_returns_is_not_run_again() -> None:
    thread = SupervisedThread("short", lambda: None, Need.RULES)
    thread.start()
    thread.join(BOUND_S)
    assert () == not_running(Need.RULES)


def test_system_without_threads_raises_environment_lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    thread = SupervisedThread("web", lambda: None, Need.NODE)
    with pytest.raises(EnvironmentLacking, match=r"no thread for web: raise its limit .*pids\.max"):
        thread.start()
    assert 1 == len(not_running(Need.NODE))
    thread.end()


def test_work_in_the_calling_thread_continues_after_an_exception_and_ends_with_a_reason() -> None:
    once = Failing(SystemExit(), 1)
    once.asked.set()
    SupervisedThread("the main loop", once, Need.RULES).run_here()
    assert 2 == once.runs
    forever = SupervisedThread("the main loop", Failing(MemoryError(), float("inf")), Need.RULES)
    try:
        with pytest.raises(KproxyError, match="the main loop ended unexpectedly 7 times"):
            forever.run_here()
    finally:
        forever.end()
