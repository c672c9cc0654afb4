"""Makes text from outside fit for a message, a log and a terminal.

Letters of every script stay unchanged. Characters that could harm a terminal are escaped: controls, formats (also
those that change the direction of text), line ends, and separators other than the blank.
"""

import re

INDENT = "    "

_LONGEST_QUOTED = 80
"""Characters of a quoted value: more would hide the sentence around it."""

_LONGEST_LINE = 1000
"""Characters. An API server says less about one request, and a longer line would flood a log that repeats it."""

_PLAIN_WORD = re.compile(r"[A-Za-z]{0,63}")


def quoted(text: str) -> str:
    """The text in quotes, on one line, cut after 80 characters."""
    if len(text) <= _LONGEST_QUOTED:
        return repr(text)
    return f"{text[:_LONGEST_QUOTED]!r}... ({len(text)} characters)"


def printable(text: str, longest: int | None = None) -> str:
    """The text unchanged if it is printable and has at most `longest` characters, otherwise quoted."""
    return text if text.isprintable() and (longest is None or len(text) <= longest) else quoted(text)


def one_line(text: str) -> str:
    """The text on one line of at most 1000 characters, with single blanks; quoted if it is not printable."""
    line = " ".join(text.split())
    if not line.isprintable():
        return quoted(line)
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}... ({len(line)} characters)"


def escaped(text: str) -> str:
    """The whole text on one line, with each character escaped that is not printable."""
    return text if text.isprintable() else "".join(map(_escaped_character, text))


def indented(text: str) -> str:
    """A text with several lines on purpose: further lines are indented, so none looks like a line of the log."""
    return f"\n{INDENT}".join(map(escaped, text.split("\n")))


def plain_word(text: str) -> str:
    """The text in quotes if it looks like a kind of object or a type of event; other text is not shown."""
    return repr(text) if _PLAIN_WORD.fullmatch(text) else "something else"


def _escaped_character(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]
