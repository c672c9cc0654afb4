"""Parts of the documentation that are drawn from the code: compared, or, as a program, renewed.

A document holds a drawing between `<!-- drawn: NAME -->` and `<!-- end -->`.
"""

import ast
import inspect
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from kproxy.observed import states
from kproxy.observed.states import TRANSITIONS, Event, State

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("docs/architecture.md", "docs/decisions/README.md")
_DRAWING = re.compile(r"(<!-- drawn: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def redrawn(text: str) -> str:
    """The text with every drawing as it comes out now; KeyError for a drawing that nobody can make."""
    return _DRAWING.sub(lambda match: f"{match[1]}\n{_DRAWINGS[match[2]]()}\n{match[3]}", text)


def layers() -> list[list[str]]:
    """The layers of the contract in pyproject.toml, the highest first; each with the folders that are side by side."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    found = [each for each in contracts if each["type"] == "layers" and each["containers"] == ["kproxy"]]
    assert 1 == len(found), "one contract has the layers of the whole package"
    return [[part.strip() for part in layer.split("|")] for layer in found[0]["layers"]]


def pure() -> frozenset[str]:
    """The folders that the contract on the core names."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    found = [each for each in contracts if "subprocess" in each.get("forbidden_modules", ())]
    assert 1 == len(found), "one contract keeps the core pure"
    return frozenset(module.removeprefix("kproxy.") for module in found[0]["source_modules"])


def _draw_layers() -> str:
    core = pure()
    rows = [" | ".join(layer) for layer in layers()]
    width = max(map(len, rows))
    line = f"+-{'-' * width}-+\n"
    drawn = [
        f"| {row:<{width}} |{'  pure' if core.issuperset(layer) else ''}\n"
        for row, layer in zip(rows, layers(), strict=True)
    ]
    return f"```text\n{line}{line.join(drawn)}{line}```\n"


def _draw_states() -> str:
    """A state a row, an event a column; the cell is the state that follows."""
    rows = [[f"`{state}`", *(_after(state, event) for event in Event)] for state in State]
    return "".join(_table(["state", *(f"`{event}`" for event in Event)], rows))


def _after(state: State, event: Event) -> str:
    after = TRANSITIONS[state].get(event)
    if after is None:
        return "cannot happen"
    return "stays" if after is state else str(after)


def _draw_state_diagram() -> str:
    """Each pair of states once, with all events that lead from one to the other; events that change nothing are left out."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.UNREAD}"]
    for state in State:
        by_end: dict[State, list[str]] = {}
        for event, end in TRANSITIONS[state].items():
            if end is not state:
                by_end.setdefault(end, []).append(event.replace("_", " "))
        lines += [f"    {state} --> {end}: {', '.join(sorted(events))}" for end, events in by_end.items()]
    return "```mermaid\n" + "\n".join(lines) + "\n```\n"


def _draw_state_words() -> str:
    """Each state with its meaning, from the docstring of the module."""
    told = re.findall(
        r"^- ([A-Z]+): (.*?)(?=\n- |\n\n)", inspect.getdoc(states) or "", re.MULTILINE | re.DOTALL
    )
    meanings = {State[name]: _sentence(text) for name, text in told}
    return "".join(_table(["state", "means"], [[f"`{state}`", meanings[state]] for state in State]))


def _sentence(text: str) -> str:
    return " ".join((text[0].upper() + text[1:]).split())


def _draw_event_words() -> str:
    """Each event with its meaning, from the text that follows it in the class."""
    (shape,) = ast.parse(inspect.getsource(Event)).body
    assert isinstance(shape, ast.ClassDef)
    meanings = {
        name.targets[0].id: _sentence(str(text.value.value))
        for name, text in pairwise(shape.body)
        if isinstance(name, ast.Assign) and isinstance(name.targets[0], ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }
    return "".join(_table(["event", "means"], [[f"`{event}`", meanings[event.name]] for event in Event]))


def _draw_decisions() -> str:
    """Each decision record by its number, with its title as a link."""
    rows = []
    for path in sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md")):
        head = path.read_text().splitlines()[0]
        number = str(int(path.name[:4]))
        assert head.startswith(f"# {number}. "), f"{path.name} must begin with '# {number}. ' and its title"
        title = head.removeprefix(f"# {number}. ")
        rows.append([number, f"[{title}]({path.name})"])
    return "".join(_table(["number", "decision"], rows))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(row)} |\n"


_DRAWINGS: dict[str, Callable[[], str]] = {
    "layers": _draw_layers,
    "states": _draw_states,
    "state_words": _draw_state_words,
    "event_words": _draw_event_words,
    "state_diagram": _draw_state_diagram,
    "decisions": _draw_decisions,
}


if __name__ == "__main__":
    for document in DOCUMENTS:
        path = ROOT / document
        path.write_text(redrawn(path.read_text()))
