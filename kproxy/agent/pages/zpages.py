"""Pages that are text for people and an object of `config.k8s.io` for tools, as the client's Accept header asks.

Source: KEP-4827 and KEP-4828, kube-proxy 1.36.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import NamedTuple

from kproxy.agent.http.page import TEXT, Negotiated, Page

_GROUP = "config.k8s.io"
_VERSIONS = ("v1beta1", "v1alpha1")
"""One schema under two names: tools of Kubernetes 1.35 know the second only."""

_COMPONENT = "kproxy"
_MOST_TYPES = 32
"""The bound of media types that are read from a header; browsers send ten at most."""

_QUALITY = re.compile(r"[01](\.\d{0,3})?")


class _Accepted(NamedTuple):
    """One media type of an Accept header, such as `application/json` with the parameters `g`, `v` and `as`."""

    media_type: str
    parameters: Mapping[str, str]
    quality: float

    def version(self, kind: str) -> str:
        """The version of the object that is asked for; empty for any other object, or none."""
        wanted = {name: self.parameters.get(name) for name in ("g", "as")}
        version = self.parameters.get("v", "")
        is_ours = self.media_type == "application/json" and wanted == {"g": _GROUP, "as": kind}
        return version if is_ours and version in _VERSIONS else ""

    @property
    def is_text(self) -> bool:
        return self.media_type in ("*/*", "text/*", "text/plain") and not self.parameters.keys() & {
            "g",
            "v",
            "as",
        }


def zpage(kind: str, text: Callable[[], str], fields: Callable[[], Mapping[str, object]]) -> Negotiated:
    """The page of this kind: `text` where nothing else is asked for, an object with `fields`, or 406."""

    def page(accept: str) -> Page:
        if not accept.strip():
            return Page(text(), content_type=TEXT)
        for accepted in sorted(_read(accept), key=lambda each: -each.quality):
            if version := accepted.version(kind):
                return Page(json.dumps({**_object(kind, version), **fields()}))
            if accepted.is_text:
                return Page(text(), content_type=TEXT)
        return _not_acceptable(kind)

    return page


def _read(accept: str) -> Iterator[_Accepted]:
    """Each media type of the header that the client accepts, in their order."""
    for clause in accept.split(",")[:_MOST_TYPES]:
        media_type, *rest = (part.strip() for part in clause.split(";"))
        parameters = {
            name.strip(): value.strip() for name, _, value in (part.partition("=") for part in rest)
        }
        quality = parameters.pop("q", "1")
        accepted = _Accepted(media_type, parameters, float(quality) if _QUALITY.fullmatch(quality) else 1.0)
        if accepted.quality > 0:
            yield accepted


def _object(kind: str, version: str) -> dict[str, object]:
    return {"kind": kind, "apiVersion": f"{_GROUP}/{version}", "metadata": {"name": _COMPONENT}}


def _not_acceptable(kind: str) -> Page:
    known = f"application/json;g={_GROUP};v={_VERSIONS[0]};as={kind}"
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"this page is text/plain or {known}",
        "reason": "NotAcceptable",
        "code": int(HTTPStatus.NOT_ACCEPTABLE),
    }
    return Page(json.dumps(status), HTTPStatus.NOT_ACCEPTABLE)
