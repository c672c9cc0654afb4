"""Shared by all tests: the order, the check for network namespaces, Hypothesis's profiles, the closing figures."""

import os
import subprocess
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from namespaces import fresh_namespace
from seeds import DRAWN_SEED
from shares import Rank, in_shares
from turns import turn

# The same examples at each run of CI, so that a failure there is the change's; new ones at each run elsewhere.
# A slow machine is no failure, so there is no deadline.
settings.register_profile("kproxy", deadline=None, derandomize=bool(os.environ.get("CI")), print_blob=True)
# For whom it is enough to know that something fails, as scripts/mutate.
settings.register_profile(
    "no-shrinking", settings.get_profile("kproxy"), phases=[Phase.explicit, Phase.generate]
)
# For scripts/fuzz: more of everything, and each seed's own.
settings.register_profile("fuzz", settings.get_profile("kproxy"), max_examples=1_000, derandomize=False)
settings.load_profile("kproxy")


_FIGURE = "figure"
_XTABLES_LOCK = Path(f"/run/kproxy-test-{os.getpid()}.lock")


def pytest_configure() -> None:
    """The processes of a run share the drawn seed, and must not share a lock file."""
    os.environ["KPROXY_SEED"] = str(DRAWN_SEED)
    # iptables-legacy has one lock for all network namespaces, so that it would find that of another process taken
    os.environ["XTABLES_LOCKFILE"] = str(_XTABLES_LOCK)


def pytest_unconfigure() -> None:
    with suppress(PermissionError):  # as somebody who is not root, and took no lock
        _XTABLES_LOCK.unlink(missing_ok=True)


def pytest_report_header() -> str:
    return f"drawn seed: {DRAWN_SEED} (KPROXY_SEED={DRAWN_SEED} repeats it)"


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Puts a line among the closing figures, from whichever process."""
    return partial(record_property, _FIGURE)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [each for listed in terminalreporter.stats.values() for each in listed]
    calls = [each for each in reports if isinstance(each, pytest.TestReport) and each.when == "call"]
    if lines := [line for call in calls for name, line in call.user_properties if name == _FIGURE]:
        terminalreporter.section("figures")
        terminalreporter.write_line("\n".join(map(str, lines)))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The order of a run in several processes; one process runs the tests in the order of their files."""
    if worker := getattr(config, "workerinput", None):  # which pytest-xdist gives to each process
        items[:] = in_shares(items, worker["workercount"], _rank)


def _rank(item: pytest.Item) -> Rank:
    ranks = {"alone": Rank.ALONE, "long": Rank.LONG, "netns": Rank.IN_A_NAMESPACE}
    return next((rank for name, rank in ranks.items() if item.get_closest_marker(name)), Rank.SHORT)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Before the timeout begins: a test waits for its turn where others run in other processes."""
    if not hasattr(item.config, "workerinput"):
        return (yield)
    with turn(alone=item.get_closest_marker("alone") is not None):
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail, never skip, what cannot run here: a test that nobody ran proves nothing."""
    if item.get_closest_marker("netns") and (lacking := _lacking_for_namespaces()):
        pytest.fail(lacking, pytrace=False)


@cache
def _lacking_for_namespaces() -> str:
    try:
        with fresh_namespace():
            return ""
    except FileNotFoundError as missing:
        return f"{missing.filename} is not installed; run scripts/setup"
    except subprocess.CalledProcessError as refused:
        return f"no network namespace can be made here ({refused.stderr.decode().strip()}); run scripts/test as root"
