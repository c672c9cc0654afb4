"""Programs that get their input while it is still being made: real programs with every kind of end."""

import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from kproxy import process
from kproxy.errors import EnvironmentLacking, ProgramFailed

LINES = "a line of twenty char\n" * 100_000
"""More bytes than a pipe holds."""


def feed(command: Sequence[str], pieces: Iterable[str], *, timeout_s: float) -> None:
    """Write each piece as soon as it is made."""
    with process.feeding(command, timeout_s=timeout_s) as write:
        for piece in pieces:
            write(piece)


def test_program_gets_all_pieces_in_order_however_many_and_large(tmp_path: Path) -> None:
    got = tmp_path / "got"
    feed(["tee", str(got)], ["first\n", LINES, "", "last\n"], timeout_s=30)
    assert f"first\n{LINES}last\n" == got.read_text()


def test_next_piece_is_made_while_the_program_has_the_one_before(tmp_path: Path) -> None:
    got = tmp_path / "got"

    def pieces() -> Iterator[str]:
        yield "first\n"
        give_up_at = time.monotonic() + 10
        while not (got.exists() and got.read_text()) and time.monotonic() < give_up_at:
            time.sleep(0.005)
        yield f"saw {got.read_text()}"

    feed(["tee", str(got)], pieces(), timeout_s=30)
    assert "first\nsaw first\n" == got.read_text()


def test_program_that_fails_early_is_not_fed_any_more_and_its_stderr_is_kept() -> None:
    asked = 0

    def pieces() -> Iterator[str]:
        nonlocal asked
        for _ in range(1000):
            asked += 1
            yield LINES

    script = "read line; echo 'refused at line 2' >&2; exit 3"
    with pytest.raises(ProgramFailed) as failed:
        feed(["sh", "-c", script], pieces(), timeout_s=30)
    assert (3, "refused at line 2\n") == (failed.value.exit_code, failed.value.stderr)
    assert ">     2 a line" in failed.value.excerpt
    assert asked < 5


def test_named_line_is_shown_after_any_amount_of_input() -> None:
    lines = [f"line {number} of many, each as long as a rule\n" for number in range(1, 200_001)]
    script = "cat > /dev/null; echo 'line 199000 failed' >&2; exit 1"
    with pytest.raises(ProgramFailed) as failed:
        feed(["sh", "-c", script], lines, timeout_s=30)
    assert ">199000 line 199000 of many" in failed.value.excerpt
    assert 7 == len(failed.value.excerpt.splitlines())


def test_failure_after_the_last_piece_is_a_failure() -> None:
    with pytest.raises(ProgramFailed) as failed:
        feed(["sh", "-c", "cat > /dev/null; exit 2"], ["some\n"], timeout_s=30)
    assert failed.value.exit_code == 2


@pytest.mark.parametrize("pieces", [["short\n"], [LINES] * 3])
def test_program_that_does_not_read_or_does_not_end_is_killed_in_time(pieces: list[str]) -> None:
    with pytest.raises(ProgramFailed) as failed:
        feed(["sleep", "60"], pieces, timeout_s=0.2)
    assert (None, "killed after 0.2 s") == (failed.value.exit_code, failed.value.stderr)


@pytest.mark.parametrize("error", [ZeroDivisionError, BrokenPipeError, TimeoutError])
def test_piece_that_cannot_be_made_ends_the_program(tmp_path: Path, error: type[Exception]) -> None:
    told = tmp_path / "told"

    def pieces() -> Iterator[str]:
        yield "first\n"
        raise error

    with pytest.raises(error):
        feed(["sh", "-c", f"cat > /dev/null; sleep 1; touch {told}"], pieces(), timeout_s=5)
    assert not told.exists()


def test_program_that_succeeds_before_it_has_read_everything_has_failed() -> None:
    with pytest.raises(ProgramFailed) as failed:
        feed(["sh", "-c", "read line; exit 0"], [LINES] * 3, timeout_s=5)
    assert (0, "it ended before it had read everything") == (failed.value.exit_code, failed.value.stderr)


@pytest.mark.alone
def test_end_of_the_program_is_noticed_at_once(tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    late_s = []
    for _ in range(5):
        feed(["sh", "-c", f"cat > /dev/null; sleep 0.07; > {ended}"], ["some\n"], timeout_s=5)
        late_s.append(time.time() - ended.stat().st_mtime)
    assert min(late_s) < 0.015


def test_missing_program_is_given_no_piece() -> None:
    pieces = iter(["only\n"])
    with pytest.raises(EnvironmentLacking):
        feed(["no-such-program"], pieces, timeout_s=1)
    assert ["only\n"] == list(pieces)


@pytest.mark.parametrize(("number", "named"), [("SEGV", "SIGSEGV"), ("KILL", "SIGKILL"), ("40", "40")])
@pytest.mark.parametrize("fed", [False, True])
def test_program_that_dies_by_a_signal_is_reported_by_its_name_and_gives_no_verdict(
    number: str, named: str, fed: bool
) -> None:
    run = partial(feed, pieces=["some\n"], timeout_s=30) if fed else process.run
    with pytest.raises(ProgramFailed) as failed:
        run(["sh", "-c", f"kill -{number} $$"])
    assert str(failed.value).endswith(f"ended by signal {named}")
    assert not failed.value.is_verdict


@pytest.mark.parametrize(("exit_code", "is_verdict"), [(1, True), (139, True), (None, False), (-11, False)])
def test_program_that_ends_by_itself_gives_a_verdict(exit_code: int | None, is_verdict: bool) -> None:
    assert is_verdict == ProgramFailed("nft", exit_code, "").is_verdict


@pytest.mark.parametrize("element", ["", ".", "bin", "../here/bin"])
@pytest.mark.parametrize("where", ["{}:/usr/bin", "/usr/bin:{}"])
def test_program_in_a_relative_element_of_path_is_ignored_and_reported(
    element: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    program = here / element / "own-program"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(here)
    monkeypatch.setenv("PATH", where.format(element))
    assert process.find("own-program") is None
    with pytest.raises(EnvironmentLacking, match="own-program is not installed") as lacking:
        process.run(["own-program"])
    assert f"PATH has {element!r}, which is not an absolute path" in str(lacking.value)


def test_path_without_the_program_in_relative_elements_is_not_mentioned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", ":.:bin:/usr/bin")
    with pytest.raises(EnvironmentLacking, match="no-such-program is not installed; on Debian"):
        process.run(["no-such-program"])


def test_missing_path_variable_means_the_systems_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PATH")
    assert process.find("sh") is not None
