"""The header Accept, as client-go makes it from a configuration, and the values that are refused."""

import pytest

from kproxy.client.accept import ACCEPT, accepted, check_accepted, check_content_type
from kproxy.errors import InputError

JSON, PROTOBUF = "application/json", "application/vnd.kubernetes.protobuf"


@pytest.mark.parametrize(
    ("content_type", "accept_content_types", "header"),
    [
        ("", "", f"{JSON}, */*"),
        (JSON, "", f"{JSON}, */*"),
        (PROTOBUF, "", f"{PROTOBUF}, */*"),
        (PROTOBUF, JSON, JSON),
        ("", f"{PROTOBUF},{JSON}", f"{PROTOBUF},{JSON}"),
    ],
)
def test_header_is_what_client_go_sends(content_type: str, accept_content_types: str, header: str) -> None:
    assert header == accepted(content_type, accept_content_types)


def test_default_equals_kube_proxys() -> None:
    assert f"{PROTOBUF}, */*" == ACCEPT


@pytest.mark.parametrize("text", ["", JSON, PROTOBUF])
def test_content_type_that_we_can_read_is_accepted(text: str) -> None:
    check_content_type(text)


@pytest.mark.parametrize(
    "text", ["application/yaml", "application/cbor", "json", f"{JSON}, {PROTOBUF}", f"{JSON}\r\nX: y", "*/*"]
)
def test_content_type_that_we_cannot_read_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(InputError, match="is not one of application/json, application/vnd") as refused:
        check_content_type(text)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "text",
    ["", JSON, f"{PROTOBUF}, {JSON}", f"{PROTOBUF};q=1.0,{JSON} ; q=0.123, */*;q=0", "application/*"],
)
def test_list_of_types_that_we_can_read_is_accepted(text: str) -> None:
    check_accepted(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{PROTOBUF},application/yaml", "'application/yaml' is not one of"),
        (f"{JSON};as=Table;v=v1;g=meta.k8s.io", "'as=Table' is no preference"),
        (f"{JSON};q=2", "'q=2' is no preference"),
        (f"{JSON},", "'' is not one of"),
        (f"{JSON}\r\nAuthorization: x", "is not one of"),
        (f"{JSON};q=0.5\n", "is no preference"),
    ],
)
def test_list_with_another_part_is_refused_with_that_part(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as refused:
        check_accepted(text)
    assert str(refused.value).isprintable()
