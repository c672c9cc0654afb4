"""Tokens, given in a configuration or in a file that others renew."""

import os
from pathlib import Path

import pytest

from kproxy.client.credentials.tokens import BearerToken, NoCredentials, TokenFile
from kproxy.errors import EnvironmentLacking, InputError

ORIGIN = "the kubeconfig /etc/kubeconfig"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "token"


def test_no_credentials_are_no_header() -> None:
    assert ({}, None) == (NoCredentials().headers(), NoCredentials().certificate())


@pytest.mark.parametrize(
    ("token", "headers"),
    [
        ("sesame", {"Authorization": "Bearer sesame"}),
        (" sesame\n", {"Authorization": "Bearer sesame"}),
        ("", {}),
    ],
)
def test_token_is_sent_without_the_white_space_around_it(token: str, headers: dict[str, str]) -> None:
    assert headers == BearerToken(token, ORIGIN).headers()


@pytest.mark.parametrize("token", ["two\nlines", "t\x00k", "tökén", "\x1b[31m", "a\x7fb", "a\udc80"])
def test_token_that_no_header_can_hold_is_refused_and_not_printed(token: str) -> None:
    with pytest.raises(
        InputError, match=f"the token of {ORIGIN} holds characters that no token has"
    ) as refused:
        BearerToken(token, ORIGIN).headers()
    assert token not in str(refused.value)


def test_token_file_is_used_before_the_token_in_the_configuration(path: Path) -> None:
    path.write_text("new\n")
    assert {"Authorization": "Bearer new"} == TokenFile(path, ORIGIN, "stale").headers()


@pytest.mark.parametrize("connections", [1, 3])
def test_file_that_changes_is_read_again_for_the_next_request(path: Path, connections: int) -> None:
    seen = []
    credentials = [TokenFile(path, ORIGIN) for _ in range(connections)]
    for number in range(3):
        path.write_text(f"token-{number}")
        os.utime(path, (0, 0))  # even if the file's time and size stay equal
        seen += [each.headers()["Authorization"] for each in credentials]
    assert [f"Bearer token-{number}" for number in range(3) for _ in range(connections)] == seen


@pytest.mark.parametrize(
    "harm", [Path.unlink, lambda path: path.write_text(""), lambda path: path.write_text("\0\n")]
)
def test_file_that_becomes_bad_leaves_the_previous_token_in_use_for_new_connections(
    path: Path, harm: object, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text("good")
    TokenFile(path, ORIGIN).headers()
    assert callable(harm)
    harm(path)
    assert ["Bearer good"] * 3 == [TokenFile(path, ORIGIN).headers()["Authorization"] for _ in range(3)]
    assert 1 == len(caplog.messages)
    assert caplog.messages[0].endswith("; the previous one stays in use")
    path.write_text("better")
    assert "Bearer better" == TokenFile(path, ORIGIN).headers()["Authorization"]


def test_missing_file_is_reported_with_place_and_fix(path: Path) -> None:
    with pytest.raises(EnvironmentLacking) as lacking:
        TokenFile(path, ORIGIN).headers()
    assert str(lacking.value) == (
        f"the token file of {ORIGIN}, {path} cannot be read: No such file or directory; write it, or name another"
    )


def test_missing_file_leaves_the_configured_token_in_use_until_it_appears(path: Path) -> None:
    credentials = TokenFile(path, ORIGIN, "beside")
    assert {"Authorization": "Bearer beside"} == credentials.headers()
    path.write_text("file")
    assert {"Authorization": "Bearer file"} == credentials.headers()


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_empty_file_is_no_token(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(EnvironmentLacking, match="is empty; write a token into it"):
        TokenFile(path, ORIGIN).headers()


@pytest.mark.parametrize("content", [b"\xff\xfe", b"sesame-open\nsesame-close", "ses\u0142me".encode()])
def test_file_that_holds_no_token_is_refused_and_not_printed(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(InputError, match="holds characters that no token has") as refused:
        TokenFile(path, ORIGIN).headers()
    assert "ses" not in str(refused.value)


def test_pipe_or_device_is_refused_without_waiting(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(InputError, match="is not a regular file"):
        TokenFile(path, ORIGIN).headers()
    with pytest.raises((InputError, EnvironmentLacking)):
        TokenFile(path.parent, ORIGIN).headers()
    with pytest.raises(InputError, match="not a regular file"):
        TokenFile(Path("/dev/zero"), ORIGIN).headers()


def test_file_that_is_too_long_is_refused(path: Path) -> None:
    path.write_bytes(b"x" * ((1 << 20) + 1))
    with pytest.raises(EnvironmentLacking, match="it is larger than 1 MB"):
        TokenFile(path, ORIGIN).headers()


def test_name_that_no_file_has_is_refused_on_one_line() -> None:
    with pytest.raises(EnvironmentLacking) as lacking:
        TokenFile(Path("a\0\nb"), ORIGIN).headers()
    assert str(lacking.value).isprintable()


def test_secrets_are_not_shown_by_repr(path: Path) -> None:
    credentials = TokenFile(path, ORIGIN, "sesame"), BearerToken("sesame", ORIGIN)
    assert "sesame" not in repr(credentials) + str(credentials)
