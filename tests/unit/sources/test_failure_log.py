"""An outage in the log: one line for all kinds, and one line per kind when the server is back."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kproxy.client.connection import connect
from kproxy.errors import ApiFailed
from kproxy.sources.failure_log import FailureLog
from kproxy.sources.kube import KubeSource
from kproxy.sources.timing import Timing
from stubapi import StubApi

BOUND_S = 20.0
PACE = Timing(backoff_first_s=0.2, backoff_base_s=0.2, backoff_cap_s=0.3)


def refused(status: int, text: str = "") -> ApiFailed:
    return ApiFailed(text or f"answers {status}", status=status)


@pytest.mark.parametrize(
    ("first", "second", "is_new"),
    [
        (ApiFailed("it is away"), ApiFailed("it is away"), False),
        (ApiFailed("it is away"), ApiFailed("it is another"), True),
        (refused(401, "to list services"), refused(401, "to list nodes"), False),
        (refused(503, "to list services"), refused(503, "to list nodes"), False),
        (refused(403, "to list services"), refused(403, "to list nodes"), True),
        (refused(429, "to list services"), refused(429, "to list nodes"), True),
    ],
)
def test_cause_that_another_kind_has_just_logged_is_not_new(
    first: Exception, second: Exception, *, is_new: bool
) -> None:
    told = FailureLog(lambda: 0.0)
    assert told.is_new("services", first)
    assert is_new == told.is_new("nodes", second)


def test_cause_is_new_to_its_first_kind_and_to_all_once_it_is_old() -> None:
    now_s = [0.0]
    told = FailureLog(lambda: now_s[0])
    away = ApiFailed("it is away")
    assert told.is_new("services", away)
    assert told.is_new("services", away)
    now_s[0] = 9.9
    assert not told.is_new("nodes", away)
    now_s[0] = 10.0
    assert told.is_new("nodes", away)


def said(caplog: pytest.LogCaptureFixture, level: int, text: str) -> list[str]:
    return [
        each.getMessage() for each in caplog.records if each.levelno == level and text in each.getMessage()
    ]


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BOUND_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_outage_is_logged_by_one_kind_and_its_end_by_each(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "kproxy")
    with StubApi() as api:
        path = api.write_kubeconfig(tmp_path / "kubeconfig")
        source = KubeSource(lambda: connect(path), lambda _: None, node_name="node-1", timing=replace(PACE))
        source.start()
        for kind in ("Service", "EndpointSlice", "Node"):
            api.wait_for_streams(kind, 1)
        api.unreachable()
        wait_until(lambda: len(said(caplog, logging.DEBUG, "cannot be reached")) >= 4)
        warned = {each.partition(":")[0] for each in said(caplog, logging.WARNING, "cannot be reached")}
        api.reachable()
        wait_until(lambda: len(said(caplog, logging.INFO, "the server answers again, watching on from")) >= 3)
        source.stop()
    assert 1 == len(warned)
