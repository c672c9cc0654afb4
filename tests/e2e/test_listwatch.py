"""The list/watch loop against a stub API server: real TLS sockets, real threads, real configuration."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from kproxy.client.answer import Answer
from kproxy.client.connection import Connection, connect
from kproxy.client.rate import RateLimiter
from kproxy.errors import InputError
from kproxy.sources.freshness import Freshness
from kproxy.sources.kube import SERVICE_CIDRS, SERVICES, KubeSource
from kproxy.sources.listing import list_resource
from kproxy.sources.listwatch import ListWatch
from kproxy.sources.timing import Timing
from kproxy.state.events import Deleted, Listed, Refused
from kproxy.state.objects import Kind
from kproxy.values import NamespacedName
from listwatching import BOUND_S, Events, in_short, requests
from stubapi import StubApi
from stubapi.manifests import endpoint_slice, node, service, service_cidr

PACE = Timing(
    page_size=3,
    watch_min_s=600,
    watch_max_s=600,
    backoff_base_s=0.01,
    backoff_cap_s=0.05,
    retry_after_cap_s=0.3,
)

Watch = Callable[[Timing], ListWatch]


@pytest.fixture(params=[False, True], ids=["json", "protobuf"])
def api(request: pytest.FixtureRequest) -> Iterator[StubApi]:
    with StubApi(speaks_protobuf=request.param) as stub:
        yield stub


@pytest.fixture
def kubeconfig(api: StubApi, tmp_path: Path) -> Path:
    return api.write_kubeconfig(tmp_path / "kubeconfig")


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def watch(kubeconfig: Path, events: Events) -> Iterator[Watch]:
    """Starts the loop of the Services."""
    loops: list[ListWatch] = []

    def start(timing: Timing = PACE) -> ListWatch:
        loop = ListWatch(SERVICES, lambda: connect(kubeconfig), events.queue.put, timing)
        loops.append(loop)
        loop.start(connect(kubeconfig))
        return loop

    yield start
    for loop in loops:
        loop.stop()
        loop.join(BOUND_S)


def wait_until_current(loop: ListWatch, resource_version: int) -> Freshness:
    """Bookmarks emit nothing, so there is no event to wait for."""
    pause = threading.Event()
    for _ in range(int(BOUND_S / 0.01)):
        if loop.freshness.resource_version == str(resource_version):
            return loop.freshness
        pause.wait(0.01)
    raise TimeoutError(f"{loop.freshness} did not become {resource_version}")


def test_first_list_is_asked_of_the_servers_cache_in_one_piece(
    api: StubApi, watch: Watch, events: Events
) -> None:
    names = [f"s{number}" for number in range(7)]
    for name in names:
        api.put("Service", service(name))
    watch(PACE)
    assert " ".join(["listed", *names]) == events.next_text()
    (only,) = requests(api, "list")
    assert ("0", "3") == (only["resourceVersion"], only["limit"])


def test_list_longer_than_a_page_arrives_whole(api: StubApi, watch: Watch, events: Events) -> None:
    names = [f"s{number}" for number in range(7)]
    for name in names:
        api.put("Service", service(name))
    api.page_all_lists()
    watch(PACE)
    assert " ".join(["listed", *names]) == events.next_text()
    first, *later = requests(api, "list")
    assert ("3", "0", None) == (first["limit"], first["resourceVersion"], first.get("continue"))
    assert [("3", True, False)] * 2 == [
        (query["limit"], "continue" in query, "resourceVersion" in query) for query in later
    ]


def test_list_that_expires_between_pages_is_asked_for_again(api: StubApi, kubeconfig: Path) -> None:
    for number in range(5):
        api.put("Service", service(f"s{number}"))
    connection = connect(kubeconfig)

    def get_and_compact(query: object) -> Answer:
        assert isinstance(query, dict)
        answer = connection.get(SERVICES.path, query, read_timeout_s=BOUND_S)
        if len(api.requests) == 1:
            api.delete("Service", "default", "s0")
            api.compact()
        return answer

    listed, resource_version = list_resource(get_and_compact, SERVICES, 2)
    connection.close()
    assert "listed s1 s2 s3 s4" == in_short(listed)
    assert str(api.storage.resource_version) == resource_version
    assert [True, True, False] == ["limit" in query for query in requests(api, "list")]


def test_watch_tells_additions_changes_and_deletions_in_order(
    api: StubApi, watch: Watch, events: Events
) -> None:
    watch(PACE)
    assert "listed" == events.next_text()
    api.put("Service", service("a"))
    api.put("Service", service("b"))
    api.put("Service", service("a", port=81))
    api.delete("Service", "default", "b")
    told = [events.next_text() for _ in range(4)]
    assert ["changed a", "changed b", "changed a", "deleted b"] == told


def test_event_of_several_megabytes_arrives(api: StubApi, watch: Watch, events: Events) -> None:
    watch(PACE)
    events.next()
    api.put("Service", service("large", annotations={"note": "n" * 3_000_000}))
    api.put("Service", service("small"))
    assert ["changed large", "changed small"] == [events.next_text(), events.next_text()]


def test_stream_cut_in_mid_air_goes_on_without_a_list(api: StubApi, watch: Watch, events: Events) -> None:
    watch(PACE)
    events.next()
    api.wait_for_streams("Service", 1)
    api.close_streams()
    api.put("Service", service("later"))
    assert "changed later" == events.next_text()
    assert 1 == len(requests(api, "list"))


def test_watch_that_reached_its_end_goes_on_without_a_list(
    api: StubApi, watch: Watch, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    watch(replace(PACE, watch_min_s=1, watch_max_s=1))
    events.next()
    api.wait_for_streams("Service", 2)
    api.put("Service", service("later"))
    assert "changed later" == events.next_text()
    assert 1 == len(requests(api, "list"))
    assert [] == [each for each in caplog.records if each.levelno >= logging.WARNING]


def test_watch_that_ends_before_its_time_goes_on_after_a_pause_on_a_new_connection(
    api: StubApi, kubeconfig: Path, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[Connection] = []

    def reconnect() -> Connection:
        made.append(connect(kubeconfig))
        return made[-1]

    loop = ListWatch(SERVICES, reconnect, events.queue.put, PACE)
    loop.start(reconnect())
    events.next()
    api.wait_for_streams("Service", 1)
    api.end_streams()
    api.wait_for_streams("Service", 2)
    loop.stop()
    loop.join(BOUND_S)
    (warning,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert (
        "services: the server ends the watch before its time; the last known state stays in force" in warning
    )
    assert 2 == len(made)
    assert 1 == len(requests(api, "list"))


@pytest.mark.parametrize(("status", "connections"), [(429, 1), (503, 3)])
def test_server_that_refuses_for_load_is_asked_again_on_the_same_connection(
    api: StubApi, kubeconfig: Path, events: Events, status: int, connections: int
) -> None:
    made: list[Connection] = []

    def reconnect() -> Connection:
        made.append(connect(kubeconfig))
        return made[-1]

    api.fail_next(2, status)
    loop = ListWatch(SERVICES, reconnect, events.queue.put, PACE)
    loop.start(reconnect())
    assert "listed" == events.next_text()
    loop.stop()
    loop.join(BOUND_S)
    assert connections == len(made)


def test_stream_gone_silent_is_noticed_and_watched_again(api: StubApi, watch: Watch, events: Events) -> None:
    watch(replace(PACE, idle_s=1.0))
    events.next()
    api.wait_for_streams("Service", 1)
    api.stall_streams()
    api.put("Service", service("unheard"))
    assert "changed unheard" == events.next_text()
    assert 1 == len(requests(api, "list"))


def test_watches_without_a_word_are_doubted_and_listed_again(
    api: StubApi, watch: Watch, events: Events
) -> None:
    watch(replace(PACE, idle_s=0.2))
    assert ["listed", "listed"] == [events.next_text(), events.next_text()]
    assert 3 <= len(requests(api, "watch"))


def test_error_event_410_lists_again_and_not_older_than_what_is_known(
    api: StubApi, watch: Watch, events: Events
) -> None:
    known = api.put("Service", service("a"))
    watch(PACE)
    events.next()
    api.wait_for_streams("Service", 1)
    api.stall_streams()
    api.put("Service", service("missed"))
    api.compact()
    api.close_streams()
    assert "listed a missed" == events.next_text()
    again = requests(api, "list")[-1]
    assert (str(known), False) == (again["resourceVersion"], "limit" in again)


@pytest.mark.parametrize(("status", "lists"), [(429, 1), (503, 1), (500, 2), (410, 2)])
def test_error_event_lists_again_unless_it_tells_of_overload(
    api: StubApi, watch: Watch, events: Events, status: int, lists: int
) -> None:
    watch(PACE)
    events.next()
    for number in range(1, 4):
        api.wait_for_streams("Service", number)
        api.end_streams_with(status)
        if lists == 2:
            assert "listed" == events.next_text()
    api.wait_for_streams("Service", 4)
    api.put("Service", service("later"))
    assert "changed later" == events.next_text()
    assert 1 + 3 * (lists - 1) == len(requests(api, "list"))


def test_http_410_lists_again(api: StubApi, watch: Watch, events: Events) -> None:
    watch(PACE)
    events.next()
    api.wait_for_streams("Service", 1)
    api.fail_next(1, 410)
    api.close_streams()
    assert "listed" == events.next_text()
    assert 2 == len(requests(api, "list"))


def test_server_that_is_behind_what_is_known_is_asked_for_its_newest_list(
    api: StubApi, watch: Watch, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a restore from a backup."""
    for number in range(5):
        api.put("Service", service(f"s{number}"))
    watch(PACE)
    events.next()
    api.wait_for_streams("Service", 1)
    api.restore_from_backup(to=28500)
    api.put("Service", service("old"))
    api.fail_next(1, 410)
    api.close_streams()
    assert "listed old" == events.next_text()
    assert [True, False] == [bool(query.get("resourceVersion")) for query in requests(api, "list")[-2:]]
    assert "resourceVersion goes back" in caplog.text


@pytest.mark.parametrize("status", [429, 503])
def test_page_that_is_refused_for_overload_is_asked_for_again_alone(
    api: StubApi, kubeconfig: Path, events: Events, status: int
) -> None:
    for number in range(7):
        api.put("Service", service(f"s{number}"))
    api.page_all_lists()
    refused: list[int] = []
    waits: list[float] = []

    def reconnect() -> Connection:
        connection = connect(kubeconfig)
        get = connection.get

        def get_or_fail(path: str, query: Mapping[str, str], *, read_timeout_s: float) -> Answer:
            if "continue" in query and len(refused) < 2:
                refused.append(status)
                api.fail_next(1, status, retry_after=1)
            return get(path, query, read_timeout_s=read_timeout_s)

        connection.get = get_or_fail  # type: ignore[method-assign]
        return connection

    def wait(stopping: threading.Event, seconds: float) -> bool:
        waits.append(seconds)
        return stopping.is_set()

    loop = ListWatch(SERVICES, reconnect, events.queue.put, replace(PACE, wait=wait, retry_after_cap_s=5.0))
    loop.start(reconnect())
    assert "listed s0 s1 s2 s3 s4 s5 s6" == events.next_text()
    loop.stop()
    loop.join(BOUND_S)
    assert 2 == len(waits)
    assert all(1.0 <= each <= 2.0 for each in waits)
    assert 1 == sum("continue" not in query for query in requests(api, "list"))


def test_names_of_versions_from_a_server_are_in_no_log_raw(
    watch: Watch, api: StubApi, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    api.disguise_versions("1\x1b[2J\nERROR forged")
    with caplog.at_level(logging.DEBUG):
        watch(PACE)
        events.next()
        api.wait_for_streams("Service", 1)
        api.close_streams()
        api.wait_for_streams("Service", 2)
    assert any(r"resourceVersion '1\x1b[2J\nERROR forged'" in each for each in caplog.messages)
    assert [] == [each for each in caplog.messages if "\x1b" in each or "\n" in each]


def test_bookmark_lets_a_watch_go_on_after_a_compaction(api: StubApi, watch: Watch, events: Events) -> None:
    loop = watch(PACE)
    events.next()
    api.wait_for_streams("Service", 1)
    elsewhere = api.put("Node", node("node-1"))
    api.bookmark()
    wait_until_current(loop, elsewhere)
    api.compact()
    api.close_streams()
    api.put("Service", service("later"))
    assert "changed later" == events.next_text()
    assert 1 == len(requests(api, "list"))


def test_object_that_cannot_be_used_is_refused_and_the_rest_arrives(
    api: StubApi, watch: Watch, events: Events
) -> None:
    api.put("Service", service("bad", port=70000))
    api.put("Service", service("good"))
    watch(PACE)
    assert "listed good -default/bad" == events.next_text()
    api.put("Service", service("worse", port=-1))
    api.put("Service", service("better"))
    assert "refused default/worse spec.ports[0].port" == events.next_text()
    assert "changed better" == events.next_text()


def test_refused_object_carries_its_key_and_place(api: StubApi, watch: Watch, events: Events) -> None:
    watch(PACE)
    events.next()
    api.put("Service", service("bad", port=70000))
    refused = events.next()
    assert isinstance(refused, Refused)
    assert NamespacedName("default", "bad") == refused.rejection.key
    assert "/api/v1/services" == refused.rejection.place


@pytest.mark.parametrize("status", [500, 503, 403])
def test_refusals_are_logged_once_each_and_tried_again(
    api: StubApi, watch: Watch, events: Events, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    api.fail_next(3, status)
    watch(PACE)
    assert "listed" == events.next_text()
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert 3 == len(warnings)
    assert all(f"answers {status} to list services" in each for each in warnings)
    assert all("listing again in" in each for each in warnings)


@pytest.mark.parametrize(("asked_s", "waited"), [(3600, "in 0.3 s"), (0, "in 0.0 s")])
def test_retry_after_is_honoured_up_to_a_bound(
    api: StubApi, watch: Watch, events: Events, caplog: pytest.LogCaptureFixture, asked_s: int, waited: str
) -> None:
    api.fail_next(1, 429, retry_after=asked_s)
    watch(replace(PACE, backoff_cap_s=0.01))
    assert "listed" == events.next_text()
    (warning,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert warning.endswith(waited)


def test_expired_token_is_said_and_a_new_one_taken_up(
    api: StubApi, events: Events, kubeconfig: Path, caplog: pytest.LogCaptureFixture
) -> None:
    attempts: list[Connection] = []

    def reconnect() -> Connection:
        if len(attempts) == 1:  # the first has met the old token
            api.write_kubeconfig(kubeconfig)
        attempts.append(connect(kubeconfig))
        return attempts[-1]

    loop = ListWatch(SERVICES, reconnect, events.queue.put, PACE)
    loop.start(connect(kubeconfig))
    events.next()
    api.wait_for_streams("Service", 1)
    api.rotate_token()
    api.close_streams()
    api.put("Service", service("later"))
    assert "changed later" == events.next_text()
    loop.stop()
    loop.join(BOUND_S)
    assert 1 == len(requests(api, "list"))
    assert "answers 401 to watch services: our credentials are not accepted; renew the token" in caplog.text


def test_server_that_was_away_is_found_again(
    api: StubApi, watch: Watch, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    watch(PACE)
    events.next()
    api.wait_for_streams("Service", 1)
    api.unreachable()
    api.put("Service", service("meanwhile"))
    api.reachable()
    assert "changed meanwhile" == events.next_text()
    assert 1 == len(requests(api, "list"))
    assert "watching on from resourceVersion" in caplog.text


def test_source_keeps_services_slices_and_its_own_node(
    api: StubApi, kubeconfig: Path, events: Events
) -> None:
    api.put("Service", service("web"))
    api.put("Service", service("hidden", labels={"service.kubernetes.io/service-proxy-name": "other"}))
    api.put("EndpointSlice", endpoint_slice("web-a", "web", "10.128.1.2"))
    headless = endpoint_slice("hidden-a", "hidden", "10.128.1.3")
    headless["metadata"]["labels"]["service.kubernetes.io/headless"] = ""
    api.put("EndpointSlice", headless)
    api.put("Node", node("node-1"))
    api.put("Node", node("node-2"))
    source = KubeSource(lambda: connect(kubeconfig), events.queue.put, node_name="node-1", timing=PACE)
    source.start()
    try:
        assert {"listed web", "listed web-a", "listed node-1"} == {events.next_text() for _ in range(3)}
        api.put("Service", service("web", labels={"service.kubernetes.io/service-proxy-name": "other"}))
        assert Deleted(Kind.SERVICE, NamespacedName("default", "web")) == events.next()
    finally:
        source.stop()
    assert [Kind.SERVICE, Kind.ENDPOINT_SLICE, Kind.NODE] == [each.kind for each in source.freshness]


@pytest.mark.parametrize("status", [403, 404])
def test_kind_that_a_cluster_may_lack_is_missed_once_and_taken_up_when_it_comes(
    api: StubApi, kubeconfig: Path, events: Events, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    api.put("ServiceCIDR", service_cidr("kubernetes", "10.96.0.0/12"))
    api.lack("ServiceCIDR", status)
    timing = replace(PACE, lacking_s=0.02)
    loop = ListWatch(SERVICE_CIDRS, lambda: connect(kubeconfig), events.queue.put, timing)
    with caplog.at_level(logging.WARNING):
        loop.start(connect(kubeconfig))
        pause = threading.Event()
        for _ in range(int(BOUND_S / 0.02)):
            if len(api.requests) >= 5:
                break
            pause.wait(0.02)
        (told,) = caplog.messages
        assert told.startswith(
            f"servicecidrs: the API server answers {status}, so packets to cluster IPs that no"
        )
        api.have("ServiceCIDR")
        assert "listed kubernetes" == events.next_text()
        loop.stop()
        loop.join(BOUND_S)


def test_kind_that_every_cluster_has_is_missed_each_time(
    api: StubApi, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    api.lack("Service", 403)
    with caplog.at_level(logging.WARNING):
        watch(PACE)
        pause = threading.Event()
        for _ in range(int(BOUND_S / 0.02)):
            if len(caplog.messages) >= 3:
                break
            pause.wait(0.02)
    assert 3 <= sum("we may not list services" in each for each in caplog.messages)


def test_stop_ends_streams_that_are_blocked_in_reading(
    api: StubApi, kubeconfig: Path, events: Events
) -> None:
    source = KubeSource(lambda: connect(kubeconfig), events.queue.put, node_name="node-1", timing=PACE)
    source.start()
    for kind in (Kind.SERVICE, Kind.ENDPOINT_SLICE, Kind.NODE):
        events.next()
        api.wait_for_streams(kind, 1)
    source.stop()
    assert [] == [each.name for each in threading.enumerate() if each.name.startswith("watch-")]


def test_stop_waits_for_no_answer_and_no_turn(api: StubApi, kubeconfig: Path, events: Events) -> None:
    api.answer_after(30.0)
    limiter = RateLimiter(0.001, 1)
    source = KubeSource(
        lambda: connect(kubeconfig, limiter=limiter),
        events.queue.put,
        node_name="node-1",
        timing=PACE,
    )
    source.start()
    while not api.requests:
        threading.Event().wait(0.05)
    began_at = time.monotonic()
    source.stop()
    assert 3.0 > time.monotonic() - began_at
    assert 1 == len(api.requests)


def test_start_with_a_missing_kubeconfig_names_it(tmp_path: Path, events: Events) -> None:
    missing = tmp_path / "missing"
    source = KubeSource(lambda: connect(missing), events.queue.put, node_name="node-1")
    with pytest.raises(InputError, match=f"the kubeconfig {missing} does not exist"):
        source.start()


def test_thousand_services_and_slices_arrive_whole(api: StubApi, kubeconfig: Path, events: Events) -> None:
    for number in range(1000):
        api.put("Service", service(f"s{number}"))
        api.put("EndpointSlice", endpoint_slice(f"s{number}-a", f"s{number}", "10.128.1.2"))
    source = KubeSource(lambda: connect(kubeconfig), events.queue.put, node_name="node-1")
    source.start()
    listed = [events.next() for _ in range(3)]
    source.stop()
    assert {Kind.SERVICE: 1000, Kind.ENDPOINT_SLICE: 1000, Kind.NODE: 0} == {
        each.kind: len(each.objects) for each in listed if isinstance(each, Listed)
    }
