"""Whatever a kubeconfig holds: it leads to a server, or it is refused in one printable sentence."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kproxy.client.connection import Connection, connect
from kproxy.errors import InputError, KproxyError
from stubapi import StubApi

NOBODY = "https://127.0.0.1:1"
NO_PLUGIN = {"apiVersion": "client.authentication.k8s.io/v1", "command": "/nonexistent/plugin"}
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
        "AAAA",
        "=",
    ]
)
DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def or_odd(*plain: object) -> st.SearchStrategy[Any]:
    """Mostly what is valid, so that what is odd in one place is not hidden behind another's refusal."""
    sound = st.sampled_from(plain)
    return st.one_of(sound, sound, sound, sound, DATA)


def named(key: str, inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    one = st.fixed_dictionaries({"name": or_odd("kproxy"), key: st.one_of(inner, inner, inner, DATA)})
    return st.one_of(st.lists(one, min_size=1, max_size=2), st.lists(one, min_size=1, max_size=1), DATA)


USER = st.fixed_dictionaries(
    {},
    optional={
        "token": or_odd("sesame-open", "two\nlines", "tökén"),
        "tokenFile": or_odd("missing"),
        "username": or_odd("kproxy"),
        "password": or_odd("secret"),
        "client-certificate-data": or_odd("AAAA"),
        "client-key-data": or_odd("AAAA"),
        "client-certificate": or_odd("missing"),
        "exec": st.just(NO_PLUGIN) | DATA,
    },
)


def clusters(server: st.SearchStrategy[Any], proxy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {"server": server},
        optional={
            "certificate-authority-data": or_odd("AAAA"),
            "certificate-authority": or_odd("missing"),
            "insecure-skip-tls-verify": or_odd(True, False),
            "tls-server-name": or_odd("api.example"),
            "proxy-url": proxy,
        },
    )


def configurations(
    cluster: st.SearchStrategy[Any], names: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    context = st.fixed_dictionaries({"cluster": names, "user": names})
    return st.fixed_dictionaries(
        {"current-context": names},
        optional={
            "clusters": named("cluster", cluster),
            "contexts": named("context", context),
            "users": named("user", USER),
        },
    )


SOUND = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "kproxy",
    "clusters": [{"name": "kproxy", "cluster": {"server": NOBODY}}],
    "contexts": [{"name": "kproxy", "context": {"cluster": "kproxy", "user": "kproxy"}}],
    "users": [{"name": "kproxy", "user": {"token": "sesame-open"}}],
}
SOCKS = {"server": NOBODY, "proxy-url": "socks5://127.0.0.1:1"}
SOUND_TEXT = json.dumps(SOUND, indent=1).encode()
ANY = configurations(
    clusters(or_odd(NOBODY), or_odd("http://127.0.0.1:1", "socks5://127.0.0.1:1")), or_odd("kproxy")
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A sound text of which a part is gone or replaced."""
    start = draw(st.integers(0, len(SOUND_TEXT)))
    end = draw(st.integers(start, min(len(SOUND_TEXT), start + 12)))
    filling = draw(
        st.binary(max_size=3) | st.sampled_from([b"", b"&a [*a]", b"!!python/name:x ", b"\xff", b"\t", b"7"])
    )
    return SOUND_TEXT[:start] + filling + SOUND_TEXT[end:]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the file is written; the ways to a proxy that the environment knows are out of the way."""
    with pytest.MonkeyPatch.context() as environment:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
            environment.delenv(name, raising=False)
            environment.delenv(name.lower(), raising=False)
        yield tmp_path_factory.mktemp("arbitrary") / "kubeconfig"


@pytest.fixture(scope="module")
def api() -> Iterator[StubApi]:
    with StubApi() as stub:
        yield stub


def connected_or_refused(path: Path, text: bytes, master: str = "") -> Connection | None:
    """Without the token in what is said."""
    path.write_bytes(text)
    try:
        return connect(path, master)
    except InputError as refused:
        said = str(refused)
    assert said.isprintable()
    assert "sesame-open" not in said
    return None


@given(text=st.binary() | damaged())
@example(text=b"[" * 2_000)
@example(text=b"a: 'b\n\n c: \x01")
def test_any_text_leads_to_a_server_or_is_refused(path: Path, text: bytes) -> None:
    connected_or_refused(path, text)


@given(data=ANY, master=st.just("") | TEXTS)
@example(data={**SOUND, "users": [{"name": "kproxy", "token": "sesame-open"}]}, master="")
@example(data={**SOUND, "clusters": [{"name": "kproxy", "cluster": SOCKS}]}, master="")
@pytest.mark.filterwarnings("ignore::urllib3.exceptions.DependencyWarning")
def test_any_configuration_leads_to_a_server_or_is_refused(
    path: Path, data: dict[str, Any], master: str
) -> None:
    connected_or_refused(path, json.dumps(data).encode(), master)


@given(user=USER, cluster=clusters(st.just(""), st.sampled_from([NOBODY, "http://127.0.0.1:port"])))
@example(user={"token": "two\nlines"}, cluster={})
@example(user={"token": "\u0142"}, cluster={})
@example(user={}, cluster={"proxy-url": "http://127.0.0.1:port"})
@example(user={}, cluster={"insecure-skip-tls-verify": True, "tls-server-name": 7})
@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_any_credentials_are_refused_here_or_by_the_server(
    path: Path, api: StubApi, user: dict[str, Any], cluster: dict[str, Any]
) -> None:
    text = {
        **SOUND,
        "users": [{"name": "kproxy", "user": user}],
        "clusters": [{"name": "kproxy", "cluster": {**cluster, "server": api.url}}],
    }
    connection = connected_or_refused(path, json.dumps(text).encode())
    if connection is not None:
        with pytest.raises(KproxyError) as failed:  # none has the token
            connection.get("/api/v1/services", {}, read_timeout_s=10)
        connection.close()
        assert str(failed.value).isprintable()
