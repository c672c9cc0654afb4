"""The API's own words for a refusal."""

import msgspec
from msgspec import Struct

from kproxy.state.decode import parse_json


class StatusDetails(Struct, frozen=True, rename="camel"):
    retry_after_seconds: int = 0


class Status(Struct, frozen=True):
    """What the API says when it refuses; `code` is an HTTP status."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: StatusDetails | None = None


_STATUS = msgspec.json.Decoder(Status)


def decode_status(raw: bytes | msgspec.Raw) -> Status:
    """A proxy in between may refuse in a language of its own: anything but a Status is an empty one."""
    try:
        return parse_json(_STATUS, raw)
    except msgspec.DecodeError:
        return Status()
