"""A certificate authority and a server certificate, new for each stub."""

import datetime as dt
import ipaddress
import ssl
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_Key = ec.EllipticCurvePrivateKey

_SIGNS_CERTIFICATES = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)
"""Python 3.13 verifies strictly and wants an authority to say so."""


def server_context(address: str) -> tuple[ssl.SSLContext, bytes]:
    """A context that serves TLS at this address, and the PEM of the authority that vouches for it."""
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name, server_name = _name("stub authority"), _name("stub server")
    authority = _sign(
        authority_name,
        authority_key,
        authority_name,
        authority_key,
        x509.BasicConstraints(ca=True, path_length=0),
        _SIGNS_CERTIFICATES,
    )
    addresses = {address, "127.0.0.1"}
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(each)) for each in addresses])
    certificate = _sign(server_name, server_key, authority_name, authority_key, names)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "server.pem")
        key = server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(certificate.public_bytes(Encoding.PEM) + key)
        context.load_cert_chain(path)
    return context, authority.public_bytes(Encoding.PEM)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _sign(
    subject: x509.Name, key: _Key, issuer: x509.Name, issuer_key: _Key, *extensions: x509.ExtensionType
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
    for extension in extensions:
        # a key's usage and an authority's constraints bind whoever reads them, names are for who asks
        binding = not isinstance(extension, x509.SubjectAlternativeName)
        builder = builder.add_extension(extension, critical=binding)
    return builder.sign(issuer_key, hashes.SHA256())
