"""Field names of a kubeconfig that look misspelled. client-go ignores them, although somebody meant another field."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from itertools import islice
from typing import Any, Final

from msgspec import Struct, structs

from kproxy.client.kubeconfig.fields import Cluster, Context, Exec, File, User
from kproxy.state.printable import printable, quoted

_ALIKE = 0.75
"""How alike two names must be, by difflib. A field that is only for another tool is no reason for a warning."""

_LONGEST_NAME = 40
"""Characters. No field is longer, and the time to compare two names is the product of their lengths."""

_MOST_REPORTED = 10
"""Sentences. They show somebody who has more misspelled names where to look."""

_ENTRIES: Final[dict[str, tuple[str, type[Struct]]]] = {
    "clusters": ("cluster", Cluster),
    "users": ("user", User),
    "contexts": ("context", Context),
}
_SEPARATORS = re.compile(r"[-_ ]")


def misspelled_fields(data: object) -> list[str]:
    """One sentence for each misspelled name, without values. `data` is a file that was decoded without error."""
    return list(islice(_all_misspelled(data), _MOST_REPORTED))


def _all_misspelled(data: object) -> Iterator[str]:
    if not isinstance(data, dict):
        return
    yield from _unknown(data, File, "")
    for entries, (field, shape) in _ENTRIES.items():
        for at, entry in enumerate(data.get(entries) or []):
            if not isinstance(entry, dict):
                continue
            name = entry.get("name")
            place = f"{entries}[{at}]{f' {quoted(name)}' if name else ''}: "
            yield from _unknown(entry.get(field), shape, place)
            if shape is User:
                yield from _unknown((entry.get(field) or {}).get("exec"), Exec, f"{place}exec.")


def _unknown(data: Any, shape: type[Struct], place: str) -> Iterator[str]:
    if not isinstance(data, dict):
        return
    known = {_plain(field.encode_name): field.encode_name for field in structs.fields(shape)}
    for name in [each for each in data if isinstance(each, str) and each not in known.values()]:
        near = get_close_matches(_plain(name), known, 1, _ALIKE) if len(name) <= _LONGEST_NAME else []
        if near and known[near[0]] not in data:
            yield (
                f"{place}{printable(name)}: there is no such field, "
                f"so it is ignored; did you mean {known[near[0]]}?"
            )


def _plain(name: str) -> str:
    """The name without the differences between snake_case, camelCase and kebab-case."""
    return _SEPARATORS.sub("", name).lower()
