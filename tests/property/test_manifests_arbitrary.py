"""Manifests that somebody edited badly: their objects are read or left out with a printable reason."""

from pathlib import Path

from hypothesis import event, example, given
from hypothesis import strategies as st

from kproxy.errors import InputError
from kproxy.model.silent import silences
from kproxy.sources.manifests import read
from kproxy.sources.yaml import load_documents
from kproxy.state.objects import Kind
from kproxy.state.store import Store

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
            "\u202e",
        ),
        *(
            "[" * 150,
            "[" * 5000,
            "]" * 150,
            "- " * 200,
            "{a: " * 120,
            "...",
            "%TAG ! tag:x",
            "\n---\n",
            "\n...\n",
        ),
        *("kind: Servce", "externalIP: [x]", "nodePorts: 1", "clusterIP: None", "name: null", "labels: {}"),
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
    store = Store()
    for kind in Kind:
        store.apply(found.listed(kind))
    silent = silences(store, [*store.services, *store.services_of_slices()])
    told = [*map(str, found.rejections), *found.sentences(), *map(str, silent)]
    assert [] == [sentence for sentence in told if not sentence.isprintable()]


SURVIVOR = (
    "apiVersion: v1\nkind: Service\nmetadata: {{name: survivor-{name}}}\n"
    "spec: {{clusterIP: 10.96.9.9, ports: [{{port: 80}}]}}\n"
)


@given(edited(), st.binary(max_size=3), st.data())
def test_document_set_apart_from_an_edited_one_is_always_used(
    text: bytes, noise: bytes, data: st.DataObject
) -> None:
    is_utf_16 = text.startswith((b"\xff\xfe", b"\xfe\xff"))
    encoding = "utf-16-le" if is_utf_16 else "utf-8"
    if not is_utf_16:
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + noise + text[at:]
    before, behind = (SURVIVOR.format(name=name) for name in "ab")
    whole = [
        b"\xff\xfe" if is_utf_16 else b"",
        f"{before}---\n".encode(encoding),
        text.removeprefix(b"\xff\xfe"),
        f"\n...\n---\n{behind}".encode(encoding),
    ]
    found = read([], stdin=b"".join(whole))
    event("left out" if found.rejections else "read")
    assert {"survivor-a", "survivor-b"} <= {one.key.name for one in found.objects[Kind.SERVICE]}


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
