"""Text as a terminal or a log may show it: the last defence against text from outside in our sentences."""

INDENT = "    "


def on_one_line(text: str) -> str:
    """The text on one line. Line ends, controls, formats, and separators other than blanks are escaped."""
    return text if text.isprintable() else "".join(map(_visible, text))


def indented(text: str) -> str:
    """A text with several lines on purpose.

    All lines after the first are indented, so none looks like a line of the log.
    """
    return f"\n{INDENT}".join(map(on_one_line, text.split("\n")))


def _visible(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]
