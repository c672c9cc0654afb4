"""Explains why TLS with a server failed, in words that tell a person what to correct."""

import re
import ssl
from typing import Final

_NOT_YET_VALID, _EXPIRED = 9, 10
_OTHER_NAME, _OTHER_ADDRESS = 62, 64
"""OpenSSL's X509_V_ERR_* (openssl/x509_vfy.h)."""

_UNTRUSTED: Final = {
    _NOT_YET_VALID: "set this machine's clock, or renew the server's certificate",
    _EXPIRED: "renew it on the server, or set this machine's clock",
    **dict.fromkeys(
        (_OTHER_NAME, _OTHER_ADDRESS),
        "correct the address in {credentials}, or write a name that the certificate has into its tls-server-name",
    ),
}

_WITHOUT_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"})
_ABOUT_CLIENT: Final = ("CERTIFICATE", "UNKNOWN_CA")
_SOURCE = re.compile(
    r"\[SSL[^\]]*\] |\[Errno -?[0-9]+\] | \(_ssl\.c:[0-9]+\)|certificate verify failed: |\b(ssl|tls)v[0-9]+ alert "
)


def plain_cause(text: str) -> str:
    """The message of the system or of OpenSSL, without the numbers and names of source files."""
    return _SOURCE.sub("", text)


def tls_advice(error: BaseException, credentials: str) -> str:
    """The advice for a sentence that begins with the server. `error` is an error of the module ssl."""
    if isinstance(error, ssl.SSLCertVerificationError):
        remedy = _UNTRUSTED.get(error.verify_code, "correct the address or the authority in {credentials}")
        return f"we do not trust its certificate; {remedy.format(credentials=credentials)}"
    reason = (getattr(error, "reason", None) or "") if isinstance(error, ssl.SSLError) else ""
    if "ALERT" in reason:
        return _refused(reason, credentials)
    if reason in _WITHOUT_TLS:
        return f"TLS fails, because the server answers without TLS; correct the port of the address in {credentials}"
    if isinstance(error, ssl.SSLEOFError):
        return f"TLS fails, because the server hangs up; check that an API server listens at the address in {credentials}"
    return f"TLS fails; check the address and certificates in {credentials}"


def _refused(reason: str, credentials: str) -> str:
    if reason.endswith("CERTIFICATE_REQUIRED"):
        return f"it needs a client certificate; name one for the user of {credentials}"
    if any(word in reason for word in _ABOUT_CLIENT):
        return f"it does not accept our client certificate; renew the one in {credentials}"
    if reason.endswith("PROTOCOL_VERSION"):
        return "TLS fails, because the server has only TLS 1.1 or older; let it serve TLS 1.2 or 1.3"
    if reason.endswith("HANDSHAKE_FAILURE"):
        return f"it has no TLS cipher in common with us, or needs a client certificate; check it, and {credentials}"
    return f"TLS fails, because the server refuses it; check the address and tls-server-name in {credentials}"
