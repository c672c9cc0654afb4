"""Certificate authorities made for each run, and what they sign: as strict or as sloppy as a test wants."""

import datetime as dt
import ipaddress
import ssl
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Signed:
    """A certificate with its key. `chain` is PEM: the certificate and all that lead to its root, without that."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    chain: bytes

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @cached_property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def encrypted_key(self, form: PrivateFormat, password: bytes = b"open") -> bytes:
        return self.key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(password))

    def server_context(self, *, clients: bytes = b"") -> ssl.SSLContext:
        """Serves TLS with it; with the PEM of an authority, only to clients that this has signed."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")  # what a server serves is its own business
        with tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(self.chain + self.key_pem)
            context.load_cert_chain(file.name)
        if clients:
            context.load_verify_locations(cadata=clients.decode())
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def authority(
    name: str = "an authority",
    *,
    has_key_ids: bool = True,
    issuer: Signed | None = None,
    rsa_bits: int = 0,
) -> Signed:
    """One that signs itself, or one between `issuer` and servers. Go does without the identifiers of keys."""
    return _signed(name, [], issuer, is_authority=True, has_key_ids=has_key_ids, rsa_bits=rsa_bits)


def signed_by(
    issuer: Signed,
    *names: str,
    common_name: str = "somebody",
    days: int = 1,
    has_key_ids: bool = True,
    begins_in_days: int = -1,
    rsa_bits: int = 0,
) -> Signed:
    """For a server of these names or addresses, or for a client; good from `begins_in_days` to `days` from now.

    Its key is for elliptic curves, or with `rsa_bits` one of RSA.
    """
    return _signed(
        common_name,
        names,
        issuer,
        days=days,
        has_key_ids=has_key_ids,
        begins_in_days=begins_in_days,
        rsa_bits=rsa_bits,
    )


def _signed(
    common_name: str,
    names: list[str] | tuple[str, ...],
    issuer: Signed | None,
    *,
    is_authority: bool = False,
    has_key_ids: bool,
    days: int = 1,
    begins_in_days: int = -1,
    rsa_bits: int = 0,
) -> Signed:
    key = rsa.generate_private_key(65537, rsa_bits) if rsa_bits else ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    issuer_key = issuer.key if issuer else key
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=min(days - 1, begins_in_days)))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=False)
    )
    if has_key_ids:
        of_issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
        builder = builder.add_extension(of_issuer, critical=False).add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
        )
    certificate = builder.sign(issuer_key, hashes.SHA256())
    own = certificate.public_bytes(Encoding.PEM)
    above = issuer.chain if issuer and issuer.certificate.issuer != issuer.certificate.subject else b""
    return Signed(certificate, key, own + above)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
