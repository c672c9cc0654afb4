"""The encodings in which we ask for answers, as client-go chooses them (rest/request.go, rest/client.go)."""

import re

from kproxy.errors import InputError
from kproxy.state.media_types import JSON, MEDIA_TYPES, PROTOBUF
from kproxy.state.printable import quoted

_ANY = "*/*"
_ANY_APPLICATION = "application/*"
_PREFERENCE = re.compile(r"q=(0(\.[0-9]{0,3})?|1(\.0{0,3})?)")
"""The weight of a media type in the header Accept (RFC 9110, 12.4.2)."""


def accepted(content_type: str, accept_content_types: str) -> str:
    """The value of the header Accept.

    `accept_content_types` is used unchanged if it is given. Otherwise `content_type` comes before all other types; JSON
    is used if both are empty.
    """
    return accept_content_types or f"{content_type or JSON}, {_ANY}"


ACCEPT = accepted(PROTOBUF, "")
"""The default, as kube-proxy's. Of the encodings that we can read, protobuf costs a server the least."""


def check_content_type(text: str) -> None:
    """Raise InputError unless the text is empty or a media type that we can read."""
    if text and text not in MEDIA_TYPES:
        raise InputError(f"{quoted(text)} is not one of {', '.join(MEDIA_TYPES)}")


def check_accepted(text: str) -> None:
    """Raise InputError unless the text is empty or a list for the header Accept with media types that we can read.

    A parameter other than a preference is refused: it asks for another form than a list of objects, for example a
    Table.
    """
    if not text:
        return
    for part in text.split(","):
        media_type, *parameters = (each.strip(" ") for each in part.split(";"))
        if media_type not in (*MEDIA_TYPES, _ANY, _ANY_APPLICATION):
            raise InputError(f"{quoted(media_type)} is not one of {', '.join(MEDIA_TYPES)}, {_ANY}")
        for parameter in parameters:
            if not _PREFERENCE.fullmatch(parameter):
                raise InputError(f"{quoted(parameter)} is no preference such as q=0.5")
