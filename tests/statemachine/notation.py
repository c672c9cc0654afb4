"""Scenarios written as the Python that makes them, so that a failure can be read, kept and played again."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum


def written(value: object) -> str:
    """The expression for a value made of dataclasses, enums, tuples and plain values; defaults are left out."""
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    if is_dataclass(value) and not isinstance(value, type):
        return f"{type(value).__name__}({', '.join(_arguments(value))})"
    if isinstance(value, tuple):
        inside = ", ".join(map(written, value))
        if hasattr(value, "_fields"):
            return f"{type(value).__name__}({inside})"
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    return repr(value)


def _arguments(value: object) -> Iterator[str]:
    for each in fields(value):  # type: ignore[arg-type] # the caller knows it for a dataclass
        held = getattr(value, each.name)
        if held != each.default:
            yield f"{each.name}={written(held)}"
