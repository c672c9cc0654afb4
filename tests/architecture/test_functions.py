"""No function is too long to be read at once, unless its header says why: `def long_one():  # long: <reason>`."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCES = sorted((Path(__file__).parents[2] / "kproxy").rglob("*.py"))

MOST_LINES = 60
"""What a screen shows at once. Ruff counts statements and branches, but no lines."""

REASON = re.compile(r"# long: \w+( \S+){2,}$", re.MULTILINE)
"""A reason has at least three words."""


class Function(NamedTuple):
    name: str
    line: int
    lines: int
    has_reason: bool

    @property
    def is_long(self) -> bool:
        return self.lines > MOST_LINES


def functions(source: str) -> Iterator[Function]:
    """Each function and method, docstring included and decorators not; the reason stands in its header."""
    text = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            end = node.end_lineno or node.lineno
            header = text[node.lineno - 1 : max(node.lineno, node.body[0].lineno - 1)]
            has_reason = bool(REASON.search("\n".join(header)))
            yield Function(node.name, node.lineno, end - node.lineno + 1, has_reason)


@cache
def all_functions() -> list[tuple[str, Function]]:
    """The functions of kproxy, each with its place."""
    return [
        (f"{path}:{each.line}: {each.name} has {each.lines} lines", each)
        for path in SOURCES
        for each in functions(path.read_text())
    ]


def test_function_that_is_long_has_a_reason_in_its_header() -> None:
    assert [] == [place for place, each in all_functions() if each.is_long and not each.has_reason]


def test_reason_stands_only_where_a_function_is_long() -> None:
    assert [] == [place for place, each in all_functions() if each.has_reason and not each.is_long]


@pytest.mark.parametrize(
    ("header", "lines", "expected"),
    [
        pytest.param("def f():", MOST_LINES, (False, False), id="as long as may be"),
        pytest.param("def f():", MOST_LINES + 1, (True, False), id="one line more"),
        pytest.param("async def f():", MOST_LINES + 1, (True, False), id="async"),
        pytest.param("def f():  # long: a table of cases", MOST_LINES + 1, (True, True), id="with a reason"),
        pytest.param("def f():  # long: because", MOST_LINES + 1, (True, False), id="with no more than a word"),
        pytest.param("def f(\n    a,\n):  # long: a table of cases", MOST_LINES + 1, (True, True), id="at the end"),
    ],
)  # fmt: skip
def test_length_and_reason_of_a_function_are_read_from_its_text(
    header: str, lines: int, expected: tuple[bool, bool]
) -> None:
    body = ["    pass"] * (lines - len(header.splitlines()))
    (found,) = functions("\n".join([header, *body]))
    assert (lines, *expected) == (found.lines, found.is_long, found.has_reason)


def test_reason_in_the_body_does_not_count() -> None:
    body = ["    # long: a table of cases", *["    pass"] * MOST_LINES]
    (found,) = functions("\n".join(["def f():", "    pass", *body]))
    assert not found.has_reason


def test_method_is_a_function_of_its_own() -> None:
    source = "class C:\n    def f(self):\n        def g():\n            pass\n"
    assert ["f", "g"] == sorted(each.name for each in functions(source))


def test_sources_are_found() -> None:
    assert len(SOURCES) > 100
