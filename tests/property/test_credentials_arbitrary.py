"""Any content of token and certificate files, and any user to impersonate, gives headers or one printable sentence."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from credentialplugins import make_pair
from kproxy.client.credentials.certificates import CertificatePair
from kproxy.client.credentials.headers import BasicAuth, Combined, Impersonation
from kproxy.client.credentials.tokens import BearerToken, TokenFile
from kproxy.client.target import ClientCertificate, Target, TlsSettings
from kproxy.client.transport.route import Route
from kproxy.errors import EnvironmentLacking, InputError, KproxyError

CANARY = "sesame-open-0815"
PAIR = make_pair()
ORIGIN = "the kubeconfig /etc/kubeconfig"


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("arbitrary")
    return (folder / f"file-{number}" for number in count())


def require_clean(said: str) -> None:
    assert said.isprintable()
    assert CANARY not in said
    assert not any(line in said for line in PAIR.key.splitlines() if line)


CONTENTS = st.binary(max_size=20).flatmap(
    lambda noise: st.sampled_from([noise, noise + CANARY.encode(), CANARY.encode() + noise, CANARY.encode()])
)


@given(before=CONTENTS, after=st.none() | CONTENTS, beside=st.sampled_from(["", "beside"]))
@example(before=b"good", after=b"", beside="")
def test_any_token_file_gives_a_token_or_is_refused(
    paths: Iterator[Path], before: bytes, after: bytes | None, beside: str
) -> None:
    path = next(paths)
    path.write_bytes(before)
    first = token_of(path, beside)
    if after is None:
        path.unlink()
    else:
        path.write_bytes(after)
    assert token_of(path, beside) or not first


def token_of(path: Path, beside: str) -> str:
    try:
        header = TokenFile(path, ORIGIN, beside).headers()["Authorization"]
    except (InputError, EnvironmentLacking) as refused:
        require_clean(str(refused))
        return ""
    assert header.isascii()
    assert header.isprintable()
    assert len(header) > len("Bearer ")
    return header


PARTS = st.sampled_from([PAIR.certificate, PAIR.key, ""]).flatmap(
    lambda part: st.tuples(st.integers(0, 400), st.integers(0, 5), st.binary(max_size=5)).map(
        lambda cut: part.encode()[: cut[0]] + cut[2] + part.encode()[cut[0] + cut[1] :]
    )
)


@given(certificate=PARTS, key=PARTS)
def test_any_pair_is_given_or_refused_without_its_text(certificate: bytes, key: bytes) -> None:
    try:
        given_pair = CertificatePair(certificate, key, ORIGIN).certificate()
    except InputError as refused:
        require_clean(str(refused))
    else:
        assert ClientCertificate(certificate, key) == given_pair


TEXTS = st.text(max_size=8)


@given(token=TEXTS, user=TEXTS, password=TEXTS, groups=st.lists(TEXTS, max_size=3), key=TEXTS, value=TEXTS)
@example(token="", user="\ud800", password="\ud800", groups=["\u2028"], key="\ud800", value="é")
def test_any_identity_makes_headers_or_is_refused(
    token: str, user: str, password: str, groups: list[str], key: str, value: str
) -> None:
    impersonation = Impersonation(user, ORIGIN, uid=value, groups=groups, extra={key: [value]})
    for credentials in (
        BearerToken(CANARY + token, ORIGIN),
        BasicAuth(user, password),
        Combined(BasicAuth(user, CANARY), impersonation),
    ):
        way = Route(Target("https://api.example", ORIGIN, TlsSettings(is_verified=False), credentials))
        try:
            headers = list(way.proof().items())
        except KproxyError as refused:
            require_clean(str(refused))
            continue
        for name, text in headers:
            assert name.isascii()
            assert name.isprintable()
            assert not set(name) & set(": ")
            assert b"\n" not in text.encode("latin-1")
            assert b"\r" not in text.encode("latin-1")
