"""The forms in which the stub writes its answers: JSON, and protobuf where a client asks for it."""

from dataclasses import dataclass
from typing import Any

from stubapi import answers, protobuf

_PROTOBUF = "application/vnd.kubernetes.protobuf"


@dataclass(frozen=True, slots=True)
class Form:
    content_type: str
    content_type_of_streams: str
    is_protobuf: bool

    def body(self, manifest: dict[str, Any]) -> bytes:
        return protobuf.body(manifest) if self.is_protobuf else answers.encode(manifest)

    def event(self, event: dict[str, Any]) -> bytes:
        """A watch event as it stands in a stream."""
        if self.is_protobuf:
            return protobuf.frame(event["type"], event["object"])
        return answers.encode(event)


JSON = Form("application/json", "application/json", is_protobuf=False)
PROTOBUF = Form(_PROTOBUF, f"{_PROTOBUF};stream=watch", is_protobuf=True)


def form_of(accept: str) -> Form:
    """The first form in the header Accept that the stub knows; JSON without one."""
    for each in accept.split(","):
        media_type = each.partition(";")[0].strip()
        if media_type in (JSON.content_type, PROTOBUF.content_type):
            return JSON if media_type == JSON.content_type else PROTOBUF
    return JSON
