"""A configuration as a document that a file could hold, defaults written out."""

from decimal import Decimal

import msgspec

from kproxy.configuration.schema import API_VERSION, KIND, Configuration
from kproxy.configuration.units import ClusterCidrs, Seconds


def encode_configuration(configuration: Configuration) -> dict[str, object]:
    """What `decode_configuration` reads as the same configuration."""
    fields = _plain(configuration)
    assert isinstance(fields, dict)  # noqa: S101 # a struct always is
    return {"apiVersion": API_VERSION, "kind": KIND, **fields}


def _plain(value: object) -> object:
    match value:
        case msgspec.Struct():
            return {
                field.encode_name: _plain(getattr(value, field.name))
                for field in msgspec.structs.fields(type(value))
            }
        case Seconds():
            return _duration(value)
        case ClusterCidrs():
            return ",".join(value)
        case tuple():
            return [_plain(each) for each in value]
        case str():
            return str(value)
        case _:
            return value


def _duration(length_s: Seconds) -> str:
    """In Go's notation, seconds with as many decimals as there are."""
    return f"{Decimal(repr(float(length_s))).normalize():f}s"
