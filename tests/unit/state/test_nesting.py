"""Deep parts are cut out of JSON, and the rest of the JSON stays equal."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.state.decode import decode
from kproxy.state.nesting import DEEPEST_LEVEL, without_deep_parts
from kproxy.state.objects import Kind

DATA: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.sampled_from(['"', "\\", '\\"', "[", "}", '{"']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


def nested(levels: int, innermost: str = "1") -> str:
    return '{"f:a":[' * (levels // 2) + innermost + "]}" * (levels // 2)


@given(DATA)
def test_shallow_json_stays_unchanged(data: object) -> None:
    text = json.dumps(data).encode()
    assert text == without_deep_parts(text)


@given(above=DATA, beside=DATA, below=DATA, levels=st.integers(DEEPEST_LEVEL, 5_000))
def test_only_deep_parts_become_null(above: object, beside: object, below: object, levels: int) -> None:
    deep = nested(2 * levels, json.dumps(below))
    text = f'{{"above": {json.dumps(above)}, "deep": {deep}, "beside": [{json.dumps(beside)}, {deep}]}}'
    found = json.loads(without_deep_parts(text.encode()))
    assert (above, beside) == (found["above"], found["beside"][0])
    assert None is innermost(found["deep"])


def innermost(found: Any) -> Any:
    while found is not None and found:
        found = found[0] if isinstance(found, list) else found["f:a"]
    return found


@pytest.mark.parametrize("text", [b"", b"[" * 100_000, b"]" * 10, b'"' * 9, b'{"a":"\\', b"]}" + b"[" * 70])
def test_text_that_is_not_json_does_not_become_json(text: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, RecursionError)):
        msgspec.json.decode(without_deep_parts(text))


@pytest.mark.parametrize("levels", [10, 900, 1_000, 1_100, 5_000, 200_000])
def test_service_is_decoded_whatever_is_nested_in_it(levels: int) -> None:
    metadata = f'"metadata":{{"name":"web","namespace":"default","managedFields":[{nested(levels)}]}}'
    spec = '"spec":{"clusterIP":"10.96.0.10","ports":[{"port":80}]}'
    for raw in (f"{{{metadata},{spec}}}", f"{{{spec},{metadata}}}"):
        service = decode(Kind.SERVICE, raw.encode())
        assert service == decode(
            Kind.SERVICE, f'{{{spec},"metadata":{{"name":"web","namespace":"default"}}}}'.encode()
        )
