"""Authorities with equal names and without key identifiers, as after a manual rotation.

OpenSSL tries only the first of them; Go's crypto/x509 tries all. So OpenSSL gets each of them in turn.
"""

import ssl
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from kproxy.client.target import TlsSettings
from kproxy.client.transport.tls import certificates_in
from kproxy.client.x509 import subject

_MOST_TRIES = 8
"""Handshakes. Failed handshakes cost the server too, and a rotation leaves two authorities with one name."""


def readings(tls: TlsSettings) -> list[TlsSettings]:
    """Copies of the settings, each with one authority per name. Empty if all names differ anyway."""
    of_name: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for certificate in certificates_in(tls.authority or b""):
        of_name[subject(certificate)].append(certificate)
    most = max(map(len, of_name.values()), default=0)
    if most < 2:  # noqa: PLR2004 # authorities with one name
        return []
    return [
        replace(tls, authority=_in_pem(each[number % len(each)] for each in of_name.values()))
        for number in range(min(most, _MOST_TRIES))
    ]


def _in_pem(certificates: Iterable[bytes]) -> bytes:
    return "".join(map(ssl.DER_cert_to_PEM_cert, certificates)).encode()
