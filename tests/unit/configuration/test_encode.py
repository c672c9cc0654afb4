"""A configuration as a document: the fields, types and order of kube-proxy 1.36's page /configz."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kproxy.configuration import Configuration, decode_configuration
from kproxy.configuration.encode import encode_configuration
from kproxy.configuration.flags import configuration_to_flags, decode_flags

RECORDED: dict[str, Any] = json.loads((Path(__file__).parents[2] / "pages" / "configz.txt").read_text())[
    "kubeproxy.config.k8s.io"
]
HEADER = {"apiVersion": RECORDED["apiVersion"], "kind": RECORDED["kind"]}

GATES: dict[str, Any] = {"featureGates": {"AllowServiceExternalIPs": False}}
VMODULE = {"logging": {"vmodule": [{"filePattern": "loop", "verbosity": 4}]}}


def shape(value: object) -> object:
    """The names in their order, with JSON's types. A whole number and a fraction count as two types."""
    match value:
        case dict():
            return [(name, shape(each)) for name, each in value.items()]
        case list():
            return [shape(each) for each in value]
        case _:
            return type(value).__name__


def encoded(fields: dict[str, Any]) -> dict[str, Any]:
    configuration, warnings = decode_configuration(HEADER | fields)
    assert [] == warnings
    return encode_configuration(configuration)


def test_document_of_defaults_has_the_shape_of_kube_proxys() -> None:
    assert shape(RECORDED) == shape(encoded({}))


def test_document_of_kube_proxys_fields_equals_kube_proxys() -> None:
    """A period of 0 in a file means the default in each mode here; kube-proxy leaves it 0 in modes that do not run."""
    fields = encoded(RECORDED)
    assert shape(RECORDED) == shape(fields)
    periods = {"syncPeriod": "30s", "minSyncPeriod": "1s"}
    assert RECORDED | {"nftables": RECORDED["nftables"] | periods} == fields


@pytest.mark.parametrize(
    ("fields", "path", "value"),
    [
        ({"clientConnection": {"qps": 2.5}}, "clientConnection.qps", 2.5),
        ({"clientConnection": {"qps": -1.0}}, "clientConnection.qps", -1),
        ({"clientConnection": {"contentType": ""}}, "clientConnection.contentType", "application/vnd.kubernetes.protobuf"),
        ({"nodePortAddresses": []}, "nodePortAddresses", None),
        ({"nodePortAddresses": ["10.0.0.0/8"]}, "nodePortAddresses", ["10.0.0.0/8"]),
        (GATES, "featureGates", {"AllowServiceExternalIPs": False}),
        (VMODULE, "logging.vmodule", [{"filePattern": "loop", "verbosity": 4}]),
        ({"ipvs": {"scheduler": "rr", "syncPeriod": "7s"}}, "ipvs.scheduler", ""),
        ({"conntrack": {"udpTimeout": "1h1m1.5s"}}, "conntrack.udpTimeout", "1h1m1.5s"),
        ({"iptables": {"minSyncPeriod": "50ms"}}, "iptables.minSyncPeriod", "50ms"),
    ],
)  # fmt: skip
def test_field_has_the_type_and_notation_of_kube_proxys(
    fields: dict[str, Any], path: str, value: object
) -> None:
    found: Any = encoded(fields)
    for name in path.split("."):
        found = found[name]
    assert (type(value), value) == (type(found), found)


@pytest.mark.parametrize(("fields", "place"), [(GATES, ("featureGates",)), (VMODULE, ("logging", "vmodule"))])
def test_field_that_kube_proxy_leaves_out_when_empty_is_there_only_with_content(
    fields: dict[str, Any], place: tuple[str, ...]
) -> None:
    def inner(document: Any) -> Any:
        for name in place[:-1]:
            document = document[name]
        return document

    assert place[-1] in inner(encoded(fields))
    assert place[-1] not in inner(encoded({}))


def test_every_field_that_kproxy_reads_is_in_the_document() -> None:
    def missing(struct: type[msgspec.Struct], document: dict[str, Any]) -> list[str]:
        return [
            field.encode_name
            for field in msgspec.structs.fields(struct)
            if field.encode_name not in document
            or (
                isinstance(field.type, type)
                and issubclass(field.type, msgspec.Struct)
                and missing(field.type, document[field.encode_name])
            )
        ]

    assert [] == missing(Configuration, encoded(GATES | VMODULE))


@pytest.mark.parametrize("fields", [{}, GATES, VMODULE, RECORDED, {"clientConnection": {"qps": 2.5}}])
def test_document_is_decoded_to_the_encoded_configuration(fields: dict[str, Any]) -> None:
    configuration, _ = decode_configuration(HEADER | fields)
    assert (configuration, []) == decode_configuration(encode_configuration(configuration))


def test_flag_of_a_list_or_mapping_is_written_in_the_flags_notation() -> None:
    flags = {
        "feature-gates": {"One": True, "Two": False},
        "nodeport-addresses": ["10.0.0.0/8", "primary"],
        "vmodule": [{"filePattern": "loop", "verbosity": 4}, {"filePattern": "f*", "verbosity": 5}],
    }
    written = configuration_to_flags(decode_flags(flags))
    assert ["One=true,Two=false", "10.0.0.0/8,primary", "loop=4,f*=5"] == [written[flag] for flag in flags]


def test_flag_of_an_empty_list_or_mapping_is_empty() -> None:
    written = configuration_to_flags(Configuration())
    assert ["", "", ""] == [written[flag] for flag in ("feature-gates", "nodeport-addresses", "vmodule")]
