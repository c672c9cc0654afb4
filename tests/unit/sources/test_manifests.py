"""Files and directories of manifests: what is taken, what is left out and why, and what a watched directory tells."""

import os
import queue
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from kproxy.errors import InputError
from kproxy.sources import manifests
from kproxy.sources.manifests import ManifestDirectory, Manifests, read
from kproxy.state.events import Event, Listed
from kproxy.state.objects import Kind, Service
from kproxy.values import NamespacedName
from recordings import CLUSTERS

EXAMPLES = Path(__file__).parents[3] / "examples"


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
def test_recorded_cluster_is_read_whole(cluster: Path) -> None:
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
def test_json_values_one_after_the_other_are_all_found(between: str) -> None:
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
            "stdin, document 1 is left out: this is no Kubernetes object: Expected `object`, got `str`",
        ),
        ("[1]", "stdin is left out: this is no Kubernetes object: Expected `object`, got `array`"),
        (
            '{"kind": "List",\n "items": [}]}',
            "stdin is left out: line 2, column 12: JSON is malformed: invalid character",
        ),
        ('{"kind": "List"', "stdin is left out: Input data was truncated; the JSON text is not complete"),
        (
            '{"kind": "List", "items": 5}',
            "stdin: List is left out: items: Expected `array | null`, got `int` - at `$.items`",
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
            "stdin, document 2: Service default/web is left out: it stands in stdin, document 1 already; keep one of the two",
        ),
    ],
)
def test_what_cannot_be_used_is_told_with_place_field_and_reason(text: str, told: str) -> None:
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


def test_directory_passes_over_what_editors_hide_and_what_is_no_file(tmp_path: Path) -> None:
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


class Watched:
    """A directory under watch, and what was told of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.source = ManifestDirectory(path, self.events.put)

    def write(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)

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


def test_watched_directory_tells_only_the_kind_that_changed(watched: Watched) -> None:
    watched.write("other.yaml", service("other"))
    assert (Kind.SERVICE, ["default/other", "default/web"]) == ((listed := watched.next()).kind, told(listed))
    watched.write("node.yaml", "apiVersion: v1\nkind: Node\nmetadata: {name: n}\n")
    assert (Kind.NODE, ["n"]) == ((listed := watched.next()).kind, told(listed))


def test_watched_file_that_is_removed_takes_its_objects_along(watched: Watched) -> None:
    (watched.path / "web.yaml").unlink()
    assert [] == told(watched.next())


@pytest.mark.parametrize("broken", ["kind: [", "", '{"kind": "Serv'])
def test_watched_file_that_breaks_keeps_its_last_good_contents_and_is_told(
    watched: Watched, broken: str
) -> None:
    watched.write("web.yaml", broken)
    listed = watched.next()
    assert ["default/web"] == told(listed)
    (rejection,) = listed.rejections
    assert "its last good contents stay in force" in rejection.reason
    watched.write("web.yaml", service().replace("80", "81"))
    listed = watched.next()
    assert () == listed.rejections
    (mended,) = listed.objects
    assert isinstance(mended, Service)
    assert 81 == mended.ports[0].port


def test_watched_file_replaced_by_renaming_is_noticed(watched: Watched) -> None:
    watched.write("new.tmp", service("new"))
    (watched.path / "new.tmp").rename(watched.path / "web.yaml")
    assert ["default/new"] == told(watched.next())


def test_directory_that_vanishes_keeps_what_is_known_and_is_told_once(
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
    (complaint,) = caplog.messages
    assert "what is known stays in force" in complaint


def test_directory_that_cannot_be_read_for_long_is_outdated_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests, "_LONGEST_UNREAD_S", 0.2)
    directory = tmp_path / "manifests"
    directory.mkdir()
    events: list[Event] = []
    watched = manifests.ManifestDirectory(directory, events.append)
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
