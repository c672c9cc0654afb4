"""The defaults of an API server that a file may leave out."""

from typing import Any

from kproxy.state.objects import Kind


def set_defaults(kind: Kind, data: Any) -> bool:
    """Write them into the plain data of one object; whether anything had to be written.

    Of all defaults only the empty name of a slice's port must stand there: kube-proxy passes over a port whose name is
    null, which no API server hands out. Every other default is what the absent field already means to us.
    """
    if kind is not Kind.ENDPOINT_SLICE or not isinstance(data, dict):
        return False
    nameless = [port for port in _ports(data) if port.get("name") is None]
    for port in nameless:
        port["name"] = ""
    return bool(nameless)


def _ports(data: dict[str, Any]) -> list[dict[str, Any]]:
    ports = data.get("ports")
    return [port for port in ports if isinstance(port, dict)] if isinstance(ports, list) else []
