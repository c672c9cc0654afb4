"""Events change the state: the newest objects, the dirty Services, and the refused objects."""

from dataclasses import replace

from facts import WEB, a_service, a_slice, an_endpoint
from kproxy.state.events import Changed, Cost, Deleted, Listed, Refused, Rejection
from kproxy.state.objects import Endpoints, Kind
from kproxy.state.store import Store
from kproxy.values import NamespacedName

SLICE = a_slice(an_endpoint("10.128.1.1"))


def refusal(key: NamespacedName | None = WEB) -> Rejection:
    return Rejection("web.yaml", "Service", "default/web", "spec.ports[0].port", "0 is not a port", key)


def test_changed_object_makes_its_service_dirty_once() -> None:
    store = Store()
    store.apply(Changed(a_service()))
    store.apply(Changed(SLICE))
    assert {WEB} == store.take_dirty()
    assert set() == store.take_dirty()


def test_equal_object_touches_nothing() -> None:
    store = Store()
    store.apply(Changed(a_service()))
    store.take_dirty()
    store.apply(Changed(a_service()))
    assert set() == store.take_dirty()


def test_slice_that_moves_to_another_service_makes_both_dirty() -> None:
    store = Store()
    store.apply(Changed(SLICE))
    store.take_dirty()
    store.apply(Changed(a_slice(an_endpoint("10.128.1.1"), service="api")))
    assert {WEB, NamespacedName("default", "api")} == store.take_dirty()
    assert () == store.slices_of(WEB)


def test_new_list_drops_objects_that_it_lacks() -> None:
    store = Store()
    store.apply(Changed(a_service("old")))
    store.take_dirty()
    store.apply(Listed(Kind.SERVICE, (a_service("new"),)))
    assert {NamespacedName("default", "new")} == store.services.keys()
    assert {NamespacedName("default", "old"), NamespacedName("default", "new")} == store.take_dirty()


def test_store_has_listed_a_kind_only_after_its_list() -> None:
    store = Store()
    store.apply(Changed(a_service()))
    assert not store.has_listed([Kind.SERVICE])
    store.apply(Listed(Kind.SERVICE, ()))
    assert store.has_listed([Kind.SERVICE])
    assert not store.has_listed([Kind.SERVICE, Kind.NODE])


def test_refused_object_keeps_its_older_version_and_is_remembered() -> None:
    for refused in (Refused(Kind.SERVICE, refusal()), Listed(Kind.SERVICE, (), (refusal(),))):
        store = Store()
        store.apply(Changed(a_service()))
        store.take_dirty()
        store.apply(refused)
        assert {WEB: a_service()} == store.services
        assert set() == store.take_dirty()
        assert [replace(refusal(), cost=Cost.CHANGE)] == store.rejections
        store.apply(Deleted(Kind.SERVICE, WEB))
        assert ({}, [], {WEB}) == (store.services, store.rejections, store.take_dirty())


def test_refused_object_that_was_never_known_is_remembered() -> None:
    store = Store()
    store.apply(Refused(Kind.SERVICE, refusal()))
    assert ({}, [refusal()]) == (store.services, store.rejections)


def test_flawed_object_is_used_and_remembered_until_it_is_repaired() -> None:
    told = replace(refusal(), cost=Cost.FIELD)
    for flawed in (Changed(a_service(), told), Listed(Kind.SERVICE, (a_service(),), (told,))):
        store = Store()
        store.apply(flawed)
        assert ({WEB: a_service()}, [told]) == (store.services, store.rejections)
        store.apply(Changed(a_service()))
        assert [] == store.rejections


def test_second_copy_of_an_object_in_a_list_is_left_out_and_the_first_one_used() -> None:
    store = Store()
    store.apply(Changed(a_service(resource_version="1")))
    store.apply(Listed(Kind.SERVICE, (a_service(resource_version="2"),), (refusal(),)))
    assert {WEB: a_service(resource_version="2")} == store.services
    assert [refusal()] == store.rejections


def test_objects_without_a_key_are_each_remembered() -> None:
    odd = [replace(refusal(None), place=f"services, object {number} of the list") for number in (1, 2)]
    store = Store()
    store.apply(Listed(Kind.SERVICE, (), tuple(odd)))
    assert odd == store.rejections


def test_refused_object_is_forgotten_when_it_is_repaired_or_gone() -> None:
    for mended in (Changed(a_service()), Deleted(Kind.SERVICE, WEB), Listed(Kind.SERVICE, ())):
        store = Store()
        store.apply(Refused(Kind.SERVICE, refusal()))
        store.apply(mended)
        assert [] == store.rejections


def test_old_endpoints_are_used_only_if_the_service_has_no_slice() -> None:
    old = a_slice(an_endpoint("10.128.9.9"), name="web")
    store = Store()
    store.apply(Changed(Endpoints(key=WEB, slices=(old,))))
    assert (old,) == store.slices_of(WEB)
    store.apply(Changed(SLICE))
    assert (SLICE,) == store.slices_of(WEB)
    store.apply(Deleted(Kind.ENDPOINT_SLICE, SLICE.key))
    assert (old,) == store.slices_of(WEB)


def test_slices_come_in_name_order() -> None:
    store = Store()
    for name in ("web-c", "web-a", "web-b"):
        store.apply(Changed(a_slice(an_endpoint("10.128.1.1"), name=name)))
    assert ["web-a", "web-b", "web-c"] == [piece.key.name for piece in store.slices_of(WEB)]
