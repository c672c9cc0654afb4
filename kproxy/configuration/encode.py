"""Encodes a configuration as kube-proxy 1.36 would write it: all fields in its order, with their defaults."""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from kproxy.configuration.schema import API_VERSION, KIND, Configuration
from kproxy.configuration.units import ClusterCidrs, Seconds

_BELOW_A_SECOND = (("ms", Decimal("1e-3")), ("µs", Decimal("1e-6")), ("ns", Decimal("1e-9")))

_WITH_AN_EXPONENT = 1e21
"""Go writes numbers from this one on with an exponent. Smaller whole numbers have no fraction."""

_OURS = object()
"""Stands for a field whose value comes from the configuration."""

_DOCUMENT: dict[str, object] = {
    "kind": KIND,
    "apiVersion": API_VERSION,
    "featureGates": _OURS,
    "clientConnection": dict.fromkeys(
        ("kubeconfig", "acceptContentTypes", "contentType", "qps", "burst"), _OURS
    ),
    "logging": {
        "format": _OURS,
        "flushFrequency": "5s",
        "verbosity": _OURS,
        "vmodule": _OURS,
        "options": {"text": {"infoBufferSize": "0"}, "json": {"infoBufferSize": "0"}},
    },
    "hostnameOverride": _OURS,
    "bindAddress": _OURS,
    "healthzBindAddress": _OURS,
    "metricsBindAddress": _OURS,
    "bindAddressHardFail": _OURS,
    "enableProfiling": _OURS,
    "showHiddenMetricsForVersion": "",
    "mode": _OURS,
    "iptables": dict.fromkeys(
        ("masqueradeBit", "masqueradeAll", "localhostNodePorts", "syncPeriod", "minSyncPeriod"), _OURS
    ),
    "ipvs": {
        "syncPeriod": "0s",
        "minSyncPeriod": "0s",
        "scheduler": "",
        "excludeCIDRs": None,
        "strictARP": False,
        "tcpTimeout": "0s",
        "tcpFinTimeout": "0s",
        "udpTimeout": "0s",
    },
    "nftables": dict.fromkeys(("masqueradeBit", "masqueradeAll", "syncPeriod", "minSyncPeriod"), _OURS),
    "winkernel": {
        "networkName": "",
        "sourceVip": "",
        "enableDSR": False,
        "rootHnsEndpointName": "",
        "forwardHealthCheckVip": False,
    },
    "detectLocalMode": _OURS,
    "detectLocal": dict.fromkeys(("bridgeInterface", "interfaceNamePrefix"), _OURS),
    "clusterCIDR": _OURS,
    "nodePortAddresses": _OURS,
    "oomScoreAdj": _OURS,
    "conntrack": dict.fromkeys(
        (
            *("maxPerCore", "min", "tcpEstablishedTimeout", "tcpCloseWaitTimeout"),
            *("tcpBeLiberal", "udpTimeout", "udpStreamTimeout"),
        ),
        _OURS,
    ),
    "configSyncPeriod": _OURS,
    "portRange": "",
}
"""kube-proxy's fields in its order. Fields without effect here have kube-proxy's default, whatever a file says.

The reason: nothing of the file is in force for them.
"""

_ABSENT_IF_EMPTY = frozenset({"featureGates", "vmodule"})


def encode_configuration(configuration: Configuration) -> dict[str, object]:
    """The document from which `decode_configuration` reads an equal configuration."""
    fields = _plain(configuration)
    assert isinstance(fields, dict)  # noqa: S101 # a struct is always encoded as a dict
    return _filled(_DOCUMENT, fields)


def _filled(shape: Mapping[str, object], ours: Mapping[str, object]) -> dict[str, object]:
    document: dict[str, object] = {}
    for name, default in shape.items():
        value = ours.get(name) if default is _OURS else default
        if isinstance(default, dict):
            within = ours.get(name)
            value = _filled(default, within if isinstance(within, dict) else {})
        if value or name not in _ABSENT_IF_EMPTY:
            document[name] = value
    return document


def value_at(document: object, path: str) -> object:
    """The value of a field in such a document, such as `iptables.syncPeriod`; None if there is no such field."""
    for name in path.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _plain(value: object) -> object:
    match value:
        case msgspec.Struct():
            return {
                field.encode_name: _plain(getattr(value, field.name))
                for field in msgspec.structs.fields(type(value))
            }
        case ClusterCidrs():
            return ",".join(value)
        case tuple():
            return [_plain(each) for each in value] or None
        case _:
            return _scalar(value)


def _scalar(value: object) -> object:
    match value:
        case Seconds():
            return _duration(value)
        case float() if value.is_integer() and abs(value) < _WITH_AN_EXPONENT:
            return int(value)
        case str():
            return str(value)
        case _:
            return value


def _duration(length_s: Seconds) -> str:
    """The time in Go's notation: `24h0m0s`, `1.5s`, `50ms`."""
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
