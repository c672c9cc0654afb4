"""Files and directories of manifests: the objects that are used, the reasons for others, and a watched directory."""

import logging
import os
import queue
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from kproxy.errors import InputError
from kproxy.sources import manifest_directory
from kproxy.sources.manifest_directory import ManifestDirectory
from kproxy.sources.manifests import Manifests, read
from kproxy.sources.yaml import load_documents
from kproxy.state.events import Event, Listed
from kproxy.state.objects import EndpointPort, EndpointSlice, Kind, Service, ServicePort, ServiceType
from kproxy.values import NamespacedName, Protocol
from recordings import CLUSTERS

EXAMPLES = Path(__file__).parents[3] / "examples"


SLICE = (
    "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nmetadata: {name: web-1, labels: "
    "{kubernetes.io/service-name: web}}\nendpoints: [{addresses: [10.128.1.5], conditions: null}]\n"
)


def service(name: str = "web", **metadata: str) -> str:
    return (
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, "
        + ", ".join(f"{field}: {value}" for field, value in metadata.items())
        + "}\nspec: {clusterIP: 10.96.0.10, ports: [{port: 80}]}\n"
    )


def names(manifests: Manifests, kind: Kind = Kind.SERVICE) -> list[str]:
    return [str(thing.key) for thing in manifests.objects[kind]]


def read_text(text: str) -> Manifests:
    return read([], stdin=text.encode())


@pytest.mark.parametrize("cluster", CLUSTERS, ids=lambda cluster: f"{cluster.parent.name}/{cluster.name}")
def test_recorded_cluster_is_read_completely(cluster: Path) -> None:
    found = read([cluster / "objects.json"])
    items = msgspec.json.decode((cluster / "objects.json").read_bytes())["items"]
    assert () == found.rejections
    assert {} == found.unknown
    assert len(items) == sum(map(len, found.objects.values()))


def test_examples_are_read_without_a_complaint() -> None:
    found = read([EXAMPLES])
    assert found.objects[Kind.SERVICE]
    assert () == found.rejections
    assert {} == found.unknown


def test_objects_of_documents_lists_and_json_are_all_found() -> None:
    nested = (
        '{"kind":"List","apiVersion":"v1","items":[{"kind":"ServiceList","apiVersion":"v1","items":[%s]}]}'
    )
    typed = '{"metadata":{"name":"typed","namespace":"apps"},"spec":{}}'
    assert ["apps/typed"] == names(read_text(nested % typed))
    assert ["apps/typed"] == names(read_text(f"# as YAML\n{nested % typed}"))
    assert ["default/a", "apps/b"] == names(
        read_text(f"{service('a')}---\n---\n{service('b', namespace='apps')}")
    )


@pytest.mark.parametrize("between", ["", "\n", " \r\n\n", "\n---\n"])
def test_json_values_in_a_row_are_all_found(between: str) -> None:
    one = '{"apiVersion": "v1",\n "kind": "Service", "metadata": {"name": "%s"}, "spec": {}}'
    found = read_text(one % "a" + between + one % "b" + between + one % "B")
    assert ["default/a", "default/b"] == names(found)
    assert ["stdin, document 3"] == [rejection.place for rejection in found.rejections]


def test_yaml_that_begins_with_a_brace_is_read_as_yaml() -> None:
    assert ["default/a"] == names(read_text("{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {}}"))


def test_slices_of_a_typed_list_take_its_version() -> None:
    text = (
        '{"kind":"EndpointSliceList","apiVersion":"discovery.k8s.io/v1","items":[{"addressType":"IPv4",'
        '"metadata":{"name":"web-a","labels":{"kubernetes.io/service-name":"web"}}}]}'
    )
    assert ["default/web-a"] == names(read_text(text), Kind.ENDPOINT_SLICE)


def test_unknown_kinds_are_counted_with_their_group() -> None:
    text = (
        "apiVersion: apps/v1\nkind: Deployment\n---\napiVersion: v1\nkind: ConfigMapList\nitems: [{}, {}]\n---\n"
        'apiVersion: serving.knative.dev/v1\nkind: Service\n---\nkind: "a\\eb"\n'
    )
    found = read_text(text)
    assert {
        "Deployment.apps": 1,
        "ConfigMap": 2,
        "Service.serving.knative.dev": 1,
        r"'a\x1bb'": 1,
    } == found.unknown
    assert () == found.rejections


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            service().replace("10.96.0.10", "10.96.0.x"),
            "stdin, document 1: Service default/web is left out: spec.clusterIP: '10.96.0.x' does not appear to be an IPv4 or IPv6 address",
        ),
        (
            f"{service('a')}---\nkind: List\nitems: [{{kind: Service, metadata: {{name: 7}}}}]\n",
            "stdin, document 2, items[0]: Service is left out: apiVersion: is missing; write v1",
        ),
        (
            "apiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\nmetadata: {name: web-a}\n",
            "stdin, document 1: EndpointSlice default/web-a is left out: apiVersion: 'discovery.k8s.io/v1beta1' is not understood; write discovery.k8s.io/v1",
        ),
        (
            "apiVersion: v1\nkind: EndpointSlice\nmetadata: {name: web-a}\n",
            "stdin, document 1: EndpointSlice default/web-a is left out: apiVersion: 'v1' is not understood; write discovery.k8s.io/v1",
        ),
        (
            '{"kind": "EndpointSlice", "metadata": {"name": "web-a"}}',
            "stdin: EndpointSlice default/web-a is left out: apiVersion: is missing; write discovery.k8s.io/v1",
        ),
        (
            "apiVersion: v1\n",
            "stdin, document 1 is left out: kind: is missing; say what the object is, such as Service",
        ),
        (
            "just text\n",
            "stdin, document 1 is left out: this is no Kubernetes object: must be an object, and is text",
        ),
        ("[1]", "stdin is left out: this is no Kubernetes object: must be an object, and is a list"),
        (
            '{"kind": "List",\n "items": [}]}',
            "stdin is left out: line 2, column 12: JSON is malformed: invalid character",
        ),
        ('{"kind": "List"', "stdin is left out: Input data was truncated; the JSON text is not complete"),
        (
            '{"kind": "List", "items": 5}',
            "stdin: List is left out: items: must be a list, and is a whole number",
        ),
        (
            '{"a":' + "[" * 100_000,
            "stdin is left out: Input data was truncated; the JSON text is not complete",
        ),
        (
            "a: 1\na: 2\n",
            "stdin is left out: line 2, column 1: the key 'a' stands here a second time; remove one of the two",
        ),
        (
            service() + "---\n" + service(),
            "stdin, document 2: Service default/web is left out: it is also in stdin, document 1; keep one of the two",
        ),
    ],
)
def test_unusable_object_is_reported_with_place_field_and_reason(text: str, told: str) -> None:
    assert [told] == [str(rejection) for rejection in read_text(text).rejections]


def test_json_about_as_deep_as_the_stack_is_left_out() -> None:
    for levels in range(800, 1000):
        deep = "[" * levels + "]" * levels
        found = read_text('{"apiVersion": "v1", "kind": "Node", "metadata": {"name": 7, "x": ' + deep + "}}")
        assert ([], 1) == (names(found, Kind.NODE), len(found.rejections))


def test_lists_in_lists_without_end_are_refused() -> None:
    text = '{"kind":"List","items":[' * 50 + "]}" * 50
    assert ["items"] == [rejection.field for rejection in read_text(text).rejections]


def test_rejected_object_keeps_its_key_and_a_name_fit_for_a_terminal() -> None:
    (rejection,) = read_text(
        'apiVersion: v1\nkind: Node\nmetadata: {name: "a\\eb", namespace: x}\n'
    ).rejections
    assert NamespacedName("", "a\x1bb") == rejection.key
    assert r"'a\x1bb'" == rejection.name


def test_directory_stands_for_its_manifests_in_name_order(tmp_path: Path) -> None:
    for name in ("b.yml", "a.yaml", "c.json", "notes.txt"):
        (tmp_path / name).write_text(service(name[0]))
    (tmp_path / "d.yaml").mkdir()
    (tmp_path / "d.yaml" / "inner.yaml").write_text(service("inner"))
    assert ["default/a", "default/b", "default/c"] == names(read([tmp_path]))


def test_directory_ignores_hidden_files_and_other_things_than_files(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(service())
    (tmp_path / "._web.yaml").write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / ".#web.yaml").symlink_to("somebody@somewhere.1234")
    (tmp_path / "gone.yaml").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.yaml")
    found = read([tmp_path])
    assert ["default/web"] == names(found)
    assert () == found.rejections


def test_malformed_file_leaves_the_others_in_force(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: [\n")
    (tmp_path / "b.yaml").write_text(service())
    found = read([tmp_path])
    assert ["default/web"] == names(found)
    assert [str(tmp_path / "a.yaml")] == [rejection.place for rejection in found.rejections]
    assert found.rejections == found.listed(Kind.SERVICE).rejections


def test_file_that_cannot_be_read_leaves_the_others_of_its_directory_in_force(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to("/proc/self/mem")
    (tmp_path / "b.yaml").write_text(service())
    found = read([tmp_path])
    assert ["default/web"] == names(found)
    (rejection,) = found.rejections
    assert rejection.reason.startswith(f"cannot read {tmp_path}/a.yaml: Input/output error")
    with pytest.raises(InputError, match="Input/output error"):
        read([tmp_path / "a.yaml"])


def test_path_that_does_not_exist_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read([tmp_path / "missing.yaml"])
    with pytest.raises(InputError, match="No such file"):
        ManifestDirectory(tmp_path / "missing", lambda _: None).start()


def test_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, service().encode())
    os.close(writing)
    try:
        assert ["default/web"] == names(read([Path(f"/dev/fd/{reading}")]))
    finally:
        os.close(reading)


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ("{port: 80}", [EndpointPort("", Protocol.TCP, 80)]),
        ("{port: 80, name: null, protocol: null}", [EndpointPort("", Protocol.TCP, 80)]),
        ("{port: 53, protocol: UDP}", [EndpointPort("", Protocol.UDP, 53)]),
        (
            "{name: http, port: 80}, {port: 81}",
            [EndpointPort("http", Protocol.TCP, 80), EndpointPort("", Protocol.TCP, 81)],
        ),
        ("{name: http}", []),
    ],
)
def test_port_of_a_slice_in_a_file_has_the_defaults_of_the_api(
    ports: str, expected: list[EndpointPort], as_json: bool
) -> None:
    text = f"{SLICE}ports: [{ports}]\n".encode()
    if as_json:
        text = msgspec.json.encode(load_documents(text)[0].data)
    found = read([], stdin=text)
    (piece,) = found.objects[Kind.ENDPOINT_SLICE]
    assert isinstance(piece, EndpointSlice)
    assert tuple(expected) == piece.ports
    assert (True, True, False) == (
        piece.endpoints[0].ready,
        piece.endpoints[0].serving,
        piece.endpoints[0].terminating,
    )


@pytest.mark.parametrize(
    ("spec", "field", "expected"),
    [
        ("", "type", ServiceType.CLUSTER_IP),
        ("type: null", "type", ServiceType.CLUSTER_IP),
        ("ports: [{port: 80, targetPort: http}]", "ports", (ServicePort("", Protocol.TCP, 80),)),
        ("sessionAffinity: ClientIP", "affinity_timeout_s", 10800),
        ("sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {}}", "affinity_timeout_s", 10800),
        ("type: LoadBalancer", "external_policy_local", False),
        ("internalTrafficPolicy: null", "internal_policy_local", False),
        ("clusterIP: 10.96.0.10", "cluster_ips", ("10.96.0.10",)),
        ("clusterIPs: [10.96.0.10]", "cluster_ips", ("10.96.0.10",)),
    ],
)
def test_service_in_a_file_has_the_defaults_of_the_api(spec: str, field: str, expected: object) -> None:
    text = f"apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{{spec}}}\n"
    (found,) = read_text(text).objects[Kind.SERVICE]
    assert expected == getattr(found, field)


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n---\n", "null\n"])
def test_text_without_an_object_is_reported(text: str) -> None:
    found = read_text(text)
    assert found.is_nothing
    assert ["stdin: this holds no object"] == found.sentences()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("apiVersion: v1\nkind: List\nitems: []\n", "stdin, document 1"),
        ("apiVersion: v1\nkind: List\n", "stdin, document 1"),
        ('{"apiVersion": "v1", "kind": "ServiceList", "items": []}', "stdin"),
        ("kind: List\nitems:\n- {kind: List, items: []}\n", "stdin, document 1, items[0]"),
    ],
)
def test_list_without_items_is_reported_as_empty(text: str, place: str) -> None:
    found = read_text(text)
    assert found.is_nothing
    assert [f"{place}: this List has no items"] == found.sentences()


def test_directory_without_a_manifest_is_reported(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    found = read([tmp_path])
    assert found.is_nothing
    assert [
        (
            f"{tmp_path}: this directory holds no manifest: no file that ends in .yaml, .yml, .json; "
            "hidden files and subdirectories are not read"
        )
    ] == found.sentences()


def test_empty_file_among_others_is_reported_and_has_no_effect(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("")
    (tmp_path / "b.yaml").write_text(service())
    found = read([tmp_path])
    assert not found.is_nothing
    assert ["default/web"] == names(found)
    assert [f"{tmp_path / 'a.yaml'}: this holds no object"] == found.sentences()


def test_document_that_cannot_be_read_leaves_the_others_of_its_file_in_force() -> None:
    found = read_text(f"{service('a')}---\nmetadata: {{name: x\n---\na: 1\na: 2\n---\n{service('b')}")
    assert ["default/a", "default/b"] == names(found)
    assert ["stdin, document 2", "stdin, document 3"] == [rejection.place for rejection in found.rejections]


@pytest.mark.parametrize("levels", [101, 1000, 5000])
def test_object_with_a_value_nested_too_deep_is_used_without_it(levels: int) -> None:
    deep = "{f: " * levels + "}" * levels
    found = read_text(service("a", managedFields=f"[{{fieldsV1: {deep}}}]") + "---\n" + service("b"))
    assert ["default/a", "default/b"] == names(found)
    assert () == found.rejections
    assert [
        "nested deeper than 100 levels; flatten it; deeper values are ignored" in found.sentences()[0]
    ] == [True]


def test_name_of_a_file_is_fit_for_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a long name would be cut
    here = Path("here")
    here.mkdir()
    (here / "caf\u00e9.yaml").write_text("a: [")
    (here / "e\x1b[31m\n.yaml").write_text("a: [")
    first, second = (rejection.place for rejection in read([here]).rejections)
    assert "here/caf\u00e9.yaml" == first
    assert r"'here/e\x1b[31m\n.yaml'" == second


def test_json_that_is_not_utf_8_is_reported() -> None:
    found = read([], stdin=b'{"kind": "Service",\n "metadata": {"name": "caf\xe9"}')
    assert ["line 2: the text is not UTF-8: it has the byte 0xe9; save it as UTF-8"] == [
        rejection.reason for rejection in found.rejections
    ]


class Watched:
    """A watched directory, and the events that it emitted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.source = ManifestDirectory(path, self.events.put)

    def write(self, name: str, text: str) -> None:
        """In one moment: the watch would take a file that is half written for a broken one."""
        written = self.path / f".{name}.new"
        written.write_text(text)
        written.replace(self.path / name)

    def next(self) -> Listed:
        event = self.events.get(timeout=20)
        assert isinstance(event, Listed)
        return event


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path)
    watched.write("web.yaml", service())
    watched.source.start()
    assert list(Kind) == [watched.next().kind for _ in Kind]
    yield watched
    watched.source.stop()
    assert watched.events.empty()


def told(listed: Listed) -> list[str]:
    return [str(thing.key) for thing in listed.objects]


def test_watched_directory_emits_only_the_changed_kind(watched: Watched) -> None:
    watched.write("other.yaml", service("other"))
    assert (Kind.SERVICE, ["default/other", "default/web"]) == ((listed := watched.next()).kind, told(listed))
    watched.write("node.yaml", "apiVersion: v1\nkind: Node\nmetadata: {name: n}\n")
    assert (Kind.NODE, ["n"]) == ((listed := watched.next()).kind, told(listed))


def test_watched_files_removed_one_after_the_other_remove_their_objects(
    watched: Watched,
) -> None:
    for name in ("b", "c"):
        watched.write(f"{name}.yaml", service(name))
        watched.next()
    (watched.path / "web.yaml").unlink()
    assert ["default/b", "default/c"] == told(watched.next())
    (watched.path / "b.yaml").unlink()
    assert ["default/c"] == told(watched.next())
    (watched.path / "c.yaml").unlink()
    assert [] == told(watched.next())


@pytest.mark.parametrize("broken", ["kind: [", "", '{"kind": "Serv'])
def test_watched_file_that_breaks_keeps_its_last_good_contents_and_is_reported(
    watched: Watched, broken: str
) -> None:
    watched.write("web.yaml", broken)
    listed = watched.next()
    assert ["default/web"] == told(listed)
    (rejection,) = listed.rejections
    assert f"{watched.path / 'web.yaml'} keeps its last good contents in force: " in str(rejection)
    watched.write("web.yaml", service().replace("80", "81"))
    listed = watched.next()
    assert () == listed.rejections
    (mended,) = listed.objects
    assert isinstance(mended, Service)
    assert 81 == mended.ports[0].port


@pytest.mark.parametrize("broken", ["kind: [", "# nothing\n", "a: 1\na: 2\n"])
def test_watched_file_that_never_had_an_object_is_reported_without_kept_contents(
    watched: Watched, broken: str
) -> None:
    for text in (broken, broken + "#"):
        watched.write("other.yaml", text)
        if broken.startswith("#"):
            continue
        (rejection,) = watched.next().rejections
        assert "last good contents" not in str(rejection)
        watched.write("other.yaml", "apiVersion: v1\nkind: ConfigMap\n")
        assert () == watched.next().rejections


def test_watched_file_with_an_unreadable_document_keeps_its_other_documents_in_force(
    watched: Watched,
) -> None:
    watched.write("other.yaml", f"{service('a')}---\nkind: [\n---\n{service('b')}")
    listed = watched.next()
    assert ["default/a", "default/b", "default/web"] == told(listed)
    assert [f"{watched.path / 'other.yaml'}, document 2"] == [
        rejection.place for rejection in listed.rejections
    ]
    watched.write("other.yaml", f"{service('a')}---\nkind: [\n---\n{service('c')}")
    assert {"default/a", "default/b", "default/c", "default/web"} == set(told(watched.next()))
    watched.write("other.yaml", service("c"))
    listed = watched.next()
    assert (["default/c", "default/web"], ()) == (told(listed), listed.rejections)


def test_watched_file_that_was_whole_keeps_all_of_it_when_one_document_breaks(watched: Watched) -> None:
    watched.write("web.yaml", f"{service('a')}---\n{service('b')}")
    assert ["default/a", "default/b"] == told(watched.next())
    watched.write("web.yaml", f"{service('c')}---\nkind: [\n")
    listed = watched.next()
    assert ["default/a", "default/b"] == told(listed)
    (rejection,) = listed.rejections
    assert f"{watched.path / 'web.yaml'} keeps its last good contents in force: " in str(rejection)


def complaint_in(caplog: pytest.LogCaptureFixture, words: str) -> str:
    for _ in range(2000):
        found = [message for message in caplog.messages if words in message]
        if found:
            (complaint,) = found
            return complaint
        time.sleep(0.01)
    raise AssertionError(f"nothing says {words!r}: {caplog.messages}")


@pytest.mark.parametrize("files", [1, 3])
def test_directory_that_becomes_empty_at_once_keeps_its_objects_and_is_reported(
    watched: Watched, caplog: pytest.LogCaptureFixture, files: int
) -> None:
    for name in ("b", "c")[: files - 1]:
        watched.write(f"{name}.yaml", service(name))
        watched.next()
    for path in watched.path.iterdir():
        path.unlink()
    complaint = complaint_in(caplog, "holds no manifest any more")
    assert complaint.endswith("the last known state stays in force")
    time.sleep(0.5)
    assert watched.events.empty()
    caplog.set_level(logging.INFO)
    watched.write("other.yaml", service("other"))
    assert ["default/other"] == told(watched.next())
    assert f"{watched.path} holds manifests again" == complaint_in(caplog, "again")


def test_list_without_items_removes_all_objects(watched: Watched) -> None:
    watched.write("web.yaml", "apiVersion: v1\nkind: List\nitems: []\n")
    assert [] == told(watched.next())


@pytest.mark.parametrize("text", [None, "", "# nothing yet\n", "kind: [\n"])
def test_directory_without_a_readable_manifest_at_start_emits_nothing_until_there_is_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str | None
) -> None:
    watched = Watched(tmp_path)
    if text is not None:
        watched.write("web.yaml", text)
    watched.source.start()
    try:
        assert watched.events.empty()
        assert [
            f"{tmp_path}: no manifest can be read yet, so no rule is written or removed until one can"
        ] == [message for message in caplog.messages if "until" in message]
        watched.write("web.yaml", service())
        assert list(Kind) == [watched.next().kind for _ in Kind]
    finally:
        watched.source.stop()


def test_remarks_on_watched_files_are_logged_once_and_bounded(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    watched.write("slip.yaml", service("slip").replace("{clusterIP", "{externalIP: x, clusterIP"))
    watched.next()
    complaint_in(caplog, "did you mean externalIPs?")
    watched.write("other.yaml", "\n---\n".join("apiVersion: v1\nkind: Servce" for _ in range(500)))
    complaint_in(caplog, "480 more remarks on manifests")
    complaint_in(caplog, "did you mean externalIPs?")


def test_watched_file_replaced_by_renaming_is_noticed(watched: Watched) -> None:
    watched.write("new.tmp", service("new"))
    (watched.path / "new.tmp").rename(watched.path / "web.yaml")
    assert ["default/new"] == told(watched.next())


def test_directory_that_vanishes_keeps_its_objects_and_is_reported_once(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    aside = watched.path.with_name(f"{watched.path.name}-aside")
    watched.path.rename(aside)
    for _ in range(2000):
        if caplog.messages:
            break
        time.sleep(0.01)
    aside.rename(watched.path)
    watched.write("other.yaml", service("other"))
    assert ["default/other", "default/web"] == told(watched.next())
    assert 1 == sum("the last known state stays in force" in message for message in caplog.messages)


def test_directory_that_cannot_be_read_for_long_is_outdated_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest_directory, "_LONGEST_UNREAD_S", 0.2)
    directory = tmp_path / "manifests"
    directory.mkdir()
    events: list[Event] = []
    watched = ManifestDirectory(directory, events.append)
    watched.start()
    try:
        assert () == watched.outdated()
        directory.rename(tmp_path / "away")
        assert eventually(lambda: bool(watched.outdated()))
        (reason,) = watched.outdated()
        assert f"cannot read the directory {directory}" in reason
        assert "stays in force" in reason
        (tmp_path / "away").rename(directory)
        assert eventually(lambda: watched.outdated() == ())
    finally:
        watched.stop()


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10.0
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()
