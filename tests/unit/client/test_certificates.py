"""Client certificates, given in a configuration or in files that others renew."""

import datetime as dt
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from credentialplugins import Pair, make_pair
from kproxy.client.credentials.certificates import CertificatePair
from kproxy.client.target import ClientCertificate
from kproxy.client.x509 import validity
from kproxy.errors import EnvironmentLacking, InputError

ORIGIN = "the kubeconfig /etc/kubeconfig"
OLD, NEW = make_pair("old"), make_pair("new")


def as_bytes(pair: Pair) -> ClientCertificate:
    return ClientCertificate(pair.certificate.encode(), pair.key.encode())


class Files:
    def __init__(self, folder: Path) -> None:
        self.certificate, self.key = folder / "client.crt", folder / "client.key"
        self.certificate.write_text(OLD.certificate)
        self.key.write_text(OLD.key)

    def credentials(self) -> CertificatePair:
        return CertificatePair(self.certificate, self.key, ORIGIN)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_pair_of_data_is_used_unchanged() -> None:
    pair = CertificatePair(OLD.certificate.encode(), OLD.key.encode(), ORIGIN)
    assert (as_bytes(OLD), {}) == (pair.certificate(), pair.headers())


def test_pair_of_data_and_file_is_used(files: Files) -> None:
    assert as_bytes(OLD) == CertificatePair(OLD.certificate.encode(), files.key, ORIGIN).certificate()
    assert as_bytes(OLD) == CertificatePair(files.certificate, OLD.key.encode(), ORIGIN).certificate()


def test_pair_in_one_file_is_used(tmp_path: Path) -> None:
    both = tmp_path / "current.pem"
    both.write_text(OLD.certificate + OLD.key)
    pair = CertificatePair(both, both, ORIGIN).certificate()
    assert pair is not None
    assert pair.certificate == both.read_bytes()


def test_new_pair_is_used_once_both_parts_fit(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    credentials = files.credentials()
    assert as_bytes(OLD) == credentials.certificate()
    files.certificate.write_text(NEW.certificate)
    assert as_bytes(OLD) == credentials.certificate() == files.credentials().certificate()
    assert 1 == len(caplog.messages)
    assert "the client key does not fit the client certificate of" in caplog.text
    files.key.write_text(NEW.key)
    assert as_bytes(NEW) == credentials.certificate() == files.credentials().certificate()


@pytest.mark.parametrize(
    "harm",
    [
        lambda files: files.key.unlink(),
        lambda files: files.certificate.unlink(),
        lambda files: files.key.write_text(""),
        lambda files: files.certificate.write_text(NEW.certificate[:100]),
    ],
)
def test_files_that_become_bad_leave_the_previous_pair_in_use_for_new_connections(
    files: Files, harm: Callable[[Files], object]
) -> None:
    files.credentials().certificate()
    harm(files)
    assert as_bytes(OLD) == files.credentials().certificate()


def test_missing_file_is_reported(files: Files) -> None:
    files.key.unlink()
    with pytest.raises(EnvironmentLacking, match=f"the client key of {ORIGIN}, {files.key} cannot be read"):
        files.credentials().certificate()


def encrypted(key: str) -> str:
    loaded = load_pem_private_key(key.encode(), None)
    return loaded.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"sesame")
    ).decode()


@pytest.mark.parametrize(
    "pair",
    [
        Pair(OLD.certificate, NEW.key),
        Pair(OLD.certificate, ""),
        Pair("", OLD.key),
        Pair(OLD.key, OLD.certificate[:50]),
        Pair("AAAA", "AAAA"),
        Pair(OLD.certificate, encrypted(OLD.key)),
    ],
)
def test_parts_that_do_not_fit_are_refused_without_a_prompt_and_without_their_text(pair: Pair) -> None:
    with pytest.raises(InputError, match=f"the client (certificate|key) .*of {ORIGIN}") as refused:
        CertificatePair(pair.certificate.encode(), pair.key.encode(), ORIGIN).certificate()
    said = str(refused.value)
    assert said.isprintable()
    assert "sesame" not in said
    assert not any(line in said for line in pair.key.splitlines() if line)


def test_key_is_not_shown_by_repr() -> None:
    pair = CertificatePair(OLD.certificate.encode(), OLD.key.encode(), ORIGIN)
    assert OLD.key.splitlines()[1] not in repr((pair, pair.certificate()))


def test_validity_is_of_the_first_certificate() -> None:
    pair = make_pair(age=dt.timedelta(hours=5))
    span = validity(f"text\n{pair.certificate}{OLD.certificate}".encode())
    assert span is not None
    assert abs(time.time() - 5 * 3600 - span.begins_at) < 60
    assert span.ends_at == span.begins_at + 86_400


@pytest.mark.parametrize(
    "text", [b"", b"\xff", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
)
def test_validity_of_other_text_is_none(text: bytes) -> None:
    assert validity(text) is None
