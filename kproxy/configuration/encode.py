"""A configuration as a document that a file could hold, defaults written out."""

from decimal import Decimal

import msgspec

from kproxy.configuration.schema import API_VERSION, KIND, Configuration
from kproxy.configuration.units import ClusterCidrs, Seconds

_BELOW_A_SECOND = (("ms", Decimal("1e-3")), ("µs", Decimal("1e-6")), ("ns", Decimal("1e-9")))


def encode_configuration(configuration: Configuration) -> dict[str, object]:
    """What `decode_configuration` reads as the same configuration."""
    fields = _plain(configuration)
    assert isinstance(fields, dict)  # noqa: S101 # a struct always is
    return {"apiVersion": API_VERSION, "kind": KIND, **fields}


def value_at(document: object, path: str) -> object:
    """What such a document says in a field, such as `iptables.syncPeriod`; None if it has no such field."""
    for name in path.split("."):
        document = document[name] if isinstance(document, dict) else None
    return document


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
    """In Go's notation: `24h0m0s`, `1.5s`, `50ms`."""
    exact = Decimal(repr(float(length_s)))
    if 0 < exact < 1:
        return next(_in(exact, unit_s, unit) for unit, unit_s in _BELOW_A_SECOND if exact >= unit_s)
    minutes, seconds = divmod(exact, 60)
    hours, minutes = divmod(minutes, 60)
    text = _in(seconds, Decimal(1), "s")
    if hours or minutes:
        text = f"{minutes:f}m{text}"
    return f"{hours:f}h{text}" if hours else text


def _in(length: Decimal, unit_s: Decimal, unit: str) -> str:
    return f"{(length / unit_s).normalize():f}{unit}"
