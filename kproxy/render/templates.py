"""The rule templates: found, compiled once, rendered strictly."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, TemplateSyntaxError

from kproxy.errors import EnvironmentLacking, InputError
from kproxy.ruleset.iptables import Render

_PACKAGE = Path(__file__).resolve().parents[1]
_PLACES = (_PACKAGE / "templates", _PACKAGE.parent / "templates")
"""Inside the package in a wheel, beside it in a source tree."""


def rule_templates(override: Path | None = None) -> Render:
    """A function that renders a template by name; a file in `override` wins over ours.

    A value that a template names and nobody gave is an error (StrictUndefined), never a blank in
    a rule. The function raises InputError for a template that cannot be rendered. EnvironmentLacking is raised when the installation holds no templates.
    """
    ours = next((place for place in _PLACES if (place / "iptables").is_dir()), None)
    if ours is None:
        raise EnvironmentLacking(
            f"kproxy's templates are neither in {_PLACES[0]} nor in {_PLACES[1]}; install kproxy again"
        )
    environment = Environment(
        loader=FileSystemLoader([*([override] if override else []), ours]),
        undefined=StrictUndefined,
        autoescape=False,  # rules are no HTML; what goes in was validated at decode
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )

    def render(name: str, values: dict[str, object]) -> str:
        try:
            return environment.get_template(name).render(values)
        except TemplateSyntaxError as wrong:
            raise InputError(f"{wrong.filename}, line {wrong.lineno}: {wrong.message}") from wrong
        except TemplateError as wrong:
            raise InputError(f"template {name}: {wrong.message}") from wrong

    return render
