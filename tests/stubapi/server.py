"""The stub API server itself, and the handle by which a test holds it."""

import base64
import json
import secrets
import socket
import socketserver
import ssl
import sys
import threading
import uuid
from pathlib import Path
from typing import Any, Self

from stubapi.certificates import server_context
from stubapi.handler import Handler, Request
from stubapi.storage import Object, Storage
from stubapi.streams import Failure, Faults, StreamedLists, sever

_POLL_S = 0.02


class ApiServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Serves each connection in a thread of its own; everything that lasts longer is handed in."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext, api: "StubApi") -> None:
        self.context = context
        self.storage, self.faults, self.requests = api.storage, api.faults, api.requests
        self.created = api.created
        self.token = api.token
        self.speaks_protobuf = api.speaks_protobuf
        self.flow_schema, self.priority_level = str(uuid.uuid4()), str(uuid.uuid4())
        self._connections: set[socket.socket] = set()
        self.taken = 0
        super().__init__(address, Handler)

    def get_request(self) -> tuple[ssl.SSLSocket, Any]:
        connection, peer = super().get_request()
        self.taken += 1
        # the handshake comes with the first read, in the connection's own thread
        tls = self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self._connections.add(tls)
        return tls, peer

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        if isinstance(request, socket.socket):
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that left is no error
            super().handle_error(request, client_address)

    def sever_connections(self) -> None:
        for connection in tuple(self._connections):
            sever(connection)


class StubApi:
    """An API server in this process, for as long as the `with` block lasts.

    `bind` is the IPv4 address to listen at; the kernel chooses the port unless `port` is given. `authority`
    is the PEM of the authority behind its certificate; `requests` holds every request so far, in order, and
    `created` what was posted. `speaks_protobuf` is whether those get it who ask for it, as a real server has it; then
    all objects must be of the types that a server lets in.
    """

    def __init__(self, bind: str = "127.0.0.1", port: int = 0, *, speaks_protobuf: bool = False) -> None:
        self.speaks_protobuf = speaks_protobuf
        self.token = secrets.token_hex(16)
        self.storage = Storage()
        self.faults = Faults(self.storage.changed)
        self.requests: list[Request] = []
        self.created: list[Object] = []
        self._context, self.authority = server_context(bind)
        self.address = (bind, port)
        self._server: ApiServer | None = None

    def __enter__(self) -> Self:
        self.reachable()
        return self

    def __exit__(self, *_: object) -> None:
        self.unreachable()

    @property
    def url(self) -> str:
        bind, port = self.address
        return f"https://{bind}:{port}"

    @property
    def connections(self) -> int:
        """How many were taken since it is reachable."""
        return self._server.taken if self._server else 0

    def put(self, kind: str, manifest: Object) -> int:
        """Create or replace an object; its new resourceVersion."""
        return self.storage.put(kind, manifest)

    def delete(self, kind: str, namespace: str, name: str) -> int:
        """The resourceVersion of the deletion."""
        return self.storage.delete(kind, namespace, name)

    def compact(self) -> None:
        """A client that watches on from a resourceVersion before now gets 410."""
        self.storage.compact()

    def bookmark(self) -> None:
        """Send a bookmark on every open stream."""
        self.faults.bookmark()

    def end_streams_with(self, status: int) -> None:
        """End every open stream with an ERROR event."""
        self.faults.end_with(status)

    def close_streams(self) -> None:
        """Cut every open stream in mid-air."""
        self.faults.close()

    def end_streams(self) -> None:
        """End every open stream in order, before its time, as a server does that shuts down."""
        self.faults.end()

    def stall_streams(self) -> None:
        """Say nothing any more on the streams that are open now; new ones are well."""
        self.faults.stall()

    def fail_next(self, count: int, status: int, retry_after: int | None = None) -> None:
        """Refuse the next requests, whatever they ask for."""
        with self.storage.changed:
            self.faults.failures.extend([Failure(status, retry_after)] * count)

    def lack(self, kind: str, status: int = 404) -> None:
        """Serve a kind no more."""
        self.faults.lacking[kind] = status

    def have(self, kind: str) -> None:
        """Serve it again."""
        del self.faults.lacking[kind]

    def stream_lists(
        self, how: StreamedLists = StreamedLists.GIVEN, *, broken_after: int | None = None
    ) -> None:
        """Take `sendInitialEvents` in this way; the streams break off after so many events of their lists."""
        with self.storage.changed:
            self.faults.streamed_lists, self.faults.initial_events_end = how, broken_after

    def restore_from_backup(self, to: int) -> None:
        """Be where the storage was at this resourceVersion."""
        self.storage.go_back(to)

    def disguise_versions(self, text: str) -> None:
        """Name the resourceVersion of each list so, and take that for the newest."""
        self.faults.version_name = text

    def page_all_lists(self) -> None:
        """Have no cache that gives lists in one piece."""
        self.faults.cache_lists = False

    def answer_after(self, delay_s: float) -> None:
        """Let each answer to a GET take so long to begin."""
        self.faults.delay_s = delay_s

    def wait_for_streams(self, kind: str, opened: int, timeout_s: float = 20.0) -> None:
        """Wait until this many streams of a kind have been opened, closed ones included; TimeoutError."""
        with self.storage.changed:
            if not self.storage.changed.wait_for(lambda: self.faults.opened[kind] >= opened, timeout_s):
                raise TimeoutError(f"{self.faults.opened[kind]} streams of {kind} were opened, not {opened}")

    def has_told_all(self) -> bool:
        """Whether of each kind that was ever watched an open stream has told of every change."""
        with self.storage.changed:
            told = dict.fromkeys(self.faults.opened, 0)
            for stream in self.faults.streams:
                if not stream.closed:
                    told[stream.kind] = max(told[stream.kind], stream.told)
            return not any(self.storage.changes(kind, version) for kind, version in told.items())

    def rotate_token(self) -> None:
        """Accept only a new token from now on, which `write_kubeconfig` writes."""
        self.token = secrets.token_hex(16)
        if self._server is not None:
            self._server.token = self.token

    def unreachable(self) -> None:
        """Refuse connections and cut those that are open."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            self.faults.close()
            server.sever_connections()

    def reachable(self) -> None:
        """Serve, at the same address as before."""
        self._server = ApiServer(self.address, self._context, self)
        self.address = (self.address[0], self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(_POLL_S,), daemon=True).start()

    def write_kubeconfig(self, path: Path, *, authority: bytes = b"", token: str = "") -> Path:
        """A kubeconfig for this server, or one with a wrong authority or token; JSON, which is YAML too."""
        cluster = {
            "server": self.url,
            "certificate-authority-data": base64.b64encode(authority or self.authority).decode(),
        }
        kubeconfig = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "stub", "cluster": cluster}],
            "users": [{"name": "proxy", "user": {"token": token or self.token}}],
            "contexts": [{"name": "stub", "context": {"cluster": "stub", "user": "proxy"}}],
            "current-context": "stub",
        }
        path.write_text(json.dumps(kubeconfig))
        return path
