"""Authorities that have one name and no key identifiers, as after a rotation by hand.

OpenSSL tries the first of them alone; Go's crypto/x509 tries each. So each is given to OpenSSL in its turn.
"""

import ssl
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from kproxy.client.target import TlsSettings
from kproxy.client.transport.tls import certificates_in
from kproxy.client.x509 import subject

_MOST_TRIES = 8
"""Handshakes that fail cost the server too, and a rotation leaves two of a name."""


def readings(tls: TlsSettings) -> list[TlsSettings]:
    """The settings with each name once in their authority; none where each name stands there once anyway."""
    of_name: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for certificate in certificates_in(tls.authority or b""):
        of_name[subject(certificate)].append(certificate)
    most = max(map(len, of_name.values()), default=0)
    if most < 2:  # noqa: PLR2004 # of one name
        return []
    return [
        replace(tls, authority=_in_pem(each[number % len(each)] for each in of_name.values()))
        for number in range(min(most, _MOST_TRIES))
    ]


def _in_pem(certificates: Iterable[bytes]) -> bytes:
    return "".join(map(ssl.DER_cert_to_PEM_cert, certificates)).encode()
