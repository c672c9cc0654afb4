"""What docs/scale.md counts the bytes of is what clusters have, and what kproxy reads."""

import json

from benchmarks.scale.objects import Writer
from kproxy.state.encodings.as_json import JSON
from kproxy.state.objects import EndpointSlice, Kind, Service

NUMBER = 4_711
FLAWS: list[object] = []


def test_service_that_is_counted_is_one_that_is_served() -> None:
    manifest = Writer().service(NUMBER)
    fact = JSON.fact(Kind.SERVICE, JSON.page(listed(manifest)).items[0], [])
    assert isinstance(fact, Service)
    assert ("team-111", "application-04711") == (fact.key.namespace, fact.key.name)
    assert 1 == len(fact.ports)


def test_slice_that_is_counted_has_its_endpoints_and_belongs_to_its_service() -> None:
    manifest = Writer().endpoint_slice(NUMBER, 10)
    fact = JSON.fact(Kind.ENDPOINT_SLICE, JSON.page(listed(manifest)).items[0], [])
    assert isinstance(fact, EndpointSlice)
    assert "application-04711" == fact.service.name
    assert 10 == len({each.address for each in fact.endpoints})


def test_writer_gives_the_same_objects_again() -> None:
    assert Writer().endpoint_slice(NUMBER, 3) == Writer().endpoint_slice(NUMBER, 3)


def listed(manifest: dict[str, object]) -> bytes:
    page = {"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": [manifest]}
    return json.dumps(page).encode()
