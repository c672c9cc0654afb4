"""TLS as Go does it, against real servers. Keys and secrets of sessions never reach a file."""

import os
import pty
import resource
import socket
import ssl
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import PrivateFormat

from authorities import Signed, authority, signed_by
from kproxy.client.connection import Connection
from kproxy.client.target import ClientCertificate, Target, TlsSettings
from kproxy.client.transport.tls import client_context
from kproxy.errors import ApiFailed, EnvironmentLacking, InputError
from tlsservers import Seen, tls_server

TIMEOUT_S = 10.0


class Proof:
    """Credentials whose certificate can change."""

    def __init__(
        self, certificate: ClientCertificate | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.certificate_now = certificate
        self.headers_now = headers or {}
        self.refusals = 0

    def headers(self) -> Mapping[str, str]:
        return self.headers_now

    def certificate(self) -> ClientCertificate | None:
        return self.certificate_now

    def refused(self) -> None:
        self.refusals += 1


def asked(
    seen: Seen, tls: TlsSettings | None, proof: Proof | None = None, host: str = "127.0.0.1", path: str = ""
) -> bytes:
    """The body of an answer. ApiFailed if there is none."""
    scheme = "http" if tls is None else "https"
    connection = Connection(
        Target(f"{scheme}://{host}:{seen.port}{path}", "the settings", tls, proof or Proof())
    )
    try:
        with connection.get("/api/v1/services", {"a": "b"}, read_timeout_s=TIMEOUT_S) as answer:
            return answer.body(1 << 20)
    finally:
        connection.close()


def proof_of(signed: Signed) -> ClientCertificate:
    return ClientCertificate(signed.chain, signed.key_pem)


ROOT = authority("root")


def test_address_in_a_certificate_is_matched_and_no_server_name_is_sent() -> None:
    with tls_server(signed_by(ROOT, "127.0.0.1")) as seen:
        assert b"ok" == asked(seen, TlsSettings(ROOT.pem))
    assert [None] == seen.server_names


def test_name_is_matched_and_sent() -> None:
    with tls_server(signed_by(ROOT, "localhost")) as seen:
        assert b"ok" == asked(seen, TlsSettings(ROOT.pem), host="localhost")
    assert ["localhost"] == seen.server_names


def test_name_is_expected_in_lower_case() -> None:
    with tls_server(signed_by(ROOT, "localhost")) as seen:
        assert b"ok" == asked(seen, TlsSettings(ROOT.pem), host="LocalHost")
    assert ["localhost"] == seen.server_names


def test_address_of_ipv6_is_matched() -> None:
    with tls_server(signed_by(ROOT, "::1"), address="::1") as seen:
        assert b"ok" == asked(seen, TlsSettings(ROOT.pem), host="[::1]")
    assert [None] == seen.server_names


def test_server_name_stands_for_the_host() -> None:
    with tls_server(signed_by(ROOT, "kubernetes.default.svc")) as seen:
        assert b"ok" == asked(seen, TlsSettings(ROOT.pem, server_name="kubernetes.default.svc"))
    assert ["kubernetes.default.svc"] == seen.server_names


def test_server_name_that_is_an_address_is_expected_and_not_sent() -> None:
    with tls_server(signed_by(ROOT, "10.96.0.1")) as seen:
        assert b"ok" == asked(seen, TlsSettings(ROOT.pem, server_name="10.96.0.1"))
    assert [None] == seen.server_names


@pytest.mark.parametrize(
    ("names", "common_name"),
    [
        (["10.0.0.1"], "x"),
        (["other"], "x"),
        ([], "localhost"),
        (["other"], "localhost"),
        (["*"], "x"),
        (["loc*lhost"], "x"),
    ],
)
def test_certificate_of_another_name_is_refused(names: list[str], common_name: str) -> None:
    server = tls_server(signed_by(ROOT, *names, common_name=common_name))
    with server as seen, pytest.raises(ApiFailed, match="we do not trust its certificate"):
        asked(seen, TlsSettings(ROOT.pem), host="localhost")
    assert [] == seen.requests


def test_certificate_that_has_expired_is_refused() -> None:
    with (
        tls_server(signed_by(ROOT, "127.0.0.1", days=-1)) as seen,
        pytest.raises(ApiFailed, match="certificate has expired"),
    ):
        asked(seen, TlsSettings(ROOT.pem))


def test_insecure_server_is_not_verified() -> None:
    with tls_server(signed_by(ROOT, "other", days=-1)) as seen:
        assert b"ok" == asked(seen, TlsSettings(is_verified=False))


def test_authority_without_key_identifiers_is_accepted_as_by_go() -> None:
    root = authority(has_key_ids=False)
    with tls_server(signed_by(root, "127.0.0.1", has_key_ids=False)) as seen:
        assert b"ok" == asked(seen, TlsSettings(root.pem))


def test_flag_that_python_3_13_adds_would_refuse_such_an_authority() -> None:
    root = authority(has_key_ids=False)
    context = client_context(TlsSettings(root.pem), None, "x")
    assert 0 == ssl.VERIFY_X509_STRICT & context.verify_flags
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with (
        tls_server(signed_by(root, "127.0.0.1", has_key_ids=False)) as seen,
        socket.create_connection(("127.0.0.1", seen.port), TIMEOUT_S) as plain,
        pytest.raises(ssl.SSLCertVerificationError, match="Missing Authority Key Identifier"),
    ):
        context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_any_certificate_of_the_authority_ends_a_chain() -> None:
    between = authority("between", issuer=ROOT)
    server = signed_by(between, "127.0.0.1")
    with tls_server(server) as seen:
        for trusted in (ROOT.pem, between.pem, server.pem):
            assert b"ok" == asked(seen, TlsSettings(trusted))


def test_blanks_after_the_first_line_of_a_certificate_are_ignored() -> None:
    """As in Go's encoding/pem."""
    text = ROOT.pem.replace(b"BEGIN CERTIFICATE-----", b"BEGIN CERTIFICATE----- \t")
    with tls_server(signed_by(ROOT, "127.0.0.1")) as seen:
        assert b"ok" == asked(seen, TlsSettings(text))


@pytest.mark.parametrize("rsa_bits", [1024, 2048])
def test_short_keys_are_accepted_as_by_go(rsa_bits: int) -> None:
    root = authority("root", rsa_bits=rsa_bits)
    client = signed_by(root, common_name="system:node:node-1", rsa_bits=rsa_bits)
    proof = Proof(ClientCertificate(client.chain, client.key_pem))
    with tls_server(signed_by(root, "127.0.0.1", rsa_bits=rsa_bits)) as seen:
        assert b"ok" == asked(seen, TlsSettings(root.pem), proof)


@pytest.mark.parametrize("ciphers", ["ECDHE+AESGCM", "ECDHE+CHACHA20", "ECDHE-ECDSA-AES128-SHA"])
def test_ciphers_of_go_are_known(ciphers: str) -> None:
    context = signed_by(ROOT, "127.0.0.1").server_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(ciphers)
    with tls_server(context) as seen:
        assert b"ok" == asked(seen, TlsSettings(ROOT.pem))


@pytest.mark.parametrize("has_key_ids", [True, False])
@pytest.mark.parametrize("right", range(3))
def test_each_authority_of_one_name_is_tried(right: int, has_key_ids: bool) -> None:
    """Two authorities have one name after a rotation. OpenSSL alone would try only the first."""
    roots = [authority("kubernetes", has_key_ids=has_key_ids) for _ in range(3)]
    bundle = b"".join(root.pem for root in [authority("another"), *roots])
    identity = signed_by(roots[right], "127.0.0.1", has_key_ids=has_key_ids)
    with tls_server(identity) as seen:
        assert b"ok" == asked(seen, TlsSettings(bundle), Proof(headers={"Authorization": "Bearer abc"}))
    assert 1 == len(seen.requests)


def test_server_not_signed_by_any_authority_of_one_name_gets_nothing() -> None:
    roots = [authority("kubernetes", has_key_ids=False) for _ in range(3)]
    bundle = b"".join(root.pem for root in roots[1:])
    with (
        tls_server(signed_by(roots[0], "127.0.0.1", has_key_ids=False)) as seen,
        pytest.raises(ApiFailed, match="we do not trust its certificate"),
    ):
        asked(seen, TlsSettings(bundle), Proof(headers={"Authorization": "Bearer abc"}))
    assert [] == seen.requests


def test_certificates_are_found_among_other_text() -> None:
    broken = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    text = b"# an authority\r\n" + broken + authority().pem + ROOT.key_pem + ROOT.pem.replace(b"\n", b"\r\n")
    with tls_server(signed_by(ROOT, "127.0.0.1")) as seen:
        assert b"ok" == asked(seen, TlsSettings(text))


@pytest.mark.parametrize(
    "text", [b"", b"x", ROOT.key_pem, b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"]
)
def test_authority_without_a_certificate_is_refused_before_a_request(text: bytes) -> None:
    with pytest.raises(InputError, match=r"certificate authority of the settings .* no certificate in PEM"):
        Connection(Target("https://127.0.0.1:1", "the settings", TlsSettings(text), Proof()))


def test_old_tls_is_refused() -> None:
    signed = signed_by(ROOT, "127.0.0.1")
    context = signed.server_context()
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")

    with (
        tls_server(context) as seen,
        pytest.raises(ApiFailed, match=r"TLS fails, because the server has only TLS 1\.1"),
    ):
        asked(seen, TlsSettings(ROOT.pem))


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_system_authorities_are_those_that_the_environment_names(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "any-name").write_bytes(ROOT.pem)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, "/dev/null")
    with tls_server(signed_by(ROOT, "127.0.0.1")) as seen:
        with pytest.raises(ApiFailed, match="we do not trust its certificate"):
            asked(seen, TlsSettings())
        value = tmp_path / "any-name" if variable == "SSL_CERT_FILE" else f"/nowhere:{tmp_path}"
        monkeypatch.setenv(variable, str(value))
        assert b"ok" == asked(seen, TlsSettings())


def test_client_certificate_proves_who_we_are() -> None:
    client = signed_by(ROOT, common_name="system:node:node-1")
    with tls_server(signed_by(ROOT, "127.0.0.1"), clients=ROOT.pem) as seen:
        assert b"ok" == asked(seen, TlsSettings(ROOT.pem), Proof(proof_of(client)))
        with pytest.raises(ApiFailed, match="it needs a client certificate"):
            asked(seen, TlsSettings(ROOT.pem))
    assert ["system:node:node-1"] == seen.client_names


def test_client_certificate_of_an_intermediate_authority_brings_its_chain() -> None:
    client = signed_by(authority("between", issuer=ROOT), common_name="chained")
    with tls_server(signed_by(ROOT, "127.0.0.1"), clients=ROOT.pem) as seen:
        assert b"ok" == asked(seen, TlsSettings(ROOT.pem), Proof(proof_of(client)))


def test_renewed_client_certificate_makes_a_new_connection() -> None:
    proof = Proof(proof_of(signed_by(ROOT, common_name="old")))
    with tls_server(signed_by(ROOT, "127.0.0.1"), clients=ROOT.pem) as seen:
        connection = Connection(Target(f"https://127.0.0.1:{seen.port}", "x", TlsSettings(ROOT.pem), proof))
        for _ in range(2):
            connection.get("/", {}, read_timeout_s=TIMEOUT_S).body(10)
        proof.certificate_now = proof_of(signed_by(ROOT, common_name="new"))
        for _ in range(2):
            connection.get("/", {}, read_timeout_s=TIMEOUT_S).body(10)
        connection.close()
    assert ["old", "new"] == seen.client_names


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_encrypted_key_is_refused(form: PrivateFormat) -> None:
    client = signed_by(ROOT)
    proof = Proof(ClientCertificate(client.chain, client.encrypted_key(form)))
    with tls_server(signed_by(ROOT, "127.0.0.1")) as seen, pytest.raises(InputError, match="is encrypted"):
        asked(seen, TlsSettings(ROOT.pem), proof)
    assert [] == seen.requests


def test_encrypted_key_asks_nothing_on_the_terminal(tmp_path: Path) -> None:
    client = signed_by(ROOT)
    (tmp_path / "cert").write_bytes(client.chain)
    (tmp_path / "key").write_bytes(client.encrypted_key(PrivateFormat.PKCS8))
    script = textwrap.dedent(
        f"""
        from pathlib import Path
        from kproxy.client.target import ClientCertificate, TlsSettings
        from kproxy.client.transport.tls import client_context
        here = Path({str(tmp_path)!r})
        pair = ClientCertificate((here / "cert").read_bytes(), (here / "key").read_bytes())
        try:
            client_context(TlsSettings(is_verified=False), pair, "x")
        except Exception as error:
            print(type(error).__name__)
        """
    )
    ours, theirs = pty.openpty()
    try:
        ended = subprocess.run(
            [sys.executable, "-c", script],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
            start_new_session=True,
            timeout=30,
            check=False,
        )
        os.set_blocking(ours, False)
        with pytest.raises(BlockingIOError):
            os.read(ours, 1000)
    finally:
        os.close(ours)
        os.close(theirs)
    assert b"InputError\n" == ended.stdout


@pytest.mark.parametrize(
    ("certificate", "key", "fault"),
    [
        (
            signed_by(ROOT).chain,
            signed_by(ROOT).key_pem,
            "does not fit the client certificate of the settings",
        ),
        (b"", ROOT.key_pem, "no certificate in PEM in the client certificate of the settings"),
        (ROOT.pem, b"", "no private key in PEM in the client key of the settings"),
        (ROOT.pem, ROOT.pem, "no private key in PEM"),
        (b"\0", b"\0", "no certificate in PEM"),
        (
            ROOT.pem,
            b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n",
            "OpenSSL cannot use",
        ),
    ],
)
def test_client_certificate_that_cannot_be_used_is_reported(
    certificate: bytes, key: bytes, fault: str
) -> None:
    with pytest.raises(InputError, match=fault) as caught:
        client_context(TlsSettings(ROOT.pem), ClientCertificate(certificate, key), "the settings")
    assert "c2VjcmV0" not in str(caught.value)


def test_lack_of_descriptors_is_reported() -> None:
    pair = proof_of(signed_by(ROOT))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(EnvironmentLacking, match="Too many open files; mount /proc, or free descriptors"):
            client_context(TlsSettings(is_verified=False), pair, "x")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_key_is_found_behind_its_parameters_and_beside_its_certificate() -> None:
    client = signed_by(ROOT)
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    both = parameters + client.key_pem + client.chain
    client_context(TlsSettings(ROOT.pem), ClientCertificate(both, both), "x")


def test_secrets_of_a_session_reach_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "secrets"))
    with tls_server(signed_by(ROOT, "127.0.0.1")) as seen:
        asked(seen, TlsSettings(ROOT.pem))
        asked(seen, TlsSettings(is_verified=False))
    assert [] == list(tmp_path.iterdir())


def test_no_descriptor_stays_open() -> None:
    pair = proof_of(signed_by(ROOT))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        client_context(TlsSettings(ROOT.pem), pair, "x")
    assert before == len(list(Path("/proc/self/fd").iterdir()))


def test_headers_of_credentials_are_sent_with_tls() -> None:
    proof = Proof(headers={"Authorization": "Bearer hunter2", "Impersonate-User": "jürgen"})
    with tls_server(signed_by(ROOT, "127.0.0.1")) as seen:
        asked(seen, TlsSettings(ROOT.pem), proof, path="/clusters/one")
    ((path, headers),) = seen.requests
    assert "/clusters/one/api/v1/services?a=b" == path
    assert "Bearer hunter2" == headers["Authorization"]
    assert "jürgen" == headers["Impersonate-User"].encode("latin-1").decode()


def test_nothing_of_credentials_is_sent_without_tls() -> None:
    class Canary(Proof):
        def headers(self) -> Mapping[str, str]:
            raise AssertionError

        def certificate(self) -> ClientCertificate | None:
            raise AssertionError

    with tls_server(None) as seen:
        assert b"ok" == asked(seen, None, Canary())
    ((_, headers),) = seen.requests
    assert {"Accept", "User-Agent", "Host", "Accept-Encoding"} >= set(headers)


def test_header_that_cannot_be_sent_is_refused_without_its_value() -> None:
    proof = Proof(headers={"Authorization": "Bearer hunter2\nX: y"})
    with tls_server(signed_by(ROOT, "127.0.0.1")) as seen, pytest.raises(InputError) as caught:
        asked(seen, TlsSettings(ROOT.pem), proof)
    assert "Authorization" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert [] == seen.requests
