"""TLS to a server as Go's crypto/tls and crypto/x509 do it, with keys in memory only.

No key is ever written to a file system. OpenSSL takes a key only from a path, so it gets the path of a memory file,
which ends with its descriptor. Contexts are made by hand: those of the ssl module and of urllib3 write the secrets of
each session to the file that SSLKEYLOGFILE names, which Go does not.
"""

import os
import re
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path

from kproxy.client.target import ClientCertificate, TlsSettings
from kproxy.errors import EnvironmentLacking, InputError

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[ \t\r]*\n.*?-----END CERTIFICATE-----", re.DOTALL)

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:!AESCCM:!SHA256:!SHA384:@SECLEVEL=1"
"""The ciphers of Go's crypto/tls for TLS 1.2.

At this level OpenSSL accepts RSA keys of 1,024 bits, as Go does, and refuses SHA-1.
"""

_SYSTEM_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""The first file that can be read is used, as in Go's crypto/x509/root_linux.go."""

_SYSTEM_DIRECTORIES = ("/etc/ssl/certs", "/etc/pki/tls/certs")
"""All files of all these directories are used."""


class _Encrypted(Exception):
    pass


def client_context(tls: TlsSettings, certificate: ClientCertificate | None, origin: str) -> ssl.SSLContext:
    """A context with TLS 1.2 or newer that accepts the servers that Go accepts; `equal_names` adds the rest.

    Each certificate in the authority's PEM may end a chain, whether or not it is a root. An authority needs no key
    identifier (Python 3.13 would require one). The name in a certificate's subject is ignored. InputError, with
    `origin`, for an authority without a certificate, and for a client's key that is encrypted or does not fit.
    EnvironmentLacking if this process has no /proc or no memory file.
    """
    places = os.environ.get("SSL_CERT_FILE", ""), os.environ.get("SSL_CERT_DIR", "")
    if certificate is None:
        return _shared_context(tls, places, origin)
    context = _new_context(tls, places, origin)
    _prove_with(context, certificate, origin)
    return context


def _new_context(tls: TlsSettings, system: tuple[str, str], origin: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags = (
        ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST | ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    )
    context.hostname_checks_common_name = False
    context.set_ciphers(_CIPHERS)
    if not tls.is_verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif tls.authority is None:
        _trust(context, _system_authorities(*system))
    elif not _trust(context, certificates_in(tls.authority)):
        raise InputError(
            f"the certificate authority of {origin} cannot be used: it holds no certificate in PEM"
        )
    return context


_shared_context = lru_cache(maxsize=4)(_new_context)
"""Connections without a client certificate share contexts: to read the system's 140 authorities takes 0.1 s."""


def _trust(context: ssl.SSLContext, certificates: Sequence[bytes]) -> bool:
    """Load the certificates, each in DER.

    Returns whether at least one was loaded; text that is no certificate is ignored.
    """
    try:
        context.load_verify_locations(cadata=b"".join(certificates))
    except (ssl.SSLError, ValueError):
        taken = [_is_taken(context, each) for each in certificates]
        return any(taken)
    return True


def _is_taken(context: ssl.SSLContext, certificate: bytes) -> bool:
    try:
        context.load_verify_locations(cadata=certificate)
    except (ssl.SSLError, ValueError):
        return False
    return True


def holds_certificate(pem: bytes) -> bool:
    """Whether the PEM holds a certificate that can be read, as Go's AppendCertsFromPEM asks. Other text is ignored."""
    return _trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificates_in(pem))


def certificates_in(text: bytes) -> list[bytes]:
    """The certificates in a text, in DER and once each. They are not checked: some may only look like certificates."""
    found = _CERTIFICATE.findall(text)
    return list(dict.fromkeys(filter(None, map(_decoded, found))))


def _decoded(pem: bytes) -> bytes:
    try:
        return ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))
    except ValueError:
        return b""


@cache
def _system_authorities(file: str, directories: str) -> list[bytes]:
    """The authorities of the system. SSL_CERT_FILE and SSL_CERT_DIR replace its own places. Read once, as in Go."""
    texts = (_read(Path(path)) for path in ([file] if file else _SYSTEM_FILES))
    first = next(filter(None, texts), b"")
    paths = {
        path.resolve()
        for directory in (directories.split(":") if directories else _SYSTEM_DIRECTORIES)
        for path in _files(Path(directory))
    }
    return certificates_in(b"\n".join([first, *map(_read, sorted(paths))]))


def _files(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.is_file() else b""
    except OSError:
        return b""


def _prove_with(context: ssl.SSLContext, certificate: ClientCertificate, origin: str) -> None:
    def asked_for_pass_phrase() -> str:
        raise _Encrypted

    try:
        with _memory_file(certificate.certificate) as chain, _memory_file(certificate.key) as key:
            context.load_cert_chain(chain, key, asked_for_pass_phrase)
    except _Encrypted:
        raise InputError(
            f"the client key of {origin} is encrypted, and nobody can give its pass phrase; store it without one"
        ) from None
    except ssl.SSLError as error:
        raise InputError(f"{_fault(certificate, error)} of {origin}") from error
    except OSError as error:
        raise EnvironmentLacking(
            f"the client key of {origin} cannot be used: OpenSSL takes it from memory by /proc, and {error.strerror}; "
            "mount /proc, or free descriptors"
        ) from error


def _fault(certificate: ClientCertificate, error: ssl.SSLError) -> str:
    if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
        return "the client key does not fit the client certificate"
    if not _CERTIFICATE.search(certificate.certificate):
        return "there is no certificate in PEM in the client certificate"
    if b"PRIVATE KEY-----" not in certificate.key:
        return "there is no private key in PEM in the client key"
    return f"OpenSSL cannot use ({error.reason or 'no reason given'}) the client certificate and key"


@contextmanager
def _memory_file(content: bytes) -> Iterator[str]:
    """A path to the content that works while the block runs. The content is on no disk."""
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
