"""Answers of credential plugins, which client-go's plugin/pkg/client/auth/exec/exec.go accepts or refuses."""

import datetime as dt
import json
import time
from datetime import UTC, datetime

import pytest

from credentialplugins import credential, in_seconds, make_pair
from kproxy.client.credentials.exec_answer import decode_answer
from kproxy.client.credentials.exec_config import V1, V1BETA1
from kproxy.client.target import ClientCertificate
from kproxy.errors import InputError

PAIR, OTHER = make_pair(), make_pair()
NAMED = "the credential plugin p"
TOKEN = {"token": "sesame-open"}


@pytest.mark.parametrize("version", [V1, V1BETA1])
def test_answer_in_the_requested_version_is_accepted(version: str) -> None:
    answer = decode_answer(credential(TOKEN, api_version=version).encode(), version, NAMED)
    assert ("sesame-open", None, None) == (answer.token, answer.certificate, answer.expires_at)


def test_certificate_and_key_are_accepted_with_and_without_a_token() -> None:
    status = {"clientCertificateData": PAIR.certificate, "clientKeyData": PAIR.key}
    expected = ClientCertificate(PAIR.certificate.encode(), PAIR.key.encode())
    answer = decode_answer(credential(status).encode(), V1, NAMED)
    assert ("", expected) == (answer.token, answer.certificate)
    both = decode_answer(credential({**status, **TOKEN}).encode(), V1, NAMED)
    assert ("sesame-open", expected) == (both.token, both.certificate)
    assert PAIR.key.splitlines()[1] not in repr(both)
    assert "sesame" not in repr(both)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2026-11-27T14:00:00Z", datetime(2026, 11, 27, 14, tzinfo=UTC).timestamp()),
        ("2026-11-27T16:00:00+02:00", datetime(2026, 11, 27, 14, tzinfo=UTC).timestamp()),
        ("2026-11-27T14:00:00.5Z", datetime(2026, 11, 27, 14, tzinfo=UTC).timestamp() + 0.5),
        ("0001-01-01T00:00:00Z", None),
        (None, None),
    ],
)
def test_expiry_is_a_time_or_never(written: str | None, expected: float | None) -> None:
    text = credential({**TOKEN, "expirationTimestamp": written})
    assert expected == decode_answer(text.encode(), V1, NAMED).expires_at


@pytest.mark.parametrize(
    ("token_ends_in_s", "expected_s"), [(None, 86_400), (-90_000, -90_000), (90_000, 86_400)]
)
def test_certificate_expires_at_its_own_end_too(token_ends_in_s: int | None, expected_s: float) -> None:
    pair = make_pair(age=dt.timedelta())
    status = {
        "clientCertificateData": pair.certificate,
        "clientKeyData": pair.key,
        "expirationTimestamp": None if token_ends_in_s is None else in_seconds(token_ends_in_s),
    }
    expires_at = decode_answer(credential(status).encode(), V1, NAMED).expires_at
    assert expires_at is not None
    assert abs(expires_at - time.time() - expected_s) < 60


def test_unknown_fields_are_ignored() -> None:
    text = json.dumps(
        {
            "apiVersion": V1,
            "kind": "ExecCredential",
            "spec": {"interactive": False},
            "x": [1],
            "status": {**TOKEN, "y": {}, "clientKeyData": None},
        }
    )
    assert "sesame-open" == decode_answer(f"\n {text}\n".encode(), V1, NAMED).token


YAML = f"""# from a plugin
apiVersion: {V1}
kind: ExecCredential
spec: {{}}
status:
  token: sesame-open
  clientKeyData: null
  expirationTimestamp: 2026-11-27T14:00:00Z
"""


def test_answer_in_yaml_is_read_as_by_client_go() -> None:
    answer = decode_answer(YAML.encode(), V1, NAMED)
    assert ("sesame-open", None) == (answer.token, answer.certificate)
    assert datetime(2026, 11, 27, 14, tzinfo=UTC).timestamp() == answer.expires_at


CERTIFICATE, KEY = {"clientCertificateData": PAIR.certificate}, {"clientKeyData": PAIR.key}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "0 bytes that are not an ExecCredential in JSON"),
        ("sesame-open", "11 bytes that are not an ExecCredential in JSON"),
        (
            "Welcome!\n" + credential(TOKEN),
            "that are not an ExecCredential in JSON; the plugin must write only that to stdout",
        ),
        (credential(TOKEN) + "\nbye", "that are not an ExecCredential in JSON"),
        (credential(TOKEN)[:-2], "that are not an ExecCredential in JSON"),
        (YAML + "\n- sesame-open", "that are not an ExecCredential in JSON"),
        ('"sesame-open"', "13 bytes that are not an ExecCredential in JSON"),
        (YAML.replace("sesame-open", "7"), r"got `int` - at `\$.status.token`"),
        ("{}", "answers with no kind instead of ExecCredential"),
        (credential(TOKEN, kind="Sesame-open"), "answers with another kind instead of ExecCredential"),
        (credential(TOKEN, api_version=V1BETA1), f"answers with apiVersion {V1BETA1} instead of {V1}"),
        (
            credential(TOKEN, api_version="sesame-open"),
            f"answers with apiVersion another one instead of {V1}",
        ),
        (credential(TOKEN, api_version=""), f"answers with apiVersion none instead of {V1}"),
        (credential(None), "answers without a status; check that it could log in"),
        (
            credential([]),
            r"a malformed ExecCredential: Expected `object \| null`, got `array` - at `\$.status`",
        ),
        (credential({}), "answers with neither a token nor a client certificate"),
        (credential({"token": ""}), "answers with neither a token nor a client certificate"),
        (credential({"token": " \n"}), "answers with neither a token nor a client certificate"),
        (
            credential({"token": 7}),
            r"malformed ExecCredential: Expected `str \| null`, got `int` - at `\$.status.token`",
        ),
        (credential({"token": "sesame\nopen"}), "holds characters that no token has"),
        (
            credential({**TOKEN, **CERTIFICATE}),
            "answers with a client certificate and no key; give both or neither",
        ),
        (
            credential({**TOKEN, **KEY}),
            "answers with a client key and no certificate; give both or neither",
        ),
        (
            credential({**CERTIFICATE, "clientKeyData": OTHER.key}),
            "the client key does not fit the client certificate of",
        ),
        (
            credential({**CERTIFICATE, "clientKeyData": "sesame-open"}),
            "there is no private key in PEM in the client key of",
        ),
        (credential({**TOKEN, "expirationTimestamp": "sesame-open"}), r"at `\$.status.expirationTimestamp`"),
        (
            credential({**TOKEN, "expirationTimestamp": "2026-11-27T14:00:00"}),
            r"at `\$.status.expirationTimestamp`",
        ),
        ("[" * 100_000, "that are not an ExecCredential in JSON"),
        ('{"a":' * 100_000, "that are not an ExecCredential in JSON"),
        ("kind: " + "[" * 5_000, "that are not an ExecCredential in JSON"),
        ("kind: &a [*a]\nstatus: {token: sesame-open}", "that are not an ExecCredential in JSON"),
    ],
)
def test_other_answer_is_refused_without_repeating_it(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        decode_answer(text.encode(), V1, NAMED)
    assert str(refused.value).startswith(NAMED) or NAMED in str(refused.value)
    assert "sesame" not in str(refused.value).lower()
    assert PAIR.key.splitlines()[1] not in str(refused.value)
    assert str(refused.value).isprintable()


def test_answer_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(InputError, match="4 bytes that are not an ExecCredential"):
        decode_answer(b"\xff\xfe{}", V1, NAMED)
