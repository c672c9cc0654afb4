"""The newest fact of each object, and the Services that a change touches.

The store is the only place where events become state. It never decides the content of a rule: it answers which objects
exist now, and which Services must be computed again.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from kproxy.state.events import Changed, Cost, Deleted, Event, Listed, Refused, Rejection
from kproxy.state.objects import (
    KIND_OF,
    Endpoints,
    EndpointSlice,
    Kind,
    Node,
    Object,
    Pod,
    Service,
    ServiceCIDR,
)
from kproxy.values import Family, NamespacedName, Network, family_of


class Store:
    """Every object by kind and key; EndpointSlices also by their Service.

    The store is not thread-safe: one thread applies events and reads.
    """

    def __init__(self) -> None:
        self._objects: dict[Kind, dict[NamespacedName, Object]] = {kind: {} for kind in Kind}
        self._slices_by_service: dict[NamespacedName, dict[str, EndpointSlice]] = {}
        self._rejections: dict[Kind, dict[object, Rejection]] = {kind: {} for kind in Kind}
        self.rejection_changes = 0
        """Grows whenever `rejections` may have changed, so that nobody must compare thousands of rejections."""
        self._listed: set[Kind] = set()
        self._dirty: set[NamespacedName] = set()

    def apply(self, event: Event) -> None:
        """Apply one event. An object equal to the known object touches nothing."""
        match event:
            case Changed(object=thing, rejection=flawed):
                kind = KIND_OF[type(thing)]
                self._put(kind, thing)
                if flawed:
                    self._note(kind, flawed)
            case Deleted(kind=kind, key=key):
                self._drop(kind, key)
            case Refused(kind=kind, rejection=rejection):
                self._note(kind, self._beside_the_known(kind, rejection))
            case Listed(kind=kind, objects=objects, rejections=rejections):
                self._replace(kind, objects, rejections)

    def has_listed(self, kinds: Iterable[Kind]) -> bool:
        """Whether the complete list of each of these kinds has arrived at least once."""
        return self._listed.issuperset(kinds)

    def take_dirty(self) -> set[NamespacedName]:
        """The Services that were touched since the last call. The call resets them."""
        dirty, self._dirty = self._dirty, set()
        return dirty

    @property
    def services(self) -> Mapping[NamespacedName, Service]:
        return self._objects[Kind.SERVICE]  # type: ignore[return-value] # each kind's dict holds only its own type

    @property
    def pods(self) -> Mapping[NamespacedName, Pod]:
        return self._objects[Kind.POD]  # type: ignore[return-value] # each kind's dict holds only its own type

    @property
    def rejections(self) -> list[Rejection]:
        """Objects of which the whole, a field or the newest change is left out."""
        return [rejection for by_name in self._rejections.values() for rejection in by_name.values()]

    def node(self, name: str) -> Node | None:
        node = self._objects[Kind.NODE].get(NamespacedName("", name))
        return node if isinstance(node, Node) else None

    def node_names(self) -> Collection[str]:
        return [key.name for key in self._objects[Kind.NODE]]

    def service_networks(self, family: Family) -> tuple[Network, ...]:
        """The networks from which cluster IPs of the family are taken, each once, sorted by text."""
        found = {
            network
            for each in self._objects[Kind.SERVICE_CIDR].values()
            if isinstance(each, ServiceCIDR)
            for network in each.networks
        }
        return tuple(sorted(network for network in found if family_of(network) is family))

    def services_of_slices(self) -> Collection[NamespacedName]:
        """The Services that EndpointSlices and old Endpoints name, whether or not they exist."""
        return self._slices_by_service.keys() | self._objects[Kind.ENDPOINTS].keys()

    def slices_of(self, service: NamespacedName) -> tuple[EndpointSlice, ...]:
        """The Service's EndpointSlices in name order; if there are none, the slices of its old Endpoints object."""
        slices = self._slices_by_service.get(service)
        if slices:
            return tuple([slices[name] for name in sorted(slices)])
        endpoints = self._objects[Kind.ENDPOINTS].get(service)
        return endpoints.slices if isinstance(endpoints, Endpoints) else ()

    def _replace(self, kind: Kind, objects: Iterable[Object], rejections: Collection[Rejection]) -> None:
        newest = {thing.key: thing for thing in objects}
        refused = {rejection.key for rejection in rejections}
        self.rejection_changes += bool(self._rejections[kind])
        self._rejections[kind] = {}
        for key in self._objects[kind].keys() - newest.keys() - refused:
            self._drop(kind, key)
        for thing in newest.values():
            self._put(kind, thing)
        for rejection in rejections:
            is_used = rejection.key in newest
            self._note(kind, rejection if is_used else self._beside_the_known(kind, rejection))
        self._listed.add(kind)

    def _beside_the_known(self, kind: Kind, refused: Rejection) -> Rejection:
        """A refused object keeps its known version, because that version was right and there is no better one."""
        return replace(refused, cost=Cost.CHANGE) if refused.key in self._objects[kind] else refused

    def _note(self, kind: Kind, rejection: Rejection) -> None:
        self.rejection_changes += 1
        self._rejections[kind][rejection.key or (rejection.place, rejection.reason)] = rejection

    def _put(self, kind: Kind, thing: Object) -> None:
        known = self._objects[kind].get(thing.key)
        self._forgive(kind, thing.key)
        if known == thing:
            return
        self._unlink(known)
        self._objects[kind][thing.key] = thing
        if isinstance(thing, EndpointSlice):
            self._slices_by_service.setdefault(thing.service, {})[thing.key.name] = thing
        self._touch(thing)

    def _drop(self, kind: Kind, key: NamespacedName) -> None:
        self._forgive(kind, key)
        known = self._objects[kind].pop(key, None)
        self._unlink(known)

    def _unlink(self, known: Object | None) -> None:
        if known is None:
            return
        if isinstance(known, EndpointSlice):
            siblings = self._slices_by_service[known.service]
            del siblings[known.key.name]
            if not siblings:
                del self._slices_by_service[known.service]
        self._touch(known)

    def _touch(self, thing: Object) -> None:
        match thing:
            case EndpointSlice(service=service):
                self._dirty.add(service)
            case Service(key=key) | Endpoints(key=key):
                self._dirty.add(key)
            case _:
                pass

    def _forgive(self, kind: Kind, key: NamespacedName) -> None:
        self.rejection_changes += self._rejections[kind].pop(key, None) is not None
