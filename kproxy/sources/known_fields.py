"""The fields that Kubernetes knows of the objects that we read, as deep as we look.

Source: the types of k8s.io/api 1.36 (core/v1, discovery/v1, networking/v1) and k8s.io/apimachinery (ObjectMeta), with
the fields of older versions: a field that an API server once printed is not a mistake of its author.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Union

from kproxy.state.objects import Kind

Shape = Mapping[str, Union["Shape", Sequence["Shape"], None]]
"""The fields of a struct. Each is a struct, a list of structs of one shape, or None, which is not checked inside."""


def _leaves(names: str) -> dict[str, None]:
    return dict.fromkeys(names.split())


_METADATA: Final[Shape] = _leaves(
    "name namespace labels annotations clusterName creationTimestamp deletionGracePeriodSeconds deletionTimestamp "
    "finalizers generateName generation initializers managedFields ownerReferences resourceVersion selfLink uid"
)
_HEAD: Final[Shape] = {"apiVersion": None, "kind": None, "metadata": _METADATA}

_SERVICE_SPEC: Final[Shape] = {
    **_leaves(
        "allocateLoadBalancerNodePorts clusterIP clusterIPs deprecatedPublicIPs externalIPs externalName "
        "externalTrafficPolicy healthCheckNodePort internalTrafficPolicy ipFamilies ipFamily ipFamilyPolicy "
        "loadBalancerClass loadBalancerIP loadBalancerSourceRanges publishNotReadyAddresses selector sessionAffinity "
        "topologyKeys trafficDistribution type"
    ),
    "ports": [_leaves("name protocol port targetPort nodePort appProtocol")],
    "sessionAffinityConfig": {"clientIP": _leaves("timeoutSeconds")},
}
_SERVICE_STATUS: Final[Shape] = {
    "conditions": None,
    "loadBalancer": {"ingress": [_leaves("ip hostname ipMode ports")]},
}
_ENDPOINT: Final[Shape] = {
    **_leaves("addresses deprecatedTopology hostname nodeName targetRef topology zone"),
    "conditions": _leaves("ready serving terminating"),
    "hints": {"forNodes": [_leaves("name")], "forZones": [_leaves("name")]},
}
_PORT: Final[Shape] = _leaves("name protocol port appProtocol")
_ENDPOINT_ADDRESS: Final[Shape] = _leaves("ip hostname nodeName targetRef")

FIELDS: Final[Mapping[Kind, Shape]] = {
    Kind.SERVICE: {**_HEAD, "spec": _SERVICE_SPEC, "status": _SERVICE_STATUS},
    Kind.ENDPOINT_SLICE: {**_HEAD, "addressType": None, "endpoints": [_ENDPOINT], "ports": [_PORT]},
    Kind.ENDPOINTS: {
        **_HEAD,
        "subsets": [
            {"addresses": [_ENDPOINT_ADDRESS], "notReadyAddresses": [_ENDPOINT_ADDRESS], "ports": [_PORT]}
        ],
    },
    Kind.NODE: {
        **_HEAD,
        "spec": {
            **_leaves("configSource externalID podCIDR podCIDRs providerID unschedulable"),
            "taints": [_leaves("effect key timeAdded value")],
        },
        "status": {
            **_leaves(
                "allocatable capacity conditions config daemonEndpoints declaredFeatures features images nodeInfo phase "
                "runtimeHandlers volumesAttached volumesInUse"
            ),
            "addresses": [_leaves("address type")],
        },
    },
    Kind.POD: {**_HEAD, "spec": None, "status": None},
    Kind.SERVICE_CIDR: {**_HEAD, "spec": _leaves("cidrs"), "status": _leaves("conditions")},
}
