"""The certificate authority of a cluster, from its entry or a file."""

from pathlib import Path

from kproxy.client.files import read_bounded
from kproxy.client.kubeconfig.fields import Cluster
from kproxy.client.kubeconfig.loading import Entry
from kproxy.client.transport.tls import holds_certificate
from kproxy.errors import InvalidField
from kproxy.state.printable import one_line

_MOST_BYTES = 4 << 20
"""All authorities that a system trusts together take 0.2 MB."""
_ADVICE = "write the certificate of the authority there, in PEM"


def read_authority(entry: Entry[Cluster]) -> bytes | None:
    """The authority in PEM, None if the entry has none.

    The file is read again with each call. InvalidField if it cannot be read.
    """
    cluster = entry.value
    if cluster.certificate_authority_data:
        return bytes(cluster.certificate_authority_data)
    if cluster.certificate_authority:
        return _read(entry, Path(cluster.certificate_authority))
    return None


def require_certificate(entry: Entry[Cluster], pem: bytes) -> None:
    """Raise InvalidField unless the PEM holds a certificate."""
    if not holds_certificate(pem):
        field = f"certificate-authority{'-data' if entry.value.certificate_authority_data else ''}"
        raise InvalidField(f"{entry.place}: {field}", f"it holds no certificate that can be read; {_ADVICE}")


def _read(entry: Entry[Cluster], path: Path) -> bytes:
    try:
        return read_bounded(path, _MOST_BYTES)
    except OSError as error:
        raise InvalidField(
            f"{entry.place}: certificate-authority",
            f"{one_line(str(path))} cannot be read: {error.strerror}; {_ADVICE}",
        ) from None
