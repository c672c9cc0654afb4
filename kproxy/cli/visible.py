"""Text as a terminal or a log may show it: the last line of defence against what others put into our sentences."""

INDENT = "    "


def on_one_line(text: str) -> str:
    """The text with what no terminal should see as escapes: line ends, controls, formats, and separators but blanks."""
    return text if text.isprintable() else "".join(map(_visible, text))


def indented(text: str) -> str:
    """Lines of a text that has several on purpose: none but the first can be taken for one of the log."""
    return f"\n{INDENT}".join(map(on_one_line, text.split("\n")))


def _visible(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]
