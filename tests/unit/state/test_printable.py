"""Messages show text that others wrote in a safe form."""

import pytest

from kproxy.state.printable import quoted


@pytest.mark.parametrize("text", ["web", "café", "服务", "служба", "خدمة", "naïve-🐙"])
def test_letters_of_every_script_are_shown_unchanged(text: str) -> None:
    assert f"'{text}'" == quoted(text)


@pytest.mark.parametrize(
    ("name", "character"),
    {
        "newline": "\n",
        "escape": "\x1b",
        "next line": "\x85",
        "soft hyphen": "\u00ad",
        "zero width space": "\u200b",
        "right-to-left override": "\u202e",
        "right-to-left isolate": "\u2067",
        "line separator": "\u2028",
        "no-break space": "\u00a0",
        "byte order mark": "\ufeff",
        "tag": "\U000e0041",
        "private use": "\ue000",
        "half of a pair": "\ud800",
    }.items(),
)
def test_characters_that_could_harm_a_terminal_are_escaped(name: str, character: str) -> None:
    shown = quoted(f"é{character}x")
    assert character not in shown, name
    assert shown.isprintable()
    assert shown.startswith("'é\\")


def test_long_text_is_cut_and_its_length_shown() -> None:
    assert f"'{'é' * 80}'... (81 characters)" == quoted("é" * 81)
