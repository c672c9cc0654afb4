"""Any content of a configuration file gives a configuration or an InputError."""

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.configuration import Configuration, Mode, decode_configuration
from kproxy.errors import InputError, InvalidField

HEADER = {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration"}

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(
        ["", "0s", "1h5m", "primary", "10.0.0.0/8", "::1", "[::]:80", "nftables", "InterfaceNamePrefix"]
    )
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
FIELDS = st.sampled_from([field.encode_name for field in msgspec.structs.fields(Configuration)])
SECTIONS = {
    field.encode_name: st.dictionaries(
        st.sampled_from([inner.encode_name for inner in msgspec.structs.fields(field.type)]),
        VALUES,
        max_size=4,
    )
    for field in msgspec.structs.fields(Configuration)
    if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
}


@given(
    st.dictionaries(FIELDS | st.text(), VALUES, max_size=5),
    st.fixed_dictionaries({}, optional=SECTIONS),
)
def test_any_data_is_a_configuration_or_an_input_error(
    fields: dict[str, Any], sections: dict[str, Any]
) -> None:
    with suppress(InputError):
        configuration, _ = decode_configuration(HEADER | fields | sections)
        assert 0 <= configuration.iptables.masquerade_bit <= 31
        assert configuration.mode is not Mode.IPTABLES or (
            0 <= configuration.iptables.min_sync_period_s <= configuration.iptables.sync_period_s
        )


@given(VALUES)
def test_any_document_is_a_configuration_or_an_input_error(document: object) -> None:
    with pytest.raises(InputError):  # none of the documents has the header
        decode_configuration(document)


def test_data_nested_deeper_than_pythons_recursion_limit_is_refused_by_its_path() -> None:
    deep: object = "x"
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidField, match=r"^bindAddress: a list is not text"):
        decode_configuration(HEADER | {"bindAddress": deep})
    assert ["unknown field deep is ignored"] == decode_configuration(HEADER | {"deep": deep})[1]
