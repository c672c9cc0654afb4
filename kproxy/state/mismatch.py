"""Rewrites msgspec's sentences about values of a wrong type in plain words."""

import re
from typing import Final

_MISMATCH = re.compile(r"Expected `(?P<wanted>[^`]+)`, got `(?P<found>[^`]+)`")
_WORDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}
_UNQUOTED: Final = frozenset({"int", "float", "bool"})


def in_plain_words(sentence: str) -> str:
    """The sentence with `Expected `int`, got `str`` rewritten as: must be a whole number, and is text."""
    return _MISMATCH.sub(_rewritten, sentence)


def _rewritten(mismatch: re.Match[str]) -> str:
    wanted, found = mismatch["wanted"].removesuffix(" | null"), mismatch["found"]
    text = f"must be {_WORDS.get(wanted, wanted)}, and is {_WORDS.get(found, found)}"
    if wanted == "str" and found in _UNQUOTED:
        return f"{text}; write it in quotes"
    return f"{text}; write it without quotes" if found == "str" and wanted in _UNQUOTED else text
