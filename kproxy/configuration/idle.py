"""Fields that kube-proxy acts on, and kproxy does not."""

from collections.abc import Iterator

from kproxy.configuration.encode import encode_configuration, value_at
from kproxy.configuration.schema import Configuration

_JSON = "application/json"
_SPEAKS_JSON = "it speaks JSON"
_ASKS_LITTLE = "it lists and watches, and asks again after failures, ever less often"
_IDLE = {
    "clientConnection.acceptContentTypes": _SPEAKS_JSON,
    "clientConnection.burst": _ASKS_LITTLE,
    "clientConnection.contentType": _SPEAKS_JSON,
    "clientConnection.qps": _ASKS_LITTLE,
    "configSyncPeriod": "its watches need no regular refresh",
    "enableProfiling": "it has no profiling pages",
}


def idle_fields(configuration: Configuration) -> Iterator[tuple[str, str]]:
    """Each field that asks for more than its default and changes nothing, with the reason."""
    document, default = encode_configuration(configuration), encode_configuration(Configuration())
    for field, reason in _IDLE.items():
        if value_at(document, field) not in (value_at(default, field), _JSON):
            yield field, reason
