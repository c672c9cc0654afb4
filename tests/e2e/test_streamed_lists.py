"""Lists that come as the beginning of a watch, and servers that have none, over real TLS sockets."""

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kproxy.client.connection import connect
from kproxy.sources.kube import ENDPOINT_SLICES, SERVICES, KubeSource
from kproxy.sources.listing import Resource
from kproxy.sources.listwatch import ListWatch
from kproxy.sources.timing import Timing
from listwatching import BOUND_S, Events, in_short, requests
from stubapi import StubApi
from stubapi.manifests import endpoint_slice, node, service
from stubapi.streams import StreamedLists

PACE = Timing(
    streams=True,
    page_size=3,
    watch_min_s=600,
    watch_max_s=600,
    backoff_base_s=0.01,
    backoff_cap_s=0.05,
    retry_after_cap_s=0.3,
)
NONE = [StreamedLists.LACK_PROGRESS, StreamedLists.GATED, StreamedLists.UNKNOWN]
ALL = [StreamedLists.GIVEN, StreamedLists.GIVEN_COMPRESSED]

Watch = Callable[..., ListWatch]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


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
    loops: list[ListWatch] = []

    def start(timing: Timing = PACE, resource: Resource = SERVICES) -> ListWatch:
        loop = ListWatch(resource, lambda: connect(kubeconfig), events.queue.put, timing)
        loops.append(loop)
        loop.start(connect(kubeconfig))
        return loop

    yield start
    for loop in loops:
        loop.stop()
        loop.join(BOUND_S)


def asked_for_streams(api: StubApi) -> int:
    return sum("sendInitialEvents" in query for query in requests(api, "watch"))


@pytest.mark.parametrize("how", ALL)
def test_list_and_watch_come_in_one_answer(
    api: StubApi, watch: Watch, events: Events, how: StreamedLists
) -> None:
    api.stream_lists(how)
    for number in range(7):
        api.put("Service", service(f"s{number}"))
    loop = watch()
    assert "listed s0 s1 s2 s3 s4 s5 s6" == events.next_text()
    assert str(api.storage.resource_version) == loop.freshness.resource_version
    api.put("Service", service("later"))
    api.delete("Service", "default", "s0")
    assert ["changed later", "deleted s0"] == [events.next_text() for _ in range(2)]
    (only,) = ({**each.query, "verb": each.verb} for each in api.requests)
    assert {
        "verb": "watch",
        "watch": "true",
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
        "timeoutSeconds": "600",
        "labelSelector": dict(SERVICES.selectors)["labelSelector"],
    } == only


@pytest.mark.parametrize("how", ALL)
def test_empty_list_comes_as_a_stream_too(
    api: StubApi, watch: Watch, events: Events, how: StreamedLists
) -> None:
    api.stream_lists(how)
    watch()
    assert "listed" == events.next_text()
    api.put("Service", service("first"))
    assert "changed first" == events.next_text()


def test_event_that_follows_a_compressed_list_is_heard_at_once(
    api: StubApi, watch: Watch, events: Events
) -> None:
    """A gzip member of its own, which is smaller than any buffer."""
    api.stream_lists(StreamedLists.GIVEN_COMPRESSED)
    watch()
    events.next()
    for number in range(20):
        api.put("Service", service(f"s{number}"))
        assert f"changed s{number}" == in_short(events.queue.get(timeout=5.0))
    assert [True] == [each.compressed for each in api.faults.streams]


@pytest.mark.parametrize("how", NONE)
def test_server_without_streams_is_asked_once_and_listed_at_once(
    api: StubApi, watch: Watch, events: Events, how: StreamedLists, caplog: pytest.LogCaptureFixture
) -> None:
    api.stream_lists(how)
    api.put("Service", service("a"))
    with caplog.at_level(logging.INFO):
        watch(replace(PACE, backoff_base_s=30.0, backoff_cap_s=60.0))
        assert "listed a" == events.next_text()
        api.wait_for_streams("Service", 1)
    assert ["watch", "list", "watch"] == [each.verb for each in api.requests]
    assert 1 == api.connections, "one handshake is enough"
    assert [] == warnings(caplog)
    assert "services: no list as a stream" in caplog.text


def test_list_after_a_refused_stream_has_all_its_time(
    api: StubApi, watch: Watch, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    """The connection that it shares with the refusal was given half a second for that one's end."""
    api.answer_after(1.0)
    watch()
    assert "listed" == events.next_text()
    assert (1, []) == (api.connections, warnings(caplog))


def test_server_without_streams_is_not_asked_again_for_each_list(
    api: StubApi, watch: Watch, events: Events
) -> None:
    watch()
    events.next()
    for number in range(3):
        api.wait_for_streams("Service", number + 1)
        api.compact()
        api.fail_next(1, 410)
        api.close_streams()
        assert "listed" == events.next_text()
    assert 1 == asked_for_streams(api)
    assert 4 == len(requests(api, "list"))


def test_server_without_streams_is_asked_again_after_an_hour(
    api: StubApi, watch: Watch, events: Events
) -> None:
    hours = [0.0]
    watch(replace(PACE, clock=lambda: hours[0] * 3600))
    events.next()
    api.wait_for_streams("Service", 1)
    api.stream_lists()
    hours[0] = 1.0
    api.fail_next(1, 410)
    api.close_streams()
    assert "listed" == events.next_text()
    assert (2, 1) == (asked_for_streams(api), len(requests(api, "list")))


def test_server_that_passes_over_the_wish_is_found_out_by_its_first_bookmark(
    api: StubApi, watch: Watch, events: Events
) -> None:
    api.stream_lists(StreamedLists.PASSED_OVER)
    api.put("Service", service("a"))
    watch()
    api.wait_for_streams("Service", 1)
    api.put("Service", service("b"))
    assert events.queue.empty(), "nobody says that this is all"
    api.bookmark()
    assert "listed a b" == events.next_text()
    api.put("Service", service("c"))
    assert "changed c" == events.next_text()
    assert 1 == asked_for_streams(api)
    for number in range(100):  # the server finds out by writing
        if len(api.faults.streams) == 1:
            break
        api.put("Service", service(f"s{number}"))
        threading.Event().wait(0.05)
    assert 1 == len(api.faults.streams), "the stream was closed"


def test_server_that_passes_over_the_wish_is_found_out_by_its_silence(
    api: StubApi, watch: Watch, events: Events
) -> None:
    api.stream_lists(StreamedLists.PASSED_OVER)
    api.put("Service", service("a"))
    watch(replace(PACE, stream_idle_s=0.5))
    assert "listed a" == events.next_text()
    assert 1 == asked_for_streams(api)


@pytest.mark.parametrize("how", ALL)
def test_watch_after_a_streamed_list_may_be_silent_for_longer(
    api: StubApi, watch: Watch, events: Events, how: StreamedLists, caplog: pytest.LogCaptureFixture
) -> None:
    api.stream_lists(how)
    watch(replace(PACE, stream_idle_s=0.5, idle_s=60.0))
    events.next()
    threading.Event().wait(1.5)
    api.put("Service", service("later"))
    assert "changed later" == events.next_text()
    assert (1, []) == (len(api.requests), warnings(caplog))


def test_watch_after_a_streamed_list_may_not_be_silent_for_ever(
    api: StubApi, watch: Watch, events: Events
) -> None:
    api.stream_lists()
    watch(replace(PACE, idle_s=1.0))
    events.next()
    api.wait_for_streams("Service", 1)
    api.stall_streams()
    api.put("Service", service("unheard"))
    assert "changed unheard" == events.next_text()
    assert (1, 0) == (asked_for_streams(api), len(requests(api, "list")))


@pytest.mark.parametrize("told", [0, 2, 5])
def test_stream_that_breaks_before_its_end_tells_nothing_and_loses_nothing(
    api: StubApi, watch: Watch, events: Events, told: int
) -> None:
    api.stream_lists(broken_after=told)
    for number in range(5):
        api.put("Service", service(f"s{number}"))
    watch()
    assert "listed s0 s1 s2 s3 s4" == events.next_text()
    api.put("Service", service("later"))
    assert "changed later" == events.next_text()
    assert (1, 1) == (asked_for_streams(api), len(requests(api, "list"))), "then it is listed"


def test_list_after_a_lost_watch_is_no_older_than_what_is_known(
    api: StubApi, watch: Watch, events: Events
) -> None:
    api.stream_lists()
    known = api.put("Service", service("a"))
    watch()
    assert "listed a" == events.next_text()
    api.wait_for_streams("Service", 1)
    api.fail_next(1, 410)
    api.close_streams()
    assert "listed a" == events.next_text()
    assert [None, str(known), str(known)] == [
        query.get("resourceVersion") for query in requests(api, "watch")
    ]
    assert [] == requests(api, "list")


def test_server_behind_what_is_known_streams_its_newest_list(
    api: StubApi, watch: Watch, events: Events
) -> None:
    api.stream_lists()
    api.put("Service", service("a"))
    watch()
    events.next()
    api.wait_for_streams("Service", 1)
    api.restore_from_backup(to=28500)
    api.fail_next(1, 410)
    api.close_streams()
    assert "listed" == events.next_text()
    assert [True, False] == ["resourceVersion" in query for query in requests(api, "watch")[-2:]]
    assert [] == requests(api, "list")


@pytest.mark.parametrize("status", [429, 503])
def test_overloaded_server_is_asked_for_its_stream_again_and_for_nothing_else(
    api: StubApi, watch: Watch, events: Events, status: int
) -> None:
    api.stream_lists()
    api.fail_next(5, status, retry_after=0)
    watch()
    assert "listed" == events.next_text()
    assert (6, 0) == (asked_for_streams(api), len(requests(api, "list")))


def test_proxy_that_lets_no_stream_pass_is_asked_for_a_list_at_last(
    api: StubApi, watch: Watch, events: Events
) -> None:
    api.stream_lists()
    api.fail_next(3, 502)
    watch()
    assert "listed" == events.next_text()
    assert (3, 1) == (asked_for_streams(api), len(requests(api, "list")))


def test_refusals_of_streams_count_only_in_a_row(api: StubApi, watch: Watch, events: Events) -> None:
    api.stream_lists()
    api.fail_next(2, 502)
    watch()
    events.next()
    api.wait_for_streams("Service", 1)
    api.fail_next(1, 410)
    api.fail_next(2, 502)
    api.close_streams()
    assert "listed" == events.next_text()
    assert [] == requests(api, "list")


def test_server_that_is_away_is_asked_for_its_stream_when_it_is_back(
    api: StubApi, watch: Watch, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    api.stream_lists()
    api.unreachable()
    watch()
    while 5 > caplog.text.count("cannot be reached"):
        threading.Event().wait(0.02)
    api.reachable()
    assert "listed" == events.next_text()
    assert (1, 0) == (asked_for_streams(api), len(requests(api, "list")))


@pytest.mark.parametrize("status", [403, 500])
def test_odd_refusal_of_a_stream_leads_to_a_list_the_next_time(
    api: StubApi, watch: Watch, events: Events, status: int
) -> None:
    """A proxy in between may dislike such watches, and a role may allow lists alone."""
    api.stream_lists()
    api.fail_next(1, status)
    watch()
    assert "listed" == events.next_text()
    assert (1, 1) == (asked_for_streams(api), len(requests(api, "list")))


def test_object_that_cannot_be_used_costs_itself_alone(api: StubApi, watch: Watch, events: Events) -> None:
    api.stream_lists()
    api.put("Service", service("bad", port=70000))
    api.put("Service", service("good"))
    watch()
    assert "listed good -default/bad" == events.next_text()
    assert [] == requests(api, "list")


def test_streams_that_are_turned_off_are_not_asked_for(api: StubApi, watch: Watch, events: Events) -> None:
    api.stream_lists()
    watch(replace(PACE, streams=False))
    assert "listed" == events.next_text()
    api.wait_for_streams("Service", 1)
    assert ["list", "watch"] == [each.verb for each in api.requests]


def test_stop_ends_a_stream_whose_list_is_not_complete(
    api: StubApi, kubeconfig: Path, events: Events
) -> None:
    api.stream_lists(StreamedLists.PASSED_OVER)
    source = KubeSource(lambda: connect(kubeconfig), events.queue.put, node_name="node-1", timing=PACE)
    source.start()
    for kind in ("Service", "EndpointSlice", "Node"):
        api.wait_for_streams(kind, 1)
    source.stop()
    assert [] == [each.name for each in threading.enumerate() if each.name.startswith("watch-")]
    assert events.queue.empty()


def test_three_thousand_slices_arrive_whole_and_compressed(
    api: StubApi, watch: Watch, events: Events
) -> None:
    api.stream_lists(StreamedLists.GIVEN_COMPRESSED)
    api.put("Node", node("node-1"))
    for number in range(3000):
        api.put("EndpointSlice", endpoint_slice(f"s{number}-a", f"s{number}", "10.128.1.2"))
    watch(PACE, ENDPOINT_SLICES)
    assert 3000 == len(events.next_text().split()) - 1
    assert ["watch"] == [each.verb for each in api.requests]
