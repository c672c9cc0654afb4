"""Kubernetes' messages as `generated.proto` has them, for an encoder that shares nothing with kproxy's reader.

`name=number type`: `*` is repeated, `!` is what an API server always writes, set or not, because Go has no pointer there.
"""

from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

if TYPE_CHECKING:
    from google.protobuf.message import Message

_TABLE = """
TypeMeta: apiVersion=1 string!; kind=2 string!
Unknown: typeMeta=1 TypeMeta!; raw=2 bytes; contentEncoding=3 string!; contentType=4 string!
RawExtension: raw=1 bytes
WatchEvent: type=1 string!; object=2 RawExtension!

Time: seconds=1 int64!; nanos=2 int32!
FieldsV1: Raw=1 bytes
IntOrString: type=1 int64!; intVal=2 int32!; strVal=3 string!
Quantity: string=1 string
ListMeta: selfLink=1 string!; resourceVersion=2 string!; continue=3 string!; remainingItemCount=4 int64
OwnerReference: kind=1 string!; name=3 string!; uid=4 string!; apiVersion=5 string!; controller=6 bool; blockOwnerDeletion=7 bool
ManagedFieldsEntry: manager=1 string!; operation=2 string!; apiVersion=3 string!; time=4 Time; fieldsType=6 string!; fieldsV1=7 FieldsV1; subresource=8 string!
ObjectMeta: name=1 string!; generateName=2 string!; namespace=3 string!; selfLink=4 string!; uid=5 string!; resourceVersion=6 string!; generation=7 int64!; creationTimestamp=8 Time!; deletionTimestamp=9 Time; deletionGracePeriodSeconds=10 int64; labels=11 map; annotations=12 map; ownerReferences=13 *OwnerReference; finalizers=14 *string; managedFields=17 *ManagedFieldsEntry
StatusCause: reason=1 string!; message=2 string!; field=3 string!
StatusDetails: name=1 string!; group=2 string!; kind=3 string!; causes=4 *StatusCause; retryAfterSeconds=5 int32!; uid=6 string!
Status: metadata=1 ListMeta!; status=2 string!; message=3 string!; reason=4 string!; details=5 StatusDetails; code=6 int32!

ServicePort: name=1 string!; protocol=2 string!; port=3 int32!; targetPort=4 IntOrString!; nodePort=5 int32!; appProtocol=6 string
ClientIPConfig: timeoutSeconds=1 int32
SessionAffinityConfig: clientIP=1 ClientIPConfig
ServiceSpec: ports=1 *ServicePort; selector=2 map; clusterIP=3 string!; type=4 string!; externalIPs=5 *string; sessionAffinity=7 string!; loadBalancerIP=8 string!; loadBalancerSourceRanges=9 *string; externalName=10 string!; externalTrafficPolicy=11 string!; healthCheckNodePort=12 int32!; publishNotReadyAddresses=13 bool!; sessionAffinityConfig=14 SessionAffinityConfig; ipFamilyPolicy=17 string; clusterIPs=18 *string; ipFamilies=19 *string; allocateLoadBalancerNodePorts=20 bool; loadBalancerClass=21 string; internalTrafficPolicy=22 string; trafficDistribution=23 string
PortStatus: port=1 int32!; protocol=2 string!; error=3 string
LoadBalancerIngress: ip=1 string!; hostname=2 string!; ipMode=3 string; ports=4 *PortStatus
LoadBalancerStatus: ingress=1 *LoadBalancerIngress
Condition: type=1 string!; status=2 string!; observedGeneration=3 int64!; lastTransitionTime=4 Time!; reason=5 string!; message=6 string!
ServiceStatus: loadBalancer=1 LoadBalancerStatus!; conditions=2 *Condition
Service: metadata=1 ObjectMeta!; spec=2 ServiceSpec!; status=3 ServiceStatus!

Taint: key=1 string!; value=2 string!; effect=3 string!; timeAdded=4 Time
NodeSpec: podCIDR=1 string!; externalID=2 string!; providerID=3 string!; unschedulable=4 bool!; taints=5 *Taint; podCIDRs=7 *string
NodeAddress: type=1 string!; address=2 string!
DaemonEndpoint: Port=1 int32!
NodeDaemonEndpoints: kubeletEndpoint=1 DaemonEndpoint!
NodeSystemInfo: machineID=1 string!; systemUUID=2 string!; bootID=3 string!; kernelVersion=4 string!; osImage=5 string!; containerRuntimeVersion=6 string!; kubeletVersion=7 string!; kubeProxyVersion=8 string!; operatingSystem=9 string!; architecture=10 string!
NodeStatus: phase=3 string!; addresses=5 *NodeAddress; daemonEndpoints=6 NodeDaemonEndpoints!; nodeInfo=7 NodeSystemInfo!
Node: metadata=1 ObjectMeta!; spec=2 NodeSpec!; status=3 NodeStatus!

ObjectReference: kind=1 string!; namespace=2 string!; name=3 string!; uid=4 string!; apiVersion=5 string!; resourceVersion=6 string!; fieldPath=7 string!
EndpointConditions: ready=1 bool; serving=2 bool; terminating=3 bool
ForZone: name=1 string!
ForNode: name=1 string!
EndpointHints: forZones=1 *ForZone; forNodes=2 *ForNode
Endpoint: addresses=1 *string; conditions=2 EndpointConditions!; hostname=3 string; targetRef=4 ObjectReference; deprecatedTopology=5 map; nodeName=6 string; zone=7 string; hints=8 EndpointHints
EndpointPort: name=1 string; protocol=2 string; port=3 int32; appProtocol=4 string
EndpointSlice: metadata=1 ObjectMeta!; endpoints=2 *Endpoint; ports=3 *EndpointPort; addressType=4 string!

ServiceCIDRSpec: cidrs=1 *string
ServiceCIDRStatus: conditions=1 *Condition
ServiceCIDR: metadata=1 ObjectMeta!; spec=2 ServiceCIDRSpec!; status=3 ServiceCIDRStatus!

ServiceList: metadata=1 ListMeta!; items=2 *Service
NodeList: metadata=1 ListMeta!; items=2 *Node
EndpointSliceList: metadata=1 ListMeta!; items=2 *EndpointSlice
ServiceCIDRList: metadata=1 ListMeta!; items=2 *ServiceCIDR
"""
_PACKAGE = "kubernetes"
_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _FIELD.TYPE_STRING,
    "bytes": _FIELD.TYPE_BYTES,
    "int32": _FIELD.TYPE_INT32,
    "int64": _FIELD.TYPE_INT64,
    "bool": _FIELD.TYPE_BOOL,
}

ALWAYS: dict[str, list[str]] = {}
"""The fields of each message that are written even if nothing is set."""


def _file() -> descriptor_pb2.FileDescriptorProto:
    found = descriptor_pb2.FileDescriptorProto(name="kubernetes.proto", package=_PACKAGE, syntax="proto2")
    for line in filter(None, _TABLE.splitlines()):
        name, _, fields = line.partition(":")
        message = found.message_type.add(name=name)
        ALWAYS[name] = []
        for each in fields.split(";"):
            left, kind = each.split()
            field, _, number = left.partition("=")
            _add(message, field, number, kind)
    return found


def _add(message: descriptor_pb2.DescriptorProto, name: str, number: str, kind: str) -> None:
    field = message.field.add(name=name, number=int(number), label=_FIELD.LABEL_OPTIONAL)
    if kind.endswith("!"):
        ALWAYS[message.name].append(name)
    if kind.startswith("*") or kind == "map":
        field.label = _FIELD.LABEL_REPEATED
    kind = kind.strip("*!")
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
        return
    if kind == "map":
        kind = f"{message.name}.{name[0].upper()}{name[1:]}Entry"
        entry = message.nested_type.add(name=kind.rpartition(".")[2])
        entry.options.map_entry = True
        for at, each in enumerate(("key", "value"), 1):
            entry.field.add(name=each, number=at, label=_FIELD.LABEL_OPTIONAL, type=_FIELD.TYPE_STRING)
    field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"


def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(_file().SerializeToString())
    return pool


_POOL = _pool()


def message_of(name: str) -> Any:
    """An empty message of this name."""
    made: type[Message] = message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
    return made()
