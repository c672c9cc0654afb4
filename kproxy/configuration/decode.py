"""From parsed YAML or JSON to a Configuration, with a warning for each field that nobody knows."""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Protocol, Self, cast

import msgspec

from kproxy.configuration.checks import check_configuration
from kproxy.configuration.schema import (
    API_VERSION,
    HEALTHZ_PORT,
    IGNORED,
    KIND,
    METRICS_PORT,
    ZERO_MEANS_DEFAULT,
    Configuration,
    Mode,
)
from kproxy.configuration.units import parse_socket_address
from kproxy.errors import InputError, InvalidField
from kproxy.model.settings import DetectLocalMode
from kproxy.values import Family, family_of, parse_address

_ZERO = ("", 0, "0", "0s")
_FAILED_AT = re.compile(r"(?P<reason>.*?)(?: - at `\$\.?(?P<field>.*)`)?", re.DOTALL)
_ADDRESS_OF_FAMILY = {Family.IPV4: ("0.0.0.0", "127.0.0.1"), Family.IPV6: ("[::]", "[::1]")}  # noqa: S104


class _Parsed(Protocol):
    @classmethod
    def parse(cls, text: str) -> Self: ...


def decode_configuration(data: object) -> tuple[Configuration, list[str]]:
    """The configuration that a document of a file holds, and a warning for each unknown field.

    An absent field, null, and where kube-proxy has it so the zero value, mean the default. Raises InvalidField
    for a value that kube-proxy would refuse or that no rule can carry, InputError for another kind of document.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"a {KIND} is a mapping of fields, not {type(data).__name__}")
    _check_header(data)
    warnings = [_unknown(path, shape) for path, shape in _unknown_fields(data, Configuration)]
    given = _given(data)
    _check_words(given)
    _complete_addresses(given)
    try:
        configuration = msgspec.convert(given, Configuration, dec_hook=_parse)
    except msgspec.ValidationError as refused:
        raise _invalid_field(refused) from refused
    check_configuration(configuration)
    return configuration, warnings


def _check_header(data: Mapping[str, object]) -> None:
    for field, expected in (("apiVersion", API_VERSION), ("kind", KIND)):
        found = data.get(field)
        if found != expected:
            raise InvalidField(field, f"{found!r} is not a kube-proxy configuration; write {expected}")


def _unknown_fields(
    data: Mapping[str, object], shape: type[msgspec.Struct], prefix: str = ""
) -> Iterator[tuple[str, type[msgspec.Struct]]]:
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(shape)}
    for name, value in data.items():
        path = f"{prefix}{name}"
        if path in IGNORED:
            continue
        if name not in fields:
            yield path, shape
        elif isinstance(value, Mapping) and issubclass(inner := fields[name], msgspec.Struct):
            yield from _unknown_fields(value, inner, f"{path}.")


def _unknown(path: str, shape: type[msgspec.Struct]) -> str:
    known = [field.encode_name for field in msgspec.structs.fields(shape)]
    alike = get_close_matches(path.rpartition(".")[2], known, n=1)
    return f"unknown field {path} is ignored" + (f"; did you mean {alike[0]}?" if alike else "")


def _given(data: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """The fields that say something: Go's decoder passes over a null, and some zeros stand for the default."""
    given: dict[str, object] = {}
    for name, value in data.items():
        path = f"{prefix}{name}"
        if value is None or path in IGNORED or (path in ZERO_MEANS_DEFAULT and value in _ZERO):
            continue
        given[name] = _given(value, f"{path}.") if isinstance(value, Mapping) else value
    return given


def _check_words(given: Mapping[str, object]) -> None:
    """Raised here rather than by the decoder, which would not say what is allowed."""
    mode = given.get("mode", Mode.IPTABLES)
    detect = given.get("detectLocalMode", DetectLocalMode.CLUSTER_CIDR)
    if mode == "ipvs":
        raise InvalidField("mode", "'ipvs' is not a mode of kproxy; write iptables or nftables")
    if mode == "kernelspace":
        raise InvalidField("mode", "'kernelspace' is a mode of Windows; on Linux write iptables or nftables")
    if mode not in tuple(Mode):
        raise InvalidField("mode", f"{mode!r} is not a mode; write {' or '.join(Mode)}")
    if detect not in tuple(DetectLocalMode):
        raise InvalidField("detectLocalMode", f"{detect!r} is none of {', '.join(DetectLocalMode)}")


def _complete_addresses(given: dict[str, object]) -> None:
    """Defaults of the two servers follow the family of bindAddress; a missing port is added."""
    try:
        bind = parse_address(str(given.get("bindAddress", Configuration().bind_address)))
    except ValueError as wrong:
        raise InvalidField("bindAddress", f"{wrong}; write 0.0.0.0, :: or an address of the node") from wrong
    every, loopback = _ADDRESS_OF_FAMILY[family_of(bind)]
    given["bindAddress"] = bind
    for field, default, port in (
        ("healthzBindAddress", every, HEALTHZ_PORT),
        ("metricsBindAddress", loopback, METRICS_PORT),
    ):
        try:
            given[field] = parse_socket_address(str(given.get(field, default)), port)
        except ValueError as wrong:
            raise InvalidField(field, str(wrong)) from wrong


def _parse(wanted: type[_Parsed], found: object) -> object:
    if not isinstance(found, str):
        raise ValueError(f"{found!r} is not text")  # noqa: TRY004 # the decoder adds the path to a ValueError
    return wanted.parse(found)


def _invalid_field(refused: msgspec.ValidationError) -> InvalidField:
    failed = cast("re.Match[str]", _FAILED_AT.fullmatch(str(refused)))
    return InvalidField(failed["field"] or "", failed["reason"])
