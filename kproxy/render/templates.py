"""Finds the rule templates, compiles them once, and renders them strictly and in a sandbox."""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType

from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    TemplateNotFound,
    TemplateSyntaxError,
)
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from kproxy.errors import EnvironmentLacking, InputError
from kproxy.render.safety import require_safe
from kproxy.ruleset.inputs import Render

_PACKAGE = Path(__file__).resolve().parents[1]
_PLACES = (_PACKAGE / "templates", _PACKAGE.parent / "templates")
"""Inside the package in a wheel, beside the package in a source tree."""

MOST_CHARACTERS = 1 << 25
"""Characters of one rendering. Our longest, a flat chain of 100,000 Services, has two thirds of it.

A longer text can only come from a loop that nobody intended, and would fill the node's memory.
"""

_PIECES = 10_000
"""The number of pieces of text that are joined before their length is checked."""


def rule_templates(override: Path | None = None, mode: str = "") -> Render:
    """A function that renders a template by name.

    A file in `override` with the same relative path replaces our template.

    A value that a template uses and nobody gave is an error (StrictUndefined), never a blank in a rule. The function
    raises InputError with the file and the line for a template that cannot be rendered, for whatever reason; only a
    MemoryError of our own templates passes. `rule_templates` itself raises InputError for a directory that overrides no
    template, or none of `mode` if a mode is given, or that others may write; and EnvironmentLacking if the installation
    has no templates.
    """
    ours = next((place for place in _PLACES if (place / "iptables").is_dir()), None)
    if ours is None:
        raise EnvironmentLacking(
            f"kproxy's templates are neither in {_PLACES[0]} nor in {_PLACES[1]}; install kproxy again"
        )
    if override is not None:
        _require_overriding(override, ours, mode)
        require_safe(override)
    places = [*([override] if override else []), ours]
    trusted, guarded = _environment(Environment, [ours]), _environment(_Sandbox, places)
    theirs = {name for name in _names(ours) if override is not None and (override / name).is_file()}

    def render(name: str, values: dict[str, object]) -> str:
        try:
            if name in theirs:
                return _bounded(guarded.get_template(name).generate(values))
            return trusted.get_template(name).render(values)
        except TemplateSyntaxError as wrong:
            raise InputError(f"{wrong.filename}, line {wrong.lineno}: {wrong.message}") from wrong
        except Exception as wrong:
            if isinstance(wrong, MemoryError) and name not in theirs:
                raise  # memory is short: no template and no Service is at fault
            raise InputError(f"{_place(wrong, places, name)}: {_reason(wrong)}") from wrong

    return render


class _Sandbox(ImmutableSandboxedEnvironment):
    """A sandbox for templates of users, which run with our privileges.

    Templates see only values, and can change nothing.

    Our own templates run without the sandbox, which checks each access to a value and makes rendering four times
    slower.

    A rule needs no powers and no repeated texts, and a large power or repetition takes hours, or the whole memory.
    """

    intercepted_binops = frozenset({"**", "*"})

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        if operator == "**" or not isinstance(left, int | float) or not isinstance(right, int | float):
            raise InputError(f"{operator} is allowed only between numbers, and ** is not allowed")
        return super().call_binop(context, operator, left, right)


def _environment(kind: type[Environment], places: Sequence[Path]) -> Environment:
    return kind(
        loader=FileSystemLoader(places),
        undefined=StrictUndefined,
        autoescape=False,  # rules are not HTML; the values were validated when they were decoded
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )


def _bounded(pieces: Iterator[str]) -> str:
    texts: list[str] = []
    length = 0
    while some := list(islice(pieces, _PIECES)):
        texts.append("".join(some))
        length += len(texts[-1])
        if length > MOST_CHARACTERS:
            raise InputError(f"it makes more than {MOST_CHARACTERS} characters")
    return "".join(texts)


def _reason(wrong: Exception) -> str:
    if isinstance(wrong, TemplateNotFound):
        return f"there is no template {wrong.name}"
    said = " ".join(str(wrong).split())
    name = type(wrong).__name__
    is_plain = type(wrong).__module__.startswith("jinja2") or isinstance(wrong, InputError)
    return said if is_plain and said else f"{name}: {said}" if said else name


def _place(wrong: Exception, places: Iterable[Path], name: str) -> str:
    """The file and line of the innermost template that was running; the template's name if none was."""
    roots = tuple(f"{place}{os.sep}" for place in places)
    found = ""
    for file, line in _frames(wrong.__traceback__):
        if file.startswith(roots):
            found = f"{file}, line {line}"
    if found:
        return found
    holding = next((place / name for place in places if (place / name).is_file()), None)
    return str(holding or f"template {name}")


def _frames(traceback: TracebackType | None) -> Iterator[tuple[str, int]]:
    while traceback is not None:
        yield traceback.tb_frame.f_code.co_filename, traceback.tb_lineno
        traceback = traceback.tb_next


def _require_overriding(override: Path, ours: Path, mode: str) -> None:
    """Raise InputError for a file that overrides no template. Templates are found by their relative path."""
    names = _names(ours)
    for name in names:
        flat = override / Path(name).name
        if flat.is_file():
            raise InputError(
                f"{flat} overrides nothing: templates of the same name exist for each mode; move it to "
                f"{override / 'iptables' / flat.name} or {override / 'nftables' / flat.name}"
                if sum(Path(other).name == flat.name for other in names) > 1
                else f"{flat} overrides nothing; move it to {override / name}"
            )
    names = [name for name in names if name.startswith(mode)]
    if not any((override / name).is_file() for name in names):
        raise InputError(
            f"{override} overrides nothing{mode and f' in {mode} mode'}: it holds none of {', '.join(names)}; "
            "a template replaces ours if it has the same path there"
        )


def _names(ours: Path) -> list[str]:
    return sorted(str(file.relative_to(ours)) for file in ours.glob("*/*.j2"))
