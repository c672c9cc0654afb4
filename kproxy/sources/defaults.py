"""The defaults of an API server, for fields that a file may leave out."""

from typing import Any

from kproxy.state.objects import Kind


def set_defaults(kind: Kind, data: Any) -> bool:
    """Write the defaults into the plain data of one object. Returns whether data were changed.

    Only one default must be written: the empty name of a slice's port. kube-proxy ignores a port whose name is null,
    and an API server never returns such a port. All other defaults equal the meaning of the absent field.
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
