"""Manifests that somebody edited badly: their objects are read or left out with a printable reason."""

from pathlib import Path

from hypothesis import event, example, given
from hypothesis import strategies as st

from kproxy.errors import InputError
from kproxy.sources.manifests import read
from kproxy.sources.yaml import load_documents

ROOT = Path(__file__).parents[2]
TEXTS = [
    path.read_text()
    for path in sorted([*ROOT.glob("examples/**/*.yaml"), *ROOT.glob("tests/regressions/*.yaml")])
]
WORDS = sorted({word for text in TEXTS for word in text.split()})
SIGNS = st.sampled_from(
    [
        *(
            "&a ",
            "*a",
            "&a [*a]",
            "<<: *a",
            "!!int ",
            "!!python/object:os.system ",
            "! ",
            "? ",
            "- ",
            "-- ",
            ": ",
        ),
        *(
            "{",
            "}",
            "[",
            "]",
            "|",
            ">-",
            "#",
            "%YAML 3.0",
            "---",
            "...",
            '"',
            "'",
            "\\",
            "@",
            "`",
            "\t",
            "\r",
            "\0",
        ),
        *(
            "~",
            ".nan",
            "0777",
            "0x",
            "1e999",
            "9" * 5000,
            "-1",
            "true",
            "\ufeff",
            "\u2028",
            "\x1b[31m",
            "\x85",
        ),
    ]
)
TOKENS = SIGNS | st.sampled_from(WORDS) | st.text(max_size=6)


def indented(line: str, by: int) -> str:
    return " " * by + line if by >= 0 else line[min(-by, len(line) - len(line.lstrip())) :]


@st.composite
def edited(draw: st.DrawFn) -> bytes:
    """A manifest of ours with a few lines gone, doubled, moved, indented otherwise, or with a token changed."""
    lines = draw(st.sampled_from(TEXTS)).split("\n")
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        line = lines[at]
        column = draw(st.integers(0, len(line)))
        token = draw(TOKENS)
        lines[at : at + 1] = draw(
            st.sampled_from(
                [
                    [],
                    [line, line],
                    [line, draw(st.sampled_from(lines))],
                    [indented(line, draw(st.integers(-4, 4)))],
                    [line[:column] + token + line[column:]],
                    [line[:column] + token],
                    [line.replace(draw(st.sampled_from(line.split() or [" "])), token, 1)],
                ]
            )
        )
        lines = lines or [""]
    return "\n".join(lines).encode(draw(st.sampled_from(["utf-8", "utf-8", "utf-16"])), "replace")


@given(edited())
@example(b"&a [*a]")
@example(b"kind: List\nitems: &a [{kind: List, items: *a}]")
def test_edited_manifest_is_read_or_left_out_with_its_reason(text: bytes) -> None:
    found = read([], stdin=text)
    event("left out" if found.rejections else "read")
    assert [] == [str(rejection) for rejection in found.rejections if not str(rejection).isprintable()]
    assert all(kind.isprintable() for kind in found.unknown)


@given(edited())
def test_edited_manifest_is_documents_or_one_refusal(text: bytes) -> None:
    try:
        lines = [document.line for document in load_documents(text)]
    except InputError as refused:
        said = str(refused)
    else:
        said = ""
        assert sorted(lines) == lines
    assert said.isprintable()
