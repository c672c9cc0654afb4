"""What all tests share: the check that network namespaces work, how Hypothesis searches, and the closing figures."""

import os
import subprocess
from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import Phase, settings

from namespaces import fresh_namespace
from seeds import DRAWN_SEED

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


_TOLD = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TOLD] = []


def pytest_report_header() -> str:
    return f"drawn seed: {DRAWN_SEED} (KPROXY_SEED={DRAWN_SEED} repeats it)"


@pytest.fixture(scope="session")
def tell(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Puts a line among the closing figures."""
    return pytestconfig.stash[_TOLD].append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash[_TOLD]:
        terminalreporter.section("figures")
        terminalreporter.write_line("\n".join(lines))


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
