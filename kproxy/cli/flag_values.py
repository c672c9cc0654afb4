"""The values of kube-proxy's flags: numbers, lists and pairs, in the forms that Go programs accept."""

from collections.abc import Sequence
from typing import Any

import click

from kproxy.errors import InputError


class Verbosity(click.ParamType[int]):
    """A number, also in the form that Go programs accept: `-v=2`."""

    name = "level"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).removeprefix("=")
        if not text.isdecimal():
            self.fail(f"{value!r} is not a number; write -v=2", param, ctx)
        return int(text)


def words(_context: click.Context, _option: click.Parameter, values: Sequence[str]) -> list[str] | None:
    """The values of a flag that may be repeated, and whose values may be joined by commas."""
    return [word.strip() for value in values for word in value.split(",") if word.strip()] if values else None


def gates(context: click.Context, option: click.Parameter, values: Sequence[str]) -> dict[str, bool] | None:
    found = words(context, option, values)
    return None if found is None else dict(_gate(word) for word in found)


def _gate(word: str) -> tuple[str, bool]:
    name, _, value = word.partition("=")
    if value.lower() not in ("true", "false"):
        raise InputError(f"--feature-gates: {word!r} is neither true nor false; write {name}=true")
    return name, value.lower() == "true"


def modules(context: click.Context, option: click.Parameter, values: Sequence[str]) -> list[object] | None:
    found = words(context, option, values)
    return None if found is None else [_module(word) for word in found]


def _module(word: str) -> dict[str, object]:
    pattern, _, level = word.partition("=")
    if not (pattern and level.isdecimal()):
        raise InputError(f"--vmodule: {word!r} is not a pattern with a level; write loop=4")
    return {"filePattern": pattern, "verbosity": int(level)}


def version(context: click.Context, option: click.Parameter, value: str | None) -> bool:
    """Whether to print the version. kproxy treats `raw` as true."""
    return value == "raw" or bool(click.BOOL(value, option, context))
