"""One connection to the stub: its requests and how they are answered."""

import gzip
import http
import json
import time
import uuid
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, urlsplit

from stubapi import answers
from stubapi.forms import JSON, Form, form_of
from stubapi.selectors import selector
from stubapi.served import SERVED, Served
from stubapi.storage import ContinueInvalidError, ExpiredError, Matches, TooLargeError
from stubapi.streams import Stream, StreamedLists, sever

if TYPE_CHECKING:
    from stubapi.server import ApiServer

_DEFAULT_WATCH_S = "1800"
_TIME_LEFT_UNKNOWN_S = 3600.0
_VERSION = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.0",
    "gitCommit": "0" * 40,
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "go1.26.3",
    "compiler": "gc",
    "platform": "linux/amd64",
}
_NO_LISTS_IN_STREAMS = (
    "a watch stream was requested by the client "
    "but the required storage feature RequestWatchProgress is disabled"
)

_INVALID_OPTIONS = 'ListOptions.meta.k8s.io "" is invalid: '
_REFUSED_STREAMS: dict[StreamedLists | None, str] = {
    StreamedLists.GATED: (
        f"{_INVALID_OPTIONS}sendInitialEvents: Forbidden: "
        "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
    ),
    StreamedLists.UNKNOWN: (
        f"{_INVALID_OPTIONS}resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch"
    ),
}


def _too_large(error: TooLargeError) -> dict[str, Any]:
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return answers.status(504, str(error), "Timeout", {"causes": [cause], "retryAfterSeconds": 1})


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came in: `verb` is list or watch, or get for anything else; `accept` is its header."""

    verb: str
    path: str
    query: dict[str, str]
    accept: str = ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def api(self) -> "ApiServer":
        return cast("ApiServer", self.server)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        served = SERVED.get(url.path)
        verb = "get" if served is None else "watch" if query.get("watch") in ("true", "1") else "list"
        self.api.requests.append(Request(verb, url.path, query, self.headers.get("Accept", "")))
        time.sleep(self.api.faults.delay_s)
        failure = self.api.faults.next_failure(served.kind if served else "")
        if failure is not None:
            after = {} if failure.retry_after is None else {"Retry-After": str(failure.retry_after)}
            message = http.HTTPStatus(failure.status).description or "failed as asked"
            self._answer(failure.status, answers.status(failure.status, message), after)
        elif self._admitted(served):
            self._dispatch(url.path, served, verb, query)

    def do_POST(self) -> None:
        """Takes whatever is created and keeps it apart from what is served."""
        length = int(self.headers.get("Content-Length", "0"))
        body = json.loads(self.rfile.read(length))
        self.api.requests.append(Request("create", self.path, {}))
        failure = self.api.faults.next_failure()
        if failure is not None:
            self._answer(failure.status, answers.status(failure.status, "failed as asked"))
        elif self._admitted(None):
            self.api.created.append(body)
            self._send(201, answers.encode(body), {"Content-Type": JSON.content_type})

    @property
    def _form(self) -> Form:
        """As the client asks for it, where the server speaks protobuf at all."""
        return form_of(self.headers.get("Accept", "")) if self.api.speaks_protobuf else JSON

    def log_message(self, *_: object) -> None:
        """The stub keeps its requests in a list instead."""

    def _admitted(self, served: Served | None) -> bool:
        presented = self.headers.get("Authorization", "")
        if not presented:
            plural, group = (served.plural, served.group) if served else ("", "")
            message = (
                f'{plural} is forbidden: User "system:anonymous" cannot list resource "{plural}" '
                f'in API group "{group}" at the cluster scope'
            )
            refusal = answers.status(403, message, details={"kind": plural})
            self._answer(403, refusal, {"X-Content-Type-Options": "nosniff"})
            return False
        scheme, _, token = presented.partition(" ")
        if (scheme.lower(), token) != ("bearer", self.api.token):
            self._answer(401, answers.status(401, "Unauthorized"))
            return False
        return True

    def _dispatch(self, path: str, served: Served | None, verb: str, query: dict[str, str]) -> None:
        if path == "/readyz":
            plain = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
            self._send(200, b"ok", plain)
        elif path == "/version":
            self._send(200, json.dumps(_VERSION, indent=2).encode(), {"Content-Type": JSON.content_type})
        elif served is None:
            message = "the server could not find the requested resource"
            self._answer(404, answers.status(404, message, details={}))
        elif verb == "watch":
            self._watch(served, query)
        else:
            self._list(served, query)

    def _list(self, served: Served, query: dict[str, str]) -> None:
        labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
        since = query.get("resourceVersion", "")
        limit = 0 if since == "0" and self.api.faults.cache_lists else int(query.get("limit", "0"))
        try:
            self.api.storage.check_reached(self._version(since))
            found = self.api.storage.page(
                served.kind, selector(labels, fields), limit, query.get("continue", "")
            )
        except ContinueInvalidError:
            message = "invalid continue token: continue key is not valid: illegal base64 data at input byte 4"
            self._answer(400, answers.status(400, message))
        except ExpiredError as error:
            self._answer(410, answers.status(410, str(error)))
        except TooLargeError as error:
            self._answer(504, _too_large(error))
        else:
            page = answers.page(served, found, count_remaining=not (labels or fields))
            if self.api.faults.version_name:
                page["metadata"]["resourceVersion"] = self.api.faults.version_name
            accepted = self.headers.get("Accept-Encoding", "")
            headers, body = answers.compressed(self._form.body(page), accepted)
            self._send(200, body, headers)

    def _version(self, text: str) -> int:
        known = self.api.faults.version_name
        return self.api.storage.resource_version if known and text == known else int(text or 0)

    def _watch(self, served: Served, query: dict[str, str]) -> None:
        how = self.api.faults.streamed_lists if "sendInitialEvents" in query else None
        if how in _REFUSED_STREAMS:
            self._answer(422, answers.status(422, _REFUSED_STREAMS[how], "Invalid"))
            return
        accepts_gzip = "gzip" in self.headers.get("Accept-Encoding", "")
        compressed = how is StreamedLists.GIVEN_COMPRESSED and accepts_gzip
        framing = {
            "Transfer-Encoding": "chunked",
            "Content-Type": self._form.content_type_of_streams,
            **({"Content-Encoding": "gzip", "Vary": "Accept-Encoding"} if compressed else {}),
        }
        self._head(200, framing)
        after = self._version(query.get("resourceVersion", ""))
        refusal = self._watch_refusal(after, how)
        if refusal is not None:
            self.wfile.write(answers.chunk(self._form.event(answers.error(refusal))) + answers.chunk(b""))
            return
        stream = Stream(served.kind, self.connection, compressed=compressed)
        self.api.faults.add(stream)
        try:
            matches = selector(query.get("labelSelector", ""), query.get("fieldSelector", ""))
            if how is not None:
                after = self._initial(served, matches, stream, is_marked=how.is_given)
            self._follow(served, after, query, matches, stream)
        finally:
            self.api.faults.drop(stream)
        if stream.closed:
            self.close_connection = True
        else:
            self.wfile.write(answers.chunk(b""))

    def _watch_refusal(self, after: int, how: StreamedLists | None) -> dict[str, Any] | None:
        if how is StreamedLists.LACK_PROGRESS:
            return answers.status(500, _NO_LISTS_IN_STREAMS)
        try:
            if how is None:
                self.api.storage.check(after)
            else:
                self.api.storage.check_reached(after)
        except ExpiredError as error:
            return answers.status(410, str(error))
        except TooLargeError as error:
            return _too_large(error)
        return None

    def _initial(self, served: Served, matches: Matches, stream: Stream, *, is_marked: bool) -> int:
        """Send what there is; the resourceVersion that the client then is at."""
        found = self.api.storage.page(served.kind, matches, 0, "")
        events = [answers.event(served, "ADDED", item) for item in found.items]
        broken_after = self.api.faults.initial_events_end
        if broken_after is not None:
            self._tell(stream, events[:broken_after])
            self.wfile.flush()
            stream.closed = True
            sever(self.connection)
        elif is_marked:
            self._tell(stream, [*events, answers.bookmark(served, found.resource_version, ends_list=True)])
        else:
            self._tell(stream, events)
        stream.told = found.resource_version
        return found.resource_version

    def _tell(self, stream: Stream, events: list[dict[str, Any]]) -> None:
        """Where a stream is compressed, the events that are sent together are one gzip member."""
        frames = [self._form.event(each) for each in events]
        if stream.compressed and frames:
            self.wfile.write(answers.chunk(gzip.compress(b"".join(frames), 1)))
        else:
            self.wfile.write(b"".join(map(answers.chunk, frames)))

    def _follow(
        self, served: Served, after: int, query: dict[str, str], matches: Matches, stream: Stream
    ) -> None:
        ends_at = time.monotonic() + int(query.get("timeoutSeconds", _DEFAULT_WATCH_S))
        told = False
        while True:
            events, after = self._await_events(served, after, matches, stream, ends_at)
            if not events:
                break
            told = True
            self._tell(stream, events)
            if stream.error_due:
                return
            stream.told = after
        if told and not stream.closed and query.get("allowWatchBookmarks") == "true":
            self._tell(stream, [answers.bookmark(served, after)])

    def _await_events(
        self, served: Served, after: int, matches: Matches, stream: Stream, ends_at: float
    ) -> tuple[list[dict[str, Any]], int]:
        """The next part of the answer, empty at the end; and the resourceVersion that the client then has."""
        storage = self.api.storage
        with storage.changed:
            while not stream.closed:
                if not stream.stalled:
                    changes = [change.event(matches) for change in storage.changes(served.kind, after)]
                    events = [answers.event(served, *each) for each in changes if each is not None]
                    after = max(after, storage.resource_version)
                    events += [answers.bookmark(served, after)] * stream.bookmarks_due
                    stream.bookmarks_due = 0
                    if stream.error_due:
                        events.append(answers.error(answers.status(stream.error_due, "ended as asked")))
                    if events or stream.ended or time.monotonic() >= ends_at:
                        return events, after
                    stream.told = after
                left_s = _TIME_LEFT_UNKNOWN_S if stream.stalled else ends_at - time.monotonic()
                storage.changed.wait(max(0.0, left_s))
        return [], after

    def _answer(self, code: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._send(code, self._form.body(body), headers)

    def _send(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        name, value, framed = answers.framed(body)
        self._head(code, {**(headers or {}), name: value})
        self.wfile.write(framed)

    def _head(self, code: int, headers: dict[str, str]) -> None:
        self.send_response_only(code)
        usual = {
            "Audit-Id": str(uuid.uuid4()),
            "Cache-Control": "no-cache, private",
            "Content-Type": self._form.content_type,
        }
        if code != http.HTTPStatus.UNAUTHORIZED:
            usual |= {
                "X-Kubernetes-Pf-Flowschema-Uid": self.api.flow_schema,
                "X-Kubernetes-Pf-Prioritylevel-Uid": self.api.priority_level,
            }
        if self.close_connection:  # the client asked for it
            usual["Connection"] = "close"
        for name, value in {**usual, "Date": self.date_time_string(), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
