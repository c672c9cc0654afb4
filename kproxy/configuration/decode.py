"""Decodes parsed YAML or JSON into a Configuration, with a warning for each unknown field."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from enum import StrEnum
from math import isfinite
from typing import Any, Protocol, Self, TypeGuard, get_args, get_origin

import msgspec

from kproxy.configuration.checks import check_configuration
from kproxy.configuration.schema import (
    API_VERSION,
    IGNORED,
    KIND,
    ZERO_IN_FILE_MEANS_DEFAULT,
    Configuration,
    Mode,
)
from kproxy.configuration.units import HealthzAddress, MetricsAddress
from kproxy.errors import InputError, InvalidField
from kproxy.values import Address, Family

_EVERY = {Family.IPV4: Address("0.0.0.0"), Family.IPV6: Address("::")}  # noqa: S104 # kube-proxy's defaults
_LOOPBACK = {Family.IPV4: Address("127.0.0.1"), Family.IPV6: Address("::1")}

_WANTED = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}
_OTHER_MODES = {
    "ipvs": "'ipvs' is not a mode of kproxy; write iptables or nftables",
    "kernelspace": "'kernelspace' is a mode of Windows; on Linux write iptables or nftables",
}
_PLAIN_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}")
_SHOWN_LENGTH = 100
_INTEGER_BITS = 64


class _Parsed(Protocol):
    EXAMPLE: str

    @classmethod
    def parse(cls, text: str) -> Self: ...


def decode_configuration(data: object) -> tuple[Configuration, list[str]]:
    """The configuration in a file's document, and a warning for each unknown field.

    An absent field and null mean the default; so does the zero value of some fields, as in kube-proxy. Raises
    InvalidField for a value that kube-proxy would refuse or that no rule can use, InputError for another kind of
    document.
    """
    return decode(data, zero_means_default=ZERO_IN_FILE_MEANS_DEFAULT)


def decode(data: object, *, zero_means_default: frozenset[str]) -> tuple[Configuration, list[str]]:
    """Decode as `decode_configuration`.

    `zero_means_default` has the paths of fields whose zero value means the default.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"a {KIND} is a mapping of fields, not {_shown(data)}")
    if data.get("kind") == "ConfigMap":
        raise InputError(_instead_of_config_map(data))
    for field, expected in (("apiVersion", API_VERSION), ("kind", KIND)):
        if data.get(field) != expected:
            found = _shown(data.get(field))
            raise InvalidField(field, f"{found} is not a kube-proxy configuration; write {expected}")
    reading = _Reading(zero_means_default)
    given = reading.fields(data, Configuration)
    configuration = Configuration(**{**_servers(given), **given})
    check_configuration(configuration)
    return configuration, reading.warnings


def _instead_of_config_map(config_map: Mapping[Any, object]) -> str:
    """The advice for somebody who gives the ConfigMap of kubeadm or others instead of the configuration in it."""
    found = config_map.get("data")
    texts = found if isinstance(found, Mapping) else {}
    keys = [
        key for key, text in texts.items() if isinstance(key, str) and isinstance(text, str) and KIND in text
    ]
    if not keys:
        return f"this is a ConfigMap, and no text in its data is a {KIND}; write the configuration itself into a file"
    metadata = config_map.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    path = keys[0].replace(".", r"\.")
    return (
        f"this is a whole ConfigMap; the configuration is the text in its data, under {_shown(keys[0])}: write that alone "
        f"into a file, with kubectl -n kube-system get configmap {name if _is_plain(name) else 'NAME'} -o jsonpath='{{.data.{path}}}'"
    )


def _is_plain(name: object) -> bool:
    """Whether a shell and a terminal take the name unchanged. Names in Kubernetes are so."""
    return isinstance(name, str) and _PLAIN_NAME.fullmatch(name) is not None


def _servers(given: Mapping[str, Any]) -> dict[str, object]:
    """The default addresses of the two servers, which follow the family of bindAddress."""
    family = given.get("bind_address", Configuration().bind_address).family
    return {
        "healthz_bind_address": HealthzAddress.at(_EVERY[family], HealthzAddress.PORT),
        "metrics_bind_address": MetricsAddress.at(_LOOPBACK[family], MetricsAddress.PORT),
    }


class _Reading:
    """Reads the known fields of one document; `warnings` names the unknown fields."""

    def __init__(self, zero_means_default: frozenset[str]) -> None:
        self.warnings: list[str] = []
        self._zero_means_default = zero_means_default

    def fields(
        self, data: Mapping[Any, object], shape: type[msgspec.Struct], prefix: str = ""
    ) -> dict[str, Any]:
        """The arguments of a `shape`, from the fields that have a value. Go's decoder ignores null."""
        known = {field.encode_name: field for field in msgspec.structs.fields(shape)}
        given: dict[str, Any] = {}
        for key, found in data.items():
            name = str(key)  # Go reads YAML as JSON, whose keys are always text
            path = f"{prefix}{name}"
            if path in IGNORED:
                continue
            if name not in known:
                self.warnings.append(_unknown(path, known))
                continue
            may_be_zero = path not in self._zero_means_default
            if found is None or (found == "" and not may_be_zero):
                continue
            value = self._value(path, found, known[name].type)
            if may_be_zero or value:
                given[known[name].name] = value
        return given

    def _value(self, path: str, found: object, wanted: Any) -> object:
        if get_origin(wanted) is tuple:
            if not isinstance(found, list | tuple):
                raise InvalidField(path, f"{_shown(found)} is not a list")
            return tuple(
                self._value(f"{path}[{place}]", each, get_args(wanted)[0]) for place, each in enumerate(found)
            )
        if get_origin(wanted) is dict:
            return {
                str(key): self._value(f"{path}.{key}", each, get_args(wanted)[1])
                for key, each in _mapping(path, found).items()
            }
        if issubclass(wanted, msgspec.Struct):
            return wanted(**self.fields(_mapping(path, found), wanted, f"{path}."))
        return _scalar(path, found, wanted)


def _mapping(path: str, found: object) -> Mapping[Any, object]:
    if not isinstance(found, Mapping):
        raise InvalidField(path, f"{_shown(found)} is not a mapping of fields")
    return found


def _scalar(path: str, found: object, wanted: type) -> object:
    if issubclass(wanted, StrEnum):
        return _word(path, found, wanted)
    if _is_parsed(wanted):
        if not isinstance(found, str):
            raise InvalidField(path, f"{_shown(found)} is not text; write {wanted.EXAMPLE}")
        try:
            return wanted.parse(found)
        except ValueError as wrong:
            raise InvalidField(path, str(wrong)) from wrong
    try:
        value = msgspec.convert(found, wanted)
    except msgspec.ValidationError as refused:
        raise InvalidField(path, f"{_shown(found)} is not {_WANTED[wanted]}") from refused
    if isinstance(value, float) and not isfinite(value):
        raise InvalidField(path, f"{_shown(found)} is not a finite number")
    if isinstance(value, int) and value.bit_length() > _INTEGER_BITS:
        raise InvalidField(path, f"{_shown(found)} is not a number of {_INTEGER_BITS} bits")
    return value


def _word(path: str, found: object, wanted: type[StrEnum]) -> StrEnum:
    if isinstance(found, str) and found in tuple(wanted):
        return wanted(found)
    other_mode = _OTHER_MODES.get(found) if wanted is Mode and isinstance(found, str) else None
    raise InvalidField(path, other_mode or f"{_shown(found)} is not one of {', '.join(wanted)}")


def _is_parsed(wanted: type) -> TypeGuard[type[_Parsed]]:
    return hasattr(wanted, "parse")


def _unknown(path: str, known: Mapping[str, object]) -> str:
    by_lower_case = {name.lower(): name for name in known}
    alike = get_close_matches(path.rpartition(".")[2].lower(), by_lower_case, n=1)
    return f"unknown field {path} is ignored" + (
        f"; did you mean {by_lower_case[alike[0]]}?" if alike else ""
    )


def _shown(found: object) -> str:
    """The value as a message shows it: a collection by its kind, long text cut."""
    if isinstance(found, Mapping):
        return "a mapping"
    if isinstance(found, list | tuple):
        return "a list"
    if isinstance(found, int) and found.bit_length() > _INTEGER_BITS:
        return f"a number of {found.bit_length()} bits"  # Python refuses to print very long numbers
    text = "null" if found is None else repr(found)
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}..."
