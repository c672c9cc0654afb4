"""Objects to put into the stub, as small as the API server lets them be."""

from stubapi.storage import Object


def service(name: str, *, port: int = 80, **metadata: object) -> Object:
    """A ClusterIP Service in the namespace `default`; 65535 is the highest port that a proxy takes."""
    return {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "default", **metadata},
        "spec": {
            "ports": [{"protocol": "TCP", "port": port, "targetPort": 8080}],
            "selector": {"app": name},
            "clusterIP": "10.96.0.10",
            "clusterIPs": ["10.96.0.10"],
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
        },
        "status": {"loadBalancer": {}},
    }


def endpoint_slice(name: str, of: str, *addresses: str) -> Object:
    """An IPv4 EndpointSlice of a Service in the namespace `default`, with one unnamed port 8080."""
    return {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": of},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [each], "conditions": {"ready": True}} for each in addresses],
        "ports": [{"name": "", "protocol": "TCP", "port": 8080}],
    }


def node(name: str, address: str = "10.199.0.2") -> Object:
    """A Node with one InternalIP."""
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {"podCIDR": "10.128.1.0/24", "podCIDRs": ["10.128.1.0/24"]},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    }


def service_cidr(name: str, *cidrs: str) -> Object:
    """A network of cluster IPs."""
    return {
        "kind": "ServiceCIDR",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": name},
        "spec": {"cidrs": list(cidrs)},
    }
