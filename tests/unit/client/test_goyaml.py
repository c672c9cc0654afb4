"""The values that goyaml.v2 gives to YAML (`resolve.go`, `decode.go`), and the bounds of the reader."""

import pytest

from kproxy.client.goyaml import first_document
from kproxy.errors import InputError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("y", True),
        ("ON", True),
        ("n", False),
        ("Off", False),
        ("yEs", "yEs"),
        ("~", None),
        ("NULL", None),
        ("nUll", "nUll"),
        ("0", 0),
        ("-17", -17),
        ("+1_000", 1000),
        ("0777", 511),
        ("-010", -8),
        ("089", 89.0),
        ("0x1F", 31),
        ("0b101", 5),
        ("0o17", 15),
        ("0x", "0x"),
        ("0b2", "0b2"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        ("-1.5E-1", -0.15),
        (".", "."),
        ("+", "+"),
        ("-.inf", float("-inf")),
        ("1.2.3", "1.2.3"),
        ("1:30", "1:30"),
        ("1e400", "1e400"),
        ("-1_0e999", "-1_0e999"),
        ("2024-01-01", "2024-01-01"),
        ("10.0.0.1", "10.0.0.1"),
        ("'0'", "0"),
        ('"yes"', "yes"),
        ("!!str 0", "0"),
        ("!!str", ""),
        ("! 0", "0"),
        ("!other 0", "0"),
        ("!!int '7'", 7),
        ("!!bool 'on'", True),
        ("!!null ''", None),
        ("|\n a\n b\n", "a\nb\n"),
        ("{a: ~, b: {c: null}, d: [~]}", {"b": {}, "d": [None]}),
        ("{a: 1, a: ~}", {}),
        ("{a: ~, a: 1}", {"a": 1}),
        ("{yes: 1, No: 2, 3: 4, ~: 5}", {"true": 1, "false": 2, "3": 4, "~": 5}),
        ("{'yes': 1}", {"yes": 1}),
        ("[&a {b: 1}, *a, {<<: *a, c: 2}]", [{"b": 1}, {"b": 1}, {"b": 1, "c": 2}]),
        ("[&a {b: 1}, &c {b: 2, d: 3}, {<<: [*a, *c]}]", [{"b": 1}, {"b": 2, "d": 3}, {"b": 1, "d": 3}]),
        ("{'<<': {a: 1}}", {"<<": {"a": 1}}),
        ("{a: &x on, b: *x}", {"a": True, "b": True}),
        ("{&k a: 1, b: *k}", {"a": 1, "b": "a"}),
        ("%YAML 1.1\n---\na", "a"),
        ("a\n...\n{", "a"),
        ("", None),
    ],
)
def test_first_document_has_the_values_of_goyaml(text: str, value: object) -> None:
    found = first_document(text.encode())
    assert (value, type(value)) == (found, type(found))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("!!int a", "line 1, column 1: the value does not fit its tag; leave the tag out"),
        ("!!binary QQ==", "line 1, column 1: !!binary is refused; write the text"),
        ("{<<: a}", "line 1, column 6: only a mapping, or a list of mappings, can be merged with <<"),
        ("{<<: [{}, a]}", "line 1, column 12: only a mapping, or a list of mappings, can be merged with <<"),
        ("{[a]: b}", "line 1, column 2: a mapping or a list cannot be a key; write a word"),
        ("{a: &x {}, *x : b}", "line 1, column 12: an alias of something that is no text cannot be a key"),
        ("&a [*a]", "line 1, column 5: an alias stands here without a complete anchor of its name before it"),
        (
            "a: 'secret-secret",
            "line 1, column 18: while scanning a quoted scalar found unexpected end of stream",
        ),
    ],
)
def test_first_document_that_cannot_be_read_is_refused_with_its_place(text: str, reason: str) -> None:
    with pytest.raises(InputError) as refused:
        first_document(text.encode())
    assert str(refused.value).startswith(reason)
    assert "secret-secret" not in str(refused.value)


def depth(data: object) -> int:
    levels = 0
    while isinstance(data, list):
        levels, data = levels + 1, data[0] if data else None
    return levels


@pytest.mark.parametrize(("levels", "kept"), [(99, 99), (100, 100), (101, 100), (10_000, 100)])
def test_values_deeper_than_a_hundred_levels_are_null(levels: int, kept: int) -> None:
    text = b"[" * levels + b"a" + b"]" * levels
    document = first_document(b"[" + text[1:-1] + b", end]")
    assert kept == depth(document)
    assert isinstance(document, list)
    assert "end" == document[-1]


def test_more_than_ten_thousand_levels_are_refused() -> None:
    with pytest.raises(InputError, match="line 1, column 10001: nested deeper than 10000 levels"):
        first_document(b"[" * 10_001 + b"]" * 10_001)


def repeated(times: int) -> bytes:
    """A list of 9,999 values, and aliases of the list."""
    return b"[&a [" + b"x," * 9_999 + b"], " + b"*a, " * times + b"]"


def test_aliases_may_repeat_a_hundred_thousand_values() -> None:
    document = first_document(repeated(10))
    assert isinstance(document, list)
    assert 11 * 9_999 == sum(map(len, document))


def test_aliases_that_repeat_more_are_refused() -> None:
    with pytest.raises(InputError, match="aliases repeat more than 100000 values; write them out"):
        first_document(repeated(11))
