"""The rules of another mode go in the background once ours stand, and are tried again until they are gone."""

import threading
from collections.abc import Callable
from collections.abc import Set as AbstractSet

import pytest

from facts import a_view
from kproxy.agent.mode_change import ModeChange
from kproxy.agent.proxy import SyncReport
from kproxy.errors import KproxyError, ProgramFailed
from kproxy.model.settings import Settings
from kproxy.ruleset.inputs import Circumstances
from kproxy.state.store import Store
from kproxy.values import Family, NamespacedName

BOUND_S = 10.0
REFUSED = ProgramFailed("iptables-restore", -11, "", signal="SIGSEGV")


class ScriptedProxy:
    """One whose syncs fail or succeed as told."""

    family = Family.IPV4

    def __init__(self, *errors: ProgramFailed | None) -> None:
        self._errors = iter(errors)

    def sync(
        self, _store: Store, _dirty: AbstractSet[NamespacedName], _now: Circumstances, *, verify: bool
    ) -> SyncReport:
        del verify
        return SyncReport(0, 0, 0, 0, 0.0, 0.0, next(self._errors))

    def record(self) -> None: ...


class Removals:
    """Each ends as told; `wait` until as many have."""

    def __init__(self, *ends: Exception | None) -> None:
        self._ends = iter(ends)
        self.count = 0
        self._done = threading.Condition()

    def __call__(self, _family: Family) -> None:
        with self._done:
            self.count += 1
            self._done.notify_all()
        if failed := next(self._ends):
            raise failed

    def wait(self, count: int) -> None:
        with self._done:
            assert self._done.wait_for(lambda: self.count >= count, BOUND_S)
        for thread in threading.enumerate():
            if thread.name.startswith("end-other-mode"):
                thread.join(BOUND_S)


def syncing(successor: ModeChange) -> Callable[[bool], None]:
    circumstances = Circumstances(a_view(), Settings())
    return lambda verify: void(successor.sync(Store(), set(), circumstances, verify=verify))


def void(_: object) -> None: ...


def test_nothing_is_removed_before_the_first_success_and_all_once_after_it() -> None:
    removals = Removals(None)
    sync = syncing(ModeChange(ScriptedProxy(REFUSED, None, None, None), removals))
    sync(True)
    assert removals.count == 0
    sync(False)
    removals.wait(1)
    sync(True)
    sync(False)
    assert removals.count == 1


@pytest.mark.parametrize("failed", [KproxyError("a lock is held"), MemoryError(), RecursionError()])
def test_removal_that_fails_is_told_once_and_tried_again_with_each_look_until_it_succeeds(
    failed: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    removals = Removals(failed, failed, None)
    sync = syncing(ModeChange(ScriptedProxy(*[None] * 6), removals))
    sync(False)
    removals.wait(1)
    sync(False)
    assert removals.count == 1
    for count in (2, 3):
        sync(True)
        removals.wait(count)
    sync(True)
    assert removals.count == 3
    assert caplog.text.count("rules of another mode or variant stay beside ours") == 1
