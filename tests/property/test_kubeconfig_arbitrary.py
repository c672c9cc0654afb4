"""Whatever a kubeconfig and the environment hold: they lead to a server, or are refused in one printable sentence.

A secret stands at every place where one can: none of it is in an error, a representation or a log line, and none is a
proof for a server without TLS.
"""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from kproxy.client.connection import Connection
from kproxy.client.kubeconfig.loading import load_kubeconfig
from kproxy.client.kubeconfig.targets import find_target
from kproxy.client.target import Target
from kproxy.errors import KproxyError
from kubeconfigs import CANARY, packed
from stubapi import StubApi
from stubapi.certificates import server_context

NOBODY = "https://127.0.0.1:1"
AUTHORITY = server_context("127.0.0.1")[1]
PARTS_OF_CANARY = ("c4n4ry", "S3cr3t", packed(CANARY.encode())[:8])
WITH_LOGIN = f"https://me:{CANARY}@127.0.0.1:1"
VARIABLES = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
)
PLUGIN = {
    "apiVersion": "client.authentication.k8s.io/v1",
    "command": "/nonexistent/plugin",
    "interactiveMode": "Never",
    "env": [{"name": "SECRET", "value": CANARY}],
    "args": [f"--token={CANARY}"],
}
TEXTS = st.text(max_size=8) | st.sampled_from(
    [
        "",
        "kproxy",
        "a\nb",
        "\x1b[31m",
        "é",
        "\u2028",
        NOBODY,
        "http://[::1",
        "https://127.0.0.1:port",
        "//",
        "h/p",
        "::1",
        "https://\uff0f.example",
        "AAAA",
        "=",
    ]
)
DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
SECRETS = st.sampled_from(
    [CANARY, f"{CANARY}\n{CANARY}", f"{CANARY}é", f"{CANARY}\x00", [CANARY], {CANARY: CANARY}]
)
PACKED = st.sampled_from([packed(CANARY.encode()), f"{packed(CANARY.encode())}%", CANARY])
URLS = st.sampled_from(
    [
        WITH_LOGIN,
        f"http://me:{CANARY}@127.0.0.1:1",
        f"https://{CANARY}:x@h:port",
        f"socks5://me:{CANARY}@h x",
        f"{CANARY}:x@h:1",
        f"https://h\n:{CANARY}@h",
        f"ftp://me:{CANARY}@h",
        f"https://me:{CANARY}@[::1",
        f"https://me:{CANARY}%@h",
    ]
)


PARTS = {
    "token": SECRETS,
    "tokenFile": st.sampled_from(["missing", "token", "."]),
    "username": st.just("kproxy"),
    "password": SECRETS,
    "client-certificate-data": PACKED,
    "client-key-data": PACKED,
    "client-certificate": st.sampled_from(["missing", "token"]),
    "client-key": st.sampled_from(["missing", "token"]),
    "as": st.just("alice"),
    "as-groups": st.lists(TEXTS, max_size=2),
    "as-user-extra": st.dictionaries(TEXTS, st.lists(TEXTS, max_size=2), max_size=2),
    "auth-provider": st.just({"name": "gcp", "config": {"access-token": CANARY}}),
    "exec": st.just(PLUGIN),
}
WAYS = (
    ("token",),
    ("tokenFile", "token"),
    ("username", "password"),
    ("client-certificate-data", "client-key-data"),
    ("client-certificate", "client-key"),
    ("token", "as", "as-groups", "as-user-extra"),
    ("exec",),
    ("auth-provider",),
    (),
)
USER = st.one_of(
    st.sampled_from(WAYS).flatmap(lambda way: st.fixed_dictionaries({name: PARTS[name] for name in way})),
    st.fixed_dictionaries({}, optional=PARTS),
)


def clusters(server: st.SearchStrategy[Any], proxy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    trust = st.sampled_from(
        [
            {},
            {},
            {"certificate-authority-data": packed(AUTHORITY)},
            {"certificate-authority-data": packed(CANARY.encode())},
            {"certificate-authority": "missing"},
            {"certificate-authority": "token"},
            {"insecure-skip-tls-verify": True},
            {"insecure-skip-tls-verify": True, "certificate-authority-data": packed(AUTHORITY)},
        ]
    )
    optional = {
        "tls-server-name": st.just("api.example"),
        "proxy-url": proxy,
        "extensions": st.just([{"name": "a", "extension": CANARY}]),
    }
    rest = st.fixed_dictionaries({"server": server}, optional=optional)
    return st.builds(lambda one, other: {**one, **other}, trust, rest)


def one_of_each(cluster: dict[str, Any], user: dict[str, Any], name: str) -> dict[str, Any]:
    return {
        "current-context": name,
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}, {"name": "other", "user": {"token": CANARY}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }


def places(data: Any) -> list[tuple[Any, Any]]:
    """All collections in it with each of their keys."""
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [place for key, value in inner for place in ((data, key), *places(value))]


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    """Mostly what is valid, with another thing at up to two places."""
    servers = st.sampled_from([NOBODY, NOBODY, "127.0.0.1:1", "http://127.0.0.1:1"]) | URLS
    proxies = st.sampled_from(["http://p:3128", f"http://me:{CANARY}@p:3128"]) | URLS
    drawn = draw(st.builds(one_of_each, clusters(servers, proxies), USER, st.sampled_from(["kproxy", ""])))
    data: dict[str, Any] = json.loads(json.dumps(drawn))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        collection, key = draw(st.sampled_from(places(data)))
        collection[key] = draw(DATA | TEXTS)
    return data


SOUND = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "kproxy",
    "clusters": [
        {"name": "kproxy", "cluster": {"server": WITH_LOGIN, "proxy-url": f"http://me:{CANARY}@p:1"}}
    ],
    "contexts": [{"name": "kproxy", "context": {"cluster": "kproxy", "user": "kproxy"}}],
    "users": [{"name": "kproxy", "user": {"token": CANARY, "client-key-data": packed(CANARY.encode())}}],
}
SOUND_TEXT = json.dumps(SOUND, indent=1).encode()
ANY = configurations()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A sound text of which a part is gone or replaced."""
    start = draw(st.integers(0, len(SOUND_TEXT)))
    end = draw(st.integers(start, min(len(SOUND_TEXT), start + 12)))
    odd = st.sampled_from([b"", b"&a [*a]", b"!!python/name:x ", b"!x!", b"\xff", b"\t", b"7", b"\n- ", b"'"])
    filling = draw(st.binary(max_size=3) | odd)
    return SOUND_TEXT[:start] + filling + SOUND_TEXT[end:]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the file is written, beside a token's; what the environment knows is out of the way."""
    folder = tmp_path_factory.mktemp("arbitrary")
    (folder / "token").write_text(CANARY)
    with pytest.MonkeyPatch.context() as environment:
        for name in VARIABLES:
            environment.delenv(name, raising=False)
        yield folder / "kubeconfig"


@pytest.fixture(scope="module")
def api() -> Iterator[StubApi]:
    with StubApi() as stub:
        yield stub


class Told(logging.Handler):
    """All that is logged, whatever its level, as it would be written."""

    def __init__(self) -> None:
        super().__init__(0)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    handler, logger = Told(), logging.getLogger("kproxy")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def silent_of_secrets(*said: str) -> None:
    for text in said:
        assert not [part for part in PARTS_OF_CANARY if part in text], text


Found = TypeVar("Found")


def found_or_refused(call: Callable[[], Found], told: Told) -> Found | None:
    """No refusal shows a secret, and neither does the log."""
    told.lines.clear()
    found, said = None, ""
    try:
        found = call()
    except KproxyError as refused:
        said = f"{refused} {refused!r}"
    silent_of_secrets(said, *told.lines)
    assert all(line.isprintable() for line in (said, *told.lines))
    return found


def target_or_refusal(path: Path | None, master: str, told: Told) -> Target | None:
    """Neither does a target, nor what becomes of its credentials; and without TLS it has none."""
    target = found_or_refused(lambda: find_target(path, master), told)
    if target is None:
        return None
    silent_of_secrets(repr(target), str(target), repr(target.credentials))
    headers = found_or_refused(target.credentials.headers, told)
    certificate = found_or_refused(target.credentials.certificate, told)
    assert target.tls is not None or not (headers or certificate)
    assert (target.tls is not None) == target.server.startswith("https://")
    event(f"TLS {target.tls is not None}, headers {sorted(headers or ())}")
    return target


@given(text=st.binary() | damaged())
@example(text=b"[" * 2_000)
@example(text=b"a: 'b\n\n c: \x01")
@example(text=b"users: [{user: {token: !c4n4ry!x S3cr3t}}]")
def test_any_text_leads_to_a_server_or_is_refused(path: Path, told: Told, text: bytes) -> None:
    path.write_bytes(text)
    target_or_refusal(path, "", told)


@given(data=ANY, master=st.just("") | TEXTS | URLS)
@example(data={**SOUND, "users": [{"name": "kproxy", "token": CANARY}]}, master="")
@example(data={**SOUND, "users": SOUND["users"] * 2}, master="")  # type: ignore[operator]
@settings(max_examples=300)
def test_any_configuration_leads_to_a_server_or_is_refused(
    path: Path, told: Told, data: dict[str, Any], master: str
) -> None:
    path.write_text(json.dumps(data))
    target = target_or_refusal(path, master, told)
    if target is not None:
        silent_of_secrets(repr(load_kubeconfig(path)))


@given(
    environment=st.dictionaries(
        st.sampled_from(VARIABLES),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
        | URLS.filter(lambda url: "\0" not in url),
    ),
    master=st.just("") | TEXTS | URLS,
    data=st.none() | ANY,
)
@example(environment={"HTTP_PROXY": "\x80"}, master="h", data=None)
@example(environment={"HTTPS_PROXY": "http://h<"}, master="https://h", data=None)
@example(environment={"HTTPS_PROXY": f"http://h:{'1' * 5000}"}, master="https://h", data=None)
def test_any_environment_leads_to_a_server_or_is_refused(
    path: Path, told: Told, environment: dict[str, str], master: str, data: dict[str, Any] | None
) -> None:
    with pytest.MonkeyPatch.context() as variables:
        for name, value in environment.items():
            variables.setenv(name, value)
        path.write_text(json.dumps(data))
        target = target_or_refusal(None if data is None else path, master, told)
        if target is None:
            return
        found_or_refused(lambda: Connection(target).close(), told)


@given(user=USER, cluster=clusters(st.just(""), st.sampled_from([NOBODY, "http://127.0.0.1:1"])))
@example(user={"token": f"two\n{CANARY}"}, cluster={})
@example(user={"token": "\u0142"}, cluster={})
@example(user={}, cluster={"proxy-url": "http://127.0.0.1:port"})
@example(user={}, cluster={"insecure-skip-tls-verify": True, "tls-server-name": 7})
@example(user={"as": "alice", "as-groups": ["a\nb"]}, cluster={"insecure-skip-tls-verify": True})
def test_any_credentials_are_refused_here_or_by_the_server(
    path: Path, api: StubApi, told: Told, user: dict[str, Any], cluster: dict[str, Any]
) -> None:
    text = {
        **SOUND,
        "users": [{"name": "kproxy", "user": user}],
        "clusters": [{"name": "kproxy", "cluster": {**cluster, "server": api.url}}],
    }
    path.write_text(json.dumps(text))
    target = target_or_refusal(path, "", told)
    if target is None:
        return
    answer = found_or_refused(lambda: Connection(target).get("/api/v1/services", {}, read_timeout_s=10), told)
    assert answer is None  # none has the token
