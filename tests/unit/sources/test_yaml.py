"""The meaning of YAML text, and its traps: they end as text, or are refused with line and column."""

import time

import pytest

from kproxy.errors import InputError
from kproxy.sources.yaml import load_documents, read_documents
from kproxy.sources.yaml_builder import Document, Unreadable


def value_of(text: str) -> object:
    return load_documents(f"v: {text}\n".encode())[0].data


@pytest.mark.parametrize("text", ["no", "yes", "on", "off", "No", "y", "n", "Y", "NO"])
def test_words_of_yaml_1_1_for_booleans_stay_text(text: str) -> None:
    assert {"v": text} == value_of(text)


LOOK_LIKE_NUMBERS = "0777 -012 1_000 0b11 00.5 0x 1e + . .inf .nan 1:30 190:20:30"
LOOK_LIKE_DATES_OR_ADDRESSES = "2024-01-01 2024-01-01T00:00:00Z 10.96.0.10 1.2.3 fd00::1 10.0.0.0/8 None ="


@pytest.mark.parametrize("text", f"{LOOK_LIKE_NUMBERS} {LOOK_LIKE_DATES_OR_ADDRESSES}".split())
def test_plain_text_that_looks_like_another_type_stays_text(text: str) -> None:
    assert {"v": text} == value_of(f'"{text}"') == value_of(text)


def test_number_that_is_too_long_stays_text() -> None:
    assert {"v": "9" * 5000} == value_of("9" * 5000)


WORDS = {"true": True, "True": True, "FALSE": False, "null": None, "~": None, "": None}
NUMBERS = {"80": 80, "-7": -7, "+7": 7, "0": 0, "0x1F": 31, "0o17": 15}
FLOATS = {"1.5": 1.5, "-0.25": -0.25, "1e3": 1000.0, "2.": 2.0, ".5": 0.5}
QUOTED = {"'80'": "80", '"true"': "true", "'~'": "~", '""': "", "|-\n  80": "80"}


@pytest.mark.parametrize(("text", "expected"), (WORDS | NUMBERS | FLOATS | QUOTED).items())
def test_scalar_has_its_yaml_1_2_core_value(text: str, expected: object) -> None:
    found = value_of(text)
    assert {"v": expected} == found
    assert isinstance(found, dict)
    assert type(expected) is type(found["v"])


def test_documents_come_with_the_line_of_their_first_value_and_without_the_empty_ones() -> None:
    text = b"# first\n---\na: 1\n---\n# nothing\n---\n\n- b\n...\n"
    assert [Document(3, {"a": 1}), Document(8, ["b"])] == load_documents(text)


def test_keys_are_text_whatever_they_look_like() -> None:
    assert {"1": "a", "true": "b", "null": "c"} == load_documents(b"1: a\ntrue: b\nnull: c\n")[0].data


def test_alias_repeats_the_value_of_its_anchor() -> None:
    text = b"a: &ports [{port: 80}]\nb: *ports\nc: &n 5\nd: [*n, *n]\n"
    assert {"a": [{"port": 80}], "b": [{"port": 80}], "c": 5, "d": [5, 5]} == load_documents(text)[0].data


def billion_laughs(levels: int) -> str:
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{at}: &l{at} [{', '.join([f'*l{at - 1}'] * 10)}]" for at in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "part_of_reason"),
    [
        ("a: x\x07\n", "line 1, column 5: the character U+0007 is not allowed in YAML"),
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1: the key 'a' stands here a second time"),
        ("a: {x: 1, x: 2}\n", "line 1, column 11: the key 'x'"),
        ("a: &a {x: 1}\nb:\n  <<: *a\n", "line 3, column 3: merge keys"),
        ("a: !!python/object/apply:os.system ['true']\n", "line 1, column 4: the tag"),
        ("a: !Ref x\n", "the tag '!Ref' is refused"),
        ("a: !!timestamp 2024-01-01\n", "the tag"),
        ("a: ! x\n", "the tag '!' is refused"),
        ("? [a]\n: 1\n", "a key that is a mapping or a list is refused"),
        ("a: &k x\n*k : 1\n", "an alias as a key is refused"),
        ("&k a: 1\n", "an anchor on a key is refused"),
        ("a: *nowhere\n", "line 1, column 4: the alias *nowhere"),
        ("a: &a [*a]\n", "the alias *a has no complete &a before it"),
        ("a: &a 1\n---\nb: *a\n", "line 3, column 4: the alias *a"),
        (billion_laughs(9), "aliases repeat more than 100000 values"),
        ("[" * 5000 + "]" * 5000, "nested deeper than 100 levels"),
        ("- " * 5000, "nested deeper than 100 levels"),
        ("{a: " * 5000 + "}" * 5000, "nested deeper than 100 levels"),
        ("a: [1, 2\n", "line 2, column 1: while parsing a flow sequence"),
        ("a:\n\tb: 1\n", "line 2, column 1: while scanning for the next token"),
        ("a:\n\tb: 1\n", "indent with blanks, not with tabs"),
        ("a:\n  b: 1\n \tc: 1\n", "indent with blanks, not with tabs"),
        ("a: 'x\n", "while scanning a quoted scalar"),
        ("a: \x00\n", "line 1, column 4: the character U+0000 is not allowed"),
        ("a: b: c\n", "line 1, column 5: mapping values are not allowed"),
    ],
)
def test_yaml_that_cannot_be_trusted_is_refused_with_its_place(text: str, part_of_reason: str) -> None:
    with pytest.raises(InputError) as refused:
        load_documents(text.encode())
    assert part_of_reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_nesting_that_would_take_a_minute_to_read_is_refused_at_once() -> None:
    began = time.monotonic()
    (found,) = read_documents(b"a: " + b"[" * 100_000 + b"]" * 100_000)
    assert Unreadable("line 1, column 10103: nested deeper than 10000 levels; flatten it") == found
    assert time.monotonic() - began < 10


def test_text_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(
        InputError, match="line 2, column 4: the text is not UTF-8: it has the byte 0xff; save it as UTF-8"
    ):
        load_documents(b"a: 1\nb: \xff\xfe\xfd\n")


def test_nesting_as_deep_as_real_objects_is_read() -> None:
    assert [[]] == [one.data for one in load_documents(b"[]")]
    deep = load_documents(b"[" * 99 + b"]" * 99)[0].data
    levels = 0
    while deep:
        assert isinstance(deep, list)
        deep, levels = deep[0], levels + 1
    assert 98 == levels


FAULTS = {
    "key twice": "a: 1\na: 2",
    "tag": "a: !Ref x",
    "alias": "a: *nowhere",
    "merge": "a: &a {x: 1}\nb: {<<: *a}",
    "too many aliases": billion_laughs(9),
    "list unclosed": "a: [1",
    "quote unclosed": "a: 'x",
    "tab": "a:\n\tb: 1",
    "mapping in a mapping": "a: b: c",
    "control character": "a: \x07",
    "two in one": "{a: 1}\nb: 2",
    "list too deep and unclosed": "[" * 5000,
    "so deep that reading takes long": "[" * 100_000 + "]" * 100_000,
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("fault", FAULTS)
def test_document_that_cannot_be_read_affects_only_itself(fault: str, encoding: str) -> None:
    text = f"before: 1\n---\n{FAULTS[fault]}\n---\nafter: 2\n--- # and\nlast: 3\n"
    before, bad, *behind = read_documents(text.encode(encoding))
    lines = FAULTS[fault].count("\n")
    assert Document(1, {"before": 1}) == before
    assert isinstance(bad, Unreadable)
    assert [Document(lines + 5, {"after": 2}), Document(lines + 7, {"last": 3})] == behind


def test_document_that_is_not_utf_8_affects_only_itself() -> None:
    bad = Unreadable("line 3, column 6: the text is not UTF-8: it has the byte 0xe9; save it as UTF-8")
    assert [Document(1, {"a": 1}), bad, Document(5, {"c": 3})] == read_documents(
        b"a: 1\n---\nb: caf\xe9\n---\nc: 3\n".replace(b"caf", b"ca")
    )


def test_directive_that_cannot_be_read_affects_only_its_document() -> None:
    text = b"a: 1\n...\n%YAML 3.0\n# for the next\n---\nb: 2\n...\n---\nc: 3\n"
    assert [
        Document(1, {"a": 1}),
        Unreadable("line 3, column 1: found incompatible YAML document"),
        Document(9, {"c": 3}),
    ] == read_documents(text)


@pytest.mark.parametrize("levels", [101, 150, 1000, 5000])
@pytest.mark.parametrize("brackets", ["[]", "{a: }", "- "])
def test_value_nested_too_deep_is_null(levels: int, brackets: str) -> None:
    if brackets == "- ":
        deep = "\n  " + "- " * levels + "x"
    else:
        deep = brackets[:-1] * levels + brackets[-1] * levels
    first, second = read_documents(f"deep: {deep}\nname: web\n---\nb: 2\n".encode())
    assert isinstance(first, Document)
    assert isinstance(first.data, dict)
    assert "web" == first.data["name"]
    assert "nested deeper than 100 levels" in first.cut
    assert (3 + deep.count("\n") + 1, {"b": 2}, "") == second
