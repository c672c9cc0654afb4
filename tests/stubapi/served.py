"""Which kinds the stub serves, and the words that its answers use for them."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Served:
    """One kind; `blank` is what a bookmark holds besides its metadata."""

    kind: str
    api_version: str
    plural: str
    blank: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        root = "/apis/" if "/" in self.api_version else "/api/"
        return f"{root}{self.api_version}/{self.plural}"

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]


_SLICE = {"addressType": "", "endpoints": None, "ports": None}

SERVED = {
    served.path: served
    for served in (
        Served("Service", "v1", "services", {"spec": {}, "status": {"loadBalancer": {}}}),
        Served("Node", "v1", "nodes", {"spec": {}, "status": {}}),
        Served("EndpointSlice", "discovery.k8s.io/v1", "endpointslices", _SLICE),
        Served("ServiceCIDR", "networking.k8s.io/v1", "servicecidrs", {"spec": {}, "status": {}}),
    )
}
