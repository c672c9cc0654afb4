"""The answer of a credential plugin: an ExecCredential of client.authentication.k8s.io."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from kproxy.client.credentials.certificates import require_fit
from kproxy.client.credentials.exec_config import VERSIONS
from kproxy.client.credentials.tokens import authorization
from kproxy.client.goyaml import first_document
from kproxy.client.target import ClientCertificate
from kproxy.client.x509 import validity
from kproxy.errors import InputError
from kproxy.state.decode import parse_json

_KIND = "ExecCredential"

_NEVER = datetime(1, 1, 1, tzinfo=UTC)
"""Go's zero time. client-go treats it as no expiry."""


@dataclass(frozen=True, slots=True, eq=False)
class PluginAnswer:
    """The credentials from a plugin.

    `expires_at` is in seconds since the epoch, None if they are valid until a refusal.

    They also expire when the certificate expires, whatever the plugin says; client-go would continue to send the
    certificate.
    """

    token: str = field(repr=False)
    certificate: ClientCertificate | None
    expires_at: float | None


class _Status(Struct, rename="camel", frozen=True):
    token: str | None = None
    client_certificate_data: str | None = None
    client_key_data: str | None = None
    expiration_timestamp: Annotated[datetime, Meta(tz=True)] | None = None


class _ExecCredential(Struct, rename="camel", frozen=True):
    api_version: str | None = None
    kind: str | None = None
    status: _Status | None = None


_DECODER = msgspec.json.Decoder(_ExecCredential)


def decode_answer(output: bytes, api_version: str, named: str) -> PluginAnswer:
    """Decode the output of a plugin by the rules of client-go's exec.go.

    InputError says what is wrong, without a word of the output.
    """
    found = _decoded(output, named)
    if found.kind != _KIND:
        raise InputError(
            f"{named} answers with {'another kind' if found.kind else 'no kind'} instead of {_KIND}"
        )
    if found.api_version != api_version:
        said = (
            found.api_version
            if found.api_version in VERSIONS
            else "another one"
            if found.api_version
            else "none"
        )
        raise InputError(
            f"{named} answers with apiVersion {said} instead of {api_version}; set exec.apiVersion to the plugin's own"
        )
    if found.status is None:
        raise InputError(f"{named} answers without a status; check that it could log in")
    return _answer(found.status, named)


def _decoded(output: bytes, named: str) -> _ExecCredential:
    """Decode JSON if the output begins with a brace, otherwise YAML, as client-go does."""
    try:
        if output.lstrip().startswith(b"{"):
            return parse_json(_DECODER, output)
        document = first_document(output)
        if isinstance(document, dict):
            return msgspec.convert(document, _ExecCredential)
    except msgspec.ValidationError as misfit:
        raise InputError(f"{named} answers with a malformed {_KIND}: {misfit}") from None
    except (msgspec.DecodeError, InputError):
        pass
    raise InputError(
        f"{named} answers with {len(output)} bytes that are not an {_KIND} in JSON; "
        "the plugin must write only that to stdout, and messages to stderr"
    )


def _answer(status: _Status, named: str) -> PluginAnswer:
    token = (status.token or "").strip()
    authorization(token, f"the token of {named}")
    certificate, key = status.client_certificate_data or "", status.client_key_data or ""
    if bool(certificate) != bool(key):
        has, lacks = ("certificate", "key") if certificate else ("key", "certificate")
        raise InputError(f"{named} answers with a client {has} and no {lacks}; give both or neither")
    if not token and not certificate:
        raise InputError(
            f"{named} answers with neither a token nor a client certificate; check that it could log in"
        )
    pair = None
    if certificate:
        pair = ClientCertificate(certificate.encode(), key.encode())
        require_fit(pair, named)
    return PluginAnswer(token, pair, _earliest(_seconds(status.expiration_timestamp), _end(pair)))


def _seconds(at: datetime | None) -> float | None:
    return None if at is None or at == _NEVER else at.timestamp()


def _end(pair: ClientCertificate | None) -> float | None:
    span = validity(pair.certificate) if pair else None
    return span.ends_at if span else None


def _earliest(*times: float | None) -> float | None:
    return min((time for time in times if time is not None), default=None)
