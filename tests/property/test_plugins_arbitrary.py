"""Whatever a credential plugin writes: it is credentials, or is refused in one printable sentence without a secret."""

import json
from base64 import b64decode, b64encode
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from credentialplugins import PluginProgram, make_pair
from kproxy.client.credentials.exec_answer import PluginAnswer, decode_answer
from kproxy.client.credentials.exec_config import V1
from kproxy.client.credentials.exec_plugin import ExecPlugin
from kproxy.client.credentials.masking import last_line
from kproxy.client.x509 import validity
from kproxy.errors import EnvironmentLacking, InputError

CANARY = "sesame-open-0815"
PAIR = make_pair()
NAMED = "the credential plugin p"
TEXTS = st.text(max_size=8) | st.sampled_from(
    [CANARY, f"a\n{CANARY}", V1, "ExecCredential", PAIR.certificate, PAIR.key]
)
DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def or_odd(*plain: object) -> st.SearchStrategy[Any]:
    """Mostly what is valid, so that what is odd in one place is not hidden behind another's refusal."""
    sound = st.sampled_from(plain)
    return st.one_of(sound, sound, sound, DATA)


STATUS = st.fixed_dictionaries(
    {},
    optional={
        "token": or_odd(CANARY, "", None),
        "clientCertificateData": or_odd(PAIR.certificate, ""),
        "clientKeyData": or_odd(PAIR.key, ""),
        "expirationTimestamp": or_odd("2026-11-27T14:00:00Z", "0001-01-01T00:00:00Z", None),
    },
)
ANSWERS = st.fixed_dictionaries(
    {"apiVersion": or_odd(V1), "kind": or_odd("ExecCredential")},
    optional={"status": st.one_of(STATUS, STATUS, DATA)},
).map(lambda answer: json.dumps(answer).encode())


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An answer of which a part is gone or replaced."""
    text = draw(ANSWERS)
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 12)))
    return (
        text[:start]
        + draw(st.binary(max_size=3) | st.sampled_from([b"", b"&a [*a]", b"\xff", b"\n", b"7"]))
        + text[end:]
    )


YAMLS = st.text("ak:[]{}&*|>-!'\" \n\t#%@?,~", max_size=30).map(
    lambda text: f"kind: {text}\nx: {CANARY}".encode()
)
OUTPUTS = st.one_of(ANSWERS, damaged(), YAMLS, st.binary(max_size=50))


def require_clean(said: str) -> None:
    assert said.isprintable()
    assert CANARY not in said
    assert not any(line in said for line in PAIR.key.splitlines() if line)


@given(output=OUTPUTS)
@example(output=b"kind: !!timestamp x")
@example(output=b"kind: !!int x\nstatus: !!binary x")
@example(output=b"kind: ? [x]\n: y")
@example(output=b"kind: <<: x")
def test_any_output_is_an_answer_or_is_refused(output: bytes) -> None:
    try:
        answer = decode_answer(output, V1, NAMED)
    except InputError as refused:
        require_clean(str(refused))
    else:
        assert isinstance(answer, PluginAnswer)
        assert answer.token or answer.certificate
        require_clean(repr(answer))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> PluginProgram:
    made = PluginProgram(tmp_path_factory.mktemp("plugin"))
    made.does(f'cd {made.folder}; cat output; cat complaint >&2; exit "$(cat code)"')
    return made


@given(
    output=OUTPUTS,
    complaint=st.binary(max_size=40),
    with_secret=st.booleans(),
    code=st.sampled_from([0, 1, 255]),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@example(output=b"", complaint=b"\x1b]0;x\x07", with_secret=True, code=1)
def test_any_plugin_gives_credentials_or_is_told_on_one_line(
    program: PluginProgram, output: bytes, complaint: bytes, with_secret: bool, code: int
) -> None:
    (program.folder / "output").write_bytes(output)
    (program.folder / "complaint").write_bytes(
        complaint + (f" {CANARY}".encode() + complaint if with_secret else b"")
    )
    (program.folder / "code").write_text(str(code))
    plugin = ExecPlugin(program.config(env=(("SECRET", CANARY),)))
    try:
        headers = plugin.headers()
        certificate = plugin.certificate()
    except EnvironmentLacking as failed:
        require_clean(str(failed))
    else:
        assert headers.get("Authorization") or certificate
        require_clean(repr((plugin, certificate)))
    plugin.refused()


@given(
    text=st.text(max_size=60), secrets=st.lists(st.text("ghijklmnop", min_size=4, max_size=12), max_size=3)
)
def test_any_line_is_printable_and_has_no_secret(text: str, secrets: list[str]) -> None:
    said = last_line(f"{text} {'-'.join(secrets)}", secrets)
    assert said.isprintable()
    assert len(said) <= 500
    assert not any(secret in said for secret in secrets)


DER = b64decode("".join(PAIR.certificate.splitlines()[1:-1]))


@given(data=st.data())
def test_any_damaged_certificate_has_a_validity_or_none(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(DER)))
    der = DER[:start] + data.draw(st.binary(max_size=4)) + DER[start + data.draw(st.integers(0, 4)) :]
    text = b"-----BEGIN CERTIFICATE-----\n" + b64encode(der) + b"\n-----END CERTIFICATE-----"
    validity(text if data.draw(st.booleans()) else der)
