"""Lines of the log: text from outside cannot forge a line or clear a terminal."""

import json
import logging
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.cli.inputs import tell
from kproxy.cli.logs import formatter
from kproxy.configuration.schema import LogFormat
from kproxy.errors import ProgramFailed

FORGED = "2026-11-27 12:00:00,000 ERROR kproxy.agent.loop: forged"
HOSTILE = [
    f"x\n{FORGED}",
    f"x\r{FORGED}",
    f"x\r\n{FORGED}",
    f"x\x0b{FORGED}",
    f"x\x85{FORGED}",
    f"x\u2028{FORGED}",
    "x\x1b[2J\x1b[1;1H",
    "x\x9b2J",
    "x\x00\x07\x08\x7f",
    "x\u202edegrof",
    "x\ud800",
]

Written = Callable[..., str]


@pytest.fixture(params=LogFormat)
def written(request: pytest.FixtureRequest) -> Written:
    def write(template: str, *arguments: object, failed: BaseException | None = None) -> str:
        cause = (type(failed), failed, failed.__traceback__) if failed else None
        record = logging.LogRecord("kproxy.test", logging.ERROR, __file__, 7, template, arguments, cause)
        text: str = formatter(request.param).format(record)
        return text

    return write


def assert_is_one_record(text: str) -> None:
    """Further lines are indented, and no line has a character that a terminal or another tool reads as a line end."""
    lines = text.split("\n")
    assert all(line.isprintable() for line in lines)
    assert all(line.startswith("    ") for line in lines[1:])
    assert not lines[0].startswith(" ")


@pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)
def test_text_from_outside_stays_on_the_line_of_its_record(written: Written, hostile: str) -> None:
    text = written("a server says: %s", hostile)
    assert_is_one_record(text)
    assert "\n" not in text
    assert "a server says: x" in text


@pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)
def test_text_from_outside_in_an_exception_forges_no_line(written: Written, hostile: str) -> None:
    text = written("a defect", failed=raised(hostile))
    assert_is_one_record(text)
    assert "a defect" in text
    assert "ValueError: x" in text


def raised(text: str) -> BaseException:
    """An exception with a traceback."""
    try:
        int(text)
    except ValueError:
        failed = sys.exception()
        assert failed
        failed.args = (text,)
        return failed
    raise AssertionError


@pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)
def test_text_from_outside_in_the_template_of_a_record_forges_no_line(written: Written, hostile: str) -> None:
    text = written(hostile)
    assert_is_one_record(text)
    assert "\n" not in text


@given(st.text(), st.sampled_from(LogFormat))
def test_any_text_is_one_printable_line(words: str, chosen: LogFormat) -> None:
    record = logging.LogRecord("kproxy.test", logging.ERROR, __file__, 7, "it says: %s", (words,), None)
    text = formatter(chosen).format(record)
    assert text.isprintable()
    assert text.encode()
    if words.isprintable() and chosen is LogFormat.TEXT:
        assert text.endswith(f"it says: {words}")


def test_error_of_a_program_that_quotes_its_input_has_indented_lines(written: Written) -> None:
    failed = ProgramFailed("iptables-restore", 1, f"line 2 failed\n{FORGED}\x1b[2J", "1: *nat\n2: -A X")
    text = written("%s: not applied: %s", "IPv4", failed)
    assert_is_one_record(text)
    if text.startswith("{"):
        assert str(failed) == json.loads(text)["msg"].removeprefix("IPv4: not applied: ")
    else:
        assert text.endswith(f"\n    {FORGED}\\x1b[2J\n    1: *nat\n    2: -A X")


def test_letters_of_every_script_stay_unchanged() -> None:
    record = logging.LogRecord("kproxy.test", logging.INFO, __file__, 7, "größer 東京 ☂ ß", (), None)
    assert formatter(LogFormat.TEXT).format(record).endswith(" INFO kproxy.test: größer 東京 ☂ ß")


@pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)
def test_remark_at_the_terminal_has_no_control_characters(
    capsys: pytest.CaptureFixture[str], hostile: str
) -> None:
    tell(f"{hostile} is ignored")
    assert_is_one_record(capsys.readouterr().err.removesuffix("\n"))
