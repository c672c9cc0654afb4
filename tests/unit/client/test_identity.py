"""Headers with credentials, as client-go's transport/round_trippers.go sends them."""

import base64
from collections.abc import Mapping

import pytest

from kproxy.client.credentials.headers import BasicAuth, Combined, Impersonation
from kproxy.client.credentials.tokens import BearerToken, NoCredentials
from kproxy.client.target import ClientCertificate
from kproxy.errors import InputError

ORIGIN = "the kubeconfig /etc/kubeconfig"


def lines(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    return list(headers.items())


@pytest.mark.parametrize(
    ("user", "password", "encoded"),
    [
        ("Aladdin", "open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        ("test", "123£", "dGVzdDoxMjPCow=="),
        ("", "", "Og=="),
        ("half", "\ud800", base64.b64encode(b"half:?").decode()),
    ],
)
def test_basic_auth_follows_rfc_7617_in_utf_8(user: str, password: str, encoded: str) -> None:
    assert {"Authorization": f"Basic {encoded}"} == BasicAuth(user, password).headers()


def test_impersonation_has_a_header_for_each_group_and_extra() -> None:
    impersonation = Impersonation(
        "proxy",
        ORIGIN,
        uid="7",
        groups=("system:nodes", "a, b"),
        extra={"scopes": ("view", "edit"), "example.com/Ä%": ("x",)},
    )
    assert [
        ("Impersonate-User", "proxy"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Group", "system:nodes"),
        ("Impersonate-Group", "a, b"),
        ("Impersonate-Extra-scopes", "view"),
        ("Impersonate-Extra-scopes", "edit"),
        ("Impersonate-Extra-example.com%2F%C3%84%25", "x"),
    ] == lines(impersonation.headers())


@pytest.mark.parametrize("text", ["a\r\nX-Forged: 1", "a\0", "\x1b", "\x7f"])
def test_value_that_no_header_can_hold_is_refused(text: str) -> None:
    for impersonation in (
        Impersonation(text, ORIGIN),
        Impersonation("u", ORIGIN, uid=text),
        Impersonation("u", ORIGIN, groups=(text,)),
        Impersonation("u", ORIGIN, extra={"k": (text,)}),
    ):
        with pytest.raises(InputError, match="has control characters") as refused:
            impersonation.headers()
        assert str(refused.value).isprintable()


@pytest.mark.parametrize("key", ["a\r\nb", "a:b", "\0", " "])
def test_key_that_no_header_can_have_is_escaped(key: str) -> None:
    [_, (name, _)] = lines(Impersonation("u", ORIGIN, extra={key: ("v",)}).headers())
    assert name.isprintable()
    assert not set(name) & set(": \r\n")


class Certified(NoCredentials):
    times_refused = 0

    def certificate(self) -> ClientCertificate | None:
        return ClientCertificate(b"certificate", b"key")

    def refused(self) -> None:
        self.times_refused += 1


def test_combined_credentials_are_all_of_them() -> None:
    certified = Certified()
    combined = Combined(
        BearerToken("sesame", ORIGIN),
        NoCredentials(),
        certified,
        Impersonation("u", ORIGIN, groups=("a", "b")),
    )
    assert [
        ("Authorization", "Bearer sesame"),
        ("Impersonate-User", "u"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
    ] == lines(combined.headers())
    assert ClientCertificate(b"certificate", b"key") == combined.certificate()
    combined.refused()
    assert 1 == certified.times_refused


def test_combined_credentials_with_one_header_send_the_later_one() -> None:
    assert {"Authorization": "Bearer b"} == dict(
        Combined(BearerToken("a", ORIGIN), BearerToken("b", ORIGIN)).headers()
    )


def test_combination_of_nothing_sends_no_credentials() -> None:
    assert ([], None) == (lines(Combined().headers()), Combined().certificate())


def test_password_is_not_shown_by_repr() -> None:
    assert "sesame" not in repr((BasicAuth("u", "sesame"), Combined(BasicAuth("u", "sesame"))))
