"""Objects as large as in a cluster: with labels, managedFields and everything that controllers write."""

import random
import uuid
from typing import Any

Object = dict[str, Any]

_TIME = "2026-11-27T09:23:04Z"


class Writer:
    """Makes objects; a seed decides their names, addresses and UIDs."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)  # noqa: S311 # names, no secrets

    def service(self, number: int) -> Object:
        """A Service with one port, as Helm and the API server write it."""
        name = _name(number)
        labels = {
            "app.kubernetes.io/name": name,
            "app.kubernetes.io/instance": name,
            "app.kubernetes.io/managed-by": "Helm",
        }
        annotations = {
            "meta.helm.sh/release-name": name,
            "meta.helm.sh/release-namespace": _namespace(number),
        }
        address = f"10.{96 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
        return {
            "kind": "Service",
            "apiVersion": "v1",
            "metadata": self._metadata(number, name, labels, annotations)
            | {"managedFields": [_managed("helm", "v1", _fields_of_a_service(labels, annotations))]},
            "spec": {
                "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": "http"}],
                "selector": {"app.kubernetes.io/name": name},
                "clusterIP": address,
                "clusterIPs": [address],
                "type": "ClusterIP",
                "sessionAffinity": "None",
                "ipFamilies": ["IPv4"],
                "ipFamilyPolicy": "SingleStack",
                "internalTrafficPolicy": "Cluster",
            },
            "status": {"loadBalancer": {}},
        }

    def endpoint_slice(self, number: int, endpoints: int) -> Object:
        """The slice of a Service, as the EndpointSlice controller writes it for pods of a Deployment."""
        name, suffix = _name(number), self._letters(5)
        labels = {
            "app.kubernetes.io/name": name,
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            "kubernetes.io/service-name": name,
        }
        annotations = {"endpoints.kubernetes.io/last-change-trigger-time": _TIME}
        owner = self._uid()
        reference = {
            "apiVersion": "v1",
            "kind": "Service",
            "name": name,
            "uid": owner,
            "controller": True,
            "blockOwnerDeletion": True,
        }
        fields = _fields_of_a_slice(labels, owner)
        pods = f"{name}-{self._letters(10)}"
        return {
            "kind": "EndpointSlice",
            "apiVersion": "discovery.k8s.io/v1",
            "metadata": self._metadata(number, f"{name}-{suffix}", labels, annotations)
            | {
                "generateName": f"{name}-",
                "generation": 4,
                "ownerReferences": [reference],
                "managedFields": [_managed("kube-controller-manager", "discovery.k8s.io/v1", fields)],
            },
            "addressType": "IPv4",
            "endpoints": [self._endpoint(number, pods) for _ in range(endpoints)],
            "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
        }

    def _endpoint(self, number: int, pods: str) -> Object:
        node = self._random.randrange(5_000)
        pod = {
            "kind": "Pod",
            "namespace": _namespace(number),
            "name": f"{pods}-{self._letters(5)}",
            "uid": self._uid(),
        }
        return {
            "addresses": [f"10.{128 + (node >> 8)}.{node & 255}.{self._random.randrange(2, 250)}"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "targetRef": pod,
            "nodeName": f"node-{node:04}",
            "zone": f"zone-{node % 3}",
        }

    def _metadata(self, number: int, name: str, labels: Object, annotations: Object) -> Object:
        return {
            "name": name,
            "namespace": _namespace(number),
            "uid": self._uid(),
            "resourceVersion": str(self._random.randrange(10**8, 10**9)),
            "creationTimestamp": _TIME,
            "labels": labels,
            "annotations": annotations,
        }

    def _uid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def _letters(self, count: int) -> str:
        return "".join(self._random.choices("bcdfghjklmnpqrstvwxz2456789", k=count))


def bookmark(kind: str, api_version: str) -> Object:
    """The object of a BOOKMARK event."""
    return {
        "kind": kind,
        "apiVersion": api_version,
        "metadata": {"resourceVersion": "123456789", "creationTimestamp": None},
    }


def _name(number: int) -> str:
    return f"application-{number:05}"


def _namespace(number: int) -> str:
    return f"team-{number % 200:03}"


def _managed(manager: str, api_version: str, fields: Object) -> Object:
    return {
        "manager": manager,
        "operation": "Update",
        "apiVersion": api_version,
        "time": _TIME,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }


def _fields_of_a_service(labels: Object, annotations: Object) -> Object:
    port: Object = {".": {}, "f:name": {}, "f:port": {}, "f:protocol": {}, "f:targetPort": {}}
    return {
        "f:metadata": {"f:annotations": _each(annotations), "f:labels": _each(labels)},
        "f:spec": {
            "f:internalTrafficPolicy": {},
            "f:ports": {".": {}, 'k:{"port":80,"protocol":"TCP"}': port},
            "f:selector": {},
            "f:sessionAffinity": {},
            "f:type": {},
        },
    }


def _fields_of_a_slice(labels: Object, owner: str) -> Object:
    return {
        "f:addressType": {},
        "f:endpoints": {},
        "f:metadata": {
            "f:annotations": _each({"endpoints.kubernetes.io/last-change-trigger-time": ""}),
            "f:generateName": {},
            "f:labels": _each(labels),
            "f:ownerReferences": {".": {}, f'k:{{"uid":"{owner}"}}': {}},
        },
        "f:ports": {},
    }


def _each(names: Object) -> Object:
    return {".": {}} | {f"f:{name}": {} for name in names}
