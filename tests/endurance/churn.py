"""Random changes of a cluster of a steady size, and faults of its API server, all from one seed."""

import random
import time
from collections import Counter
from itertools import count

from kproxy.state.objects import Kind
from kproxy.values import Family, Protocol
from statemachine.cluster import (
    NODE,
    NODE_ADDRESSES,
    ZONES,
    NodeFacts,
    Pod,
    Shape,
    SliceKey,
    node_manifest,
    service_manifest,
    slice_manifest,
)
from stubapi import StubApi
from stubapi.manifests import service_cidr
from stubapi.storage import Object

_SERVICES = 120
_BAD_SERVICES = 20
_PODS = 200
_HEALTH_CHECK_PORTS_FROM = 31_000
_CIDRS = {
    "kubernetes": ("10.96.0.0/16", "fd00:10:96::/112"),
    "more": ("10.97.0.0/16",),
    "most": ("10.98.0.0/15",),
}
_ANSWERS_AFTER_S = 0.3
_FAMILIES = ((Family.IPV4,), (Family.IPV6,), (Family.IPV4, Family.IPV6))

_Key = tuple[Kind, str]


class Churn:
    """Keeps an API server busy; `tally` counts what happened, by kind.

    `begin` puts the objects there that `return_to_the_beginning` leads back to, so that what an agent holds
    can be compared at two moments. A Service that comes in the place of another has a new name, and so have its
    slices: what is kept of those that are gone adds up.
    """

    def __init__(self, api: StubApi, seed: int) -> None:
        self.tally: Counter[str] = Counter()
        self._api = api
        self._random = random.Random(seed)
        self._now: dict[_Key, Object] = {}
        self._first: dict[_Key, Object] = {}
        self._names = {slot: f"s{slot}" for slot in range(_SERVICES)}
        self._newer = count(1)
        self._changes = (
            (55, self._put_slice),
            (8, self._delete_slice),
            (19, self._put_service),
            (8, self._delete_service),
            (4, self._put_node),
            (3, self._put_service_cidrs),
            (3, self._put_what_cannot_be_used),
        )
        self._faults = (
            self._answer_slowly,
            self._ask_to_come_back_later,
            self._fail,
            self._cut,
            self._fall_silent,
            self._forget,
            self._be_away,
            self._send_bookmarks,
        )

    def begin(self) -> None:
        self._put(Kind.NODE, NODE, node_manifest(NodeFacts()))
        self._put_cidr("kubernetes")
        for slot in range(_SERVICES):
            self._put_service(slot)
            for family in Family:
                self._put_slice(SliceKey(self._names[slot], family, "x"))
        self._first = dict(self._now)

    def change(self) -> None:
        """One of one object."""
        (change,) = self._random.choices(
            [change for _, change in self._changes], [weight for weight, _ in self._changes]
        )
        change()
        self.tally["changes"] += 1

    def disturb(self) -> None:
        """One fault; what it began, the next one ends."""
        self.recover()
        fault = self._random.choice(self._faults)
        fault()
        self.tally[f"fault: {fault.__name__.strip('_').replace('_', ' ')}"] += 1

    def recover(self) -> None:
        self._api.answer_after(0.0)

    def return_to_the_beginning(self) -> None:
        for kind, name in self._now.keys() - self._first.keys():
            self._delete(kind, name)
        for (kind, name), manifest in self._first.items():
            if self._now.get((kind, name)) != manifest:
                self._put(kind, name, manifest)
        self._names = {slot: f"s{slot}" for slot in self._names}

    def _put_service(self, slot: int | None = None) -> None:
        slot = self._random.randrange(_SERVICES) if slot is None else slot
        flags = (
            "node_port",
            "external_ip",
            "vip",
            "source_ranges",
            "internal_local",
            "external_local",
            "affinity",
        )
        shape = Shape(
            slot=slot,
            families=self._random.choice(_FAMILIES),
            protocol=self._random.choice([Protocol.TCP, *Protocol]),
            **{flag: self._random.random() < 0.4 for flag in flags},
        )
        name = self._names[slot]
        manifest = service_manifest(name, shape)
        if shape.vip and shape.external_local:
            manifest["spec"]["healthCheckNodePort"] = _HEALTH_CHECK_PORTS_FROM + slot
        self._put(Kind.SERVICE, name, manifest)

    def _delete_service(self) -> None:
        """With its slices."""
        slot = self._random.randrange(_SERVICES)
        name = self._names[slot]
        for key in [key for key in self._now if key[1] == name or key[1].startswith(f"{name}-ipv")]:
            self._delete(*key)
        self._names[slot] = f"s{slot}-{next(self._newer)}"

    def _put_slice(self, key: SliceKey | None = None) -> None:
        if key is None:
            name = self._names[self._random.randrange(_SERVICES)]
            key = SliceKey(name, self._random.choice([*Family]), self._random.choice("xy"))
        numbers = self._random.sample(range(_PODS), self._random.randrange(6))
        pods = tuple(
            Pod(
                number=number,
                ready=self._random.random() < 0.8,
                terminating=self._random.random() < 0.2,
                zone_hint=self._random.choice(["", *ZONES]),
            )
            for number in numbers
        )
        self._put(Kind.ENDPOINT_SLICE, key.name, slice_manifest(key, pods))

    def _delete_slice(self) -> None:
        self._delete(*self._random.choice([key for key in self._now if key[0] is Kind.ENDPOINT_SLICE]))

    def _put_node(self) -> None:
        facts = NodeFacts(
            zone=self._random.choice(ZONES),
            addresses=self._random.choice([NODE_ADDRESSES, NODE_ADDRESSES[:1]]),
            pod_cidrs=self._random.choice([NodeFacts().pod_cidrs, ()]),
        )
        self._put(Kind.NODE, NODE, node_manifest(facts))

    def _put_service_cidrs(self) -> None:
        name = self._random.choice([*_CIDRS])
        if (Kind.SERVICE_CIDR, name) in self._now:
            self._delete(Kind.SERVICE_CIDR, name)
        else:
            self._put_cidr(name)

    def _put_cidr(self, name: str) -> None:
        self._put(Kind.SERVICE_CIDR, name, service_cidr(name, *_CIDRS[name]))

    def _put_what_cannot_be_used(self) -> None:
        """Under a name that no good Service has: an agent keeps the good version of one, and a clean node knows none."""
        slot = self._random.randrange(_BAD_SERVICES)
        name = f"bad-{slot}"
        if (Kind.SERVICE, name) in self._now and self._random.random() < 0.3:
            self._delete(Kind.SERVICE, name)
            return
        manifest = service_manifest(name, Shape(slot=slot))
        manifest["spec"] |= self._random.choice(
            [{"clusterIPs": ["10.96.0.x"]}, {"ports": "none"}, {"sessionAffinity": 7}]
        )
        self._put(Kind.SERVICE, name, manifest)

    def _put(self, kind: Kind, name: str, manifest: Object) -> None:
        self._now[kind, name] = manifest
        self._api.put(kind, manifest)

    def _delete(self, kind: Kind, name: str) -> None:
        manifest = self._now.pop((kind, name))
        self._api.delete(kind, manifest["metadata"].get("namespace", ""), name)

    def _answer_slowly(self) -> None:
        self._api.answer_after(_ANSWERS_AFTER_S)
        self._api.close_streams()

    def _ask_to_come_back_later(self) -> None:
        self._api.fail_next(4, 429, retry_after=1)
        self._api.close_streams()

    def _fail(self) -> None:
        self._api.fail_next(4, 500)
        self._api.close_streams()

    def _cut(self) -> None:
        self._api.close_streams()

    def _fall_silent(self) -> None:
        self._api.stall_streams()

    def _forget(self) -> None:
        self._api.unreachable()
        self._put_slice()
        self._api.compact()
        self._api.reachable()

    def _be_away(self) -> None:
        self._api.unreachable()
        time.sleep(_ANSWERS_AFTER_S)
        self._api.reachable()

    def _send_bookmarks(self) -> None:
        self._api.bookmark()
