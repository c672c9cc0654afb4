"""The messages that we read, as tables: for each message the fields of `kproxy.state.wire`, with their numbers.

Numbers and names are from the files `generated.proto` of k8s.io/api (core/v1, discovery/v1, networking/v1) and of
k8s.io/apimachinery (pkg/apis/meta/v1, pkg/runtime). Names are as in JSON, and a number never changes its meaning.
"""

from typing import Final

from kproxy.state import wire
from kproxy.state.encodings.envelopes import INITIAL_EVENTS_END, Status, StatusDetails
from kproxy.state.encodings.protobuf.endpoints import shortcut
from kproxy.state.encodings.protobuf.types import (
    ANY_TEXT,
    BOOL,
    DATA,
    INT32,
    MAP,
    NAME,
    PART,
    TEXT,
    TIME,
    Type,
    kept,
    list_of,
    message,
    one_annotation,
    table,
    tolerant,
)
from kproxy.state.objects import Kind

# k8s.io.apimachinery.pkg.runtime

TYPE_META: Final = table((2, "kind", NAME))
UNKNOWN: Final = table((1, "typeMeta", PART), (2, "raw", DATA))
RAW_EXTENSION: Final = table((1, "raw", DATA))

# k8s.io.apimachinery.pkg.apis.meta.v1

WATCH_EVENT: Final = table((1, "type", NAME), (2, "object", PART))
LIST: Final = table((1, "metadata", PART), (2, "items", list_of(DATA)))
"""A list of any kind; its items stay bytes."""

LIST_META: Final = table((2, "resourceVersion", TEXT), (3, "continue", TEXT))
STATUS: Final = message(
    Status,
    (3, "message", TEXT),
    (4, "reason", TEXT),
    (5, "details", message(StatusDetails, (5, "retryAfterSeconds", INT32))),
    (6, "code", INT32),
)
_METADATA = (
    (1, "name", TEXT),
    (3, "namespace", NAME),
    (6, "resourceVersion", TEXT),
    (9, "deletionTimestamp", TIME),
    (11, "labels", MAP),
)
METADATA: Final = message(wire.Metadata, *_METADATA)
SLICE_METADATA: Final = message(
    wire.SliceMetadata,
    *_METADATA,
    (
        12,
        "annotations",
        one_annotation("endpoints.kubernetes.io/last-change-trigger-time", wire.SliceAnnotations),
    ),
)
OBJECT: Final = tolerant((1, "metadata", PART))
"""An object of any kind."""

HEAD: Final = tolerant(
    (1, "name", ANY_TEXT),
    (3, "namespace", ANY_TEXT),
    (6, "resourceVersion", ANY_TEXT),
    (12, "annotations", one_annotation(INITIAL_EVENTS_END, str)),
)
"""The part of ObjectMeta that is needed of an object that breaks every other rule."""

# k8s.io.api.core.v1

SERVICE: Final = message(
    wire.Service,
    (1, "metadata", METADATA),
    (
        2,
        "spec",
        message(
            wire.ServiceSpec,
            (
                1,
                "ports",
                list_of(
                    message(
                        wire.ServicePort,
                        (1, "name", NAME),
                        (2, "protocol", NAME),
                        (3, "port", INT32),
                        (5, "nodePort", INT32),
                    )
                ),
            ),
            (2, "selector", MAP),
            (3, "clusterIP", TEXT),
            (4, "type", NAME),
            (5, "externalIPs", list_of(TEXT)),
            (7, "sessionAffinity", NAME),
            (9, "loadBalancerSourceRanges", list_of(TEXT)),
            (11, "externalTrafficPolicy", NAME),
            (12, "healthCheckNodePort", INT32),
            (13, "publishNotReadyAddresses", BOOL),
            (
                14,
                "sessionAffinityConfig",
                message(
                    wire.SessionAffinityConfig,
                    (1, "clientIP", message(wire.ClientIP, (1, "timeoutSeconds", INT32))),
                ),
            ),
            (18, "clusterIPs", list_of(TEXT)),
            (22, "internalTrafficPolicy", NAME),
        ),
    ),
    (
        3,
        "status",
        message(
            wire.ServiceStatus,
            (
                1,
                "loadBalancer",
                message(
                    wire.LoadBalancer,
                    (1, "ingress", list_of(message(wire.Ingress, (1, "ip", TEXT), (3, "ipMode", NAME)))),
                ),
            ),
        ),
    ),
)
NODE: Final = message(
    wire.Node,
    (1, "metadata", METADATA),
    (
        2,
        "spec",
        message(
            wire.NodeSpec,
            (1, "podCIDR", TEXT),
            (5, "taints", list_of(message(wire.Taint, (1, "key", NAME)))),
            (7, "podCIDRs", list_of(TEXT)),
        ),
    ),
    (
        3,
        "status",
        message(
            wire.NodeStatus,
            (5, "addresses", list_of(message(wire.NodeAddress, (1, "type", NAME), (2, "address", TEXT)))),
        ),
    ),
)

# k8s.io.api.discovery.v1

_CONDITIONS = kept(
    message(wire.Conditions, (1, "ready", BOOL), (2, "serving", BOOL), (3, "terminating", BOOL))
)
_FOR = list_of(message(wire.Named, (1, "name", NAME)))
_HINTS = kept(message(wire.Hints, (1, "forZones", _FOR), (2, "forNodes", _FOR)))
ENDPOINT: Final = message(
    wire.Endpoint,
    (1, "addresses", list_of(TEXT)),
    (2, "conditions", _CONDITIONS),
    (6, "nodeName", NAME),
    (8, "hints", _HINTS),
)
ENDPOINT_SLICE: Final = message(
    wire.EndpointSlice,
    (1, "metadata", SLICE_METADATA),
    (2, "endpoints", list_of(shortcut(ENDPOINT))),
    (
        3,
        "ports",
        list_of(
            kept(message(wire.EndpointPort, (1, "name", NAME), (2, "protocol", NAME), (3, "port", INT32)))
        ),
    ),
    (4, "addressType", NAME),
)

# k8s.io.api.networking.v1

SERVICE_CIDR: Final = message(
    wire.ServiceCIDR,
    (1, "metadata", METADATA),
    (2, "spec", message(wire.ServiceCIDRSpec, (1, "cidrs", list_of(TEXT)))),
)

OBJECTS: Final[dict[Kind, Type]] = {
    Kind.SERVICE: SERVICE,
    Kind.ENDPOINT_SLICE: ENDPOINT_SLICE,
    Kind.NODE: NODE,
    Kind.SERVICE_CIDR: SERVICE_CIDR,
}
"""The kinds for which an API server is asked."""
