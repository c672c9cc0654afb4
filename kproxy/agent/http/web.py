"""A small HTTP server: one thread accepts, reads and answers for every address, and waits for nobody.

Most clients have sent their request before the server accepts them: it answers them at once, and keeps nothing of
them. A probe waits only some milliseconds, even while thousands of silent clients connect in a second.
"""

import errno
import logging
import selectors
import socket
import time
from typing import cast

from kproxy.agent.http.client import Client
from kproxy.agent.http.listening import Listener, ListeningAddress, open_listener
from kproxy.agent.http.page import Answer
from kproxy.kernel.node.descriptors import clients_end, limit_in_words, listeners_end
from kproxy.threads import Need, SupervisedThread, log_defect

_log = logging.getLogger(__name__)

_MOST_CONNECTIONS = 256
"""The number of clients for which the server waits at once; one more client costs the oldest its connection. An
honest client sends its request within milliseconds; even among 10,000 new clients in a second it has 25 ms."""

_FEWEST_CONNECTIONS = 4
"""The number of clients for which the server waits even while the last descriptors are kept for programs: a probe sends
its request some microseconds after it is accepted."""

_MOST_LISTENERS = 16_384
"""The number of listeners is that of addresses times that of Services, and each listener takes a descriptor and some
KiB of the kernel's memory."""

_AT_ONCE = 64
"""The number of connections that the server takes from one listener before it turns to the others."""

_LOOK_EVERY_S = 0.1
"""Seconds between two searches for clients that are late, and until a new try after the system gave no descriptor."""

_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class WebServer:
    """Answers on any number of addresses, from `start` to `stop`; safe to use from any thread."""

    def __init__(self, name: str = "web") -> None:
        self._selector = selectors.DefaultSelector()
        self._clients: dict[Client, None] = {}
        self._listeners: set[Listener] = set()
        self._woken, self._wake = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = SupervisedThread(name, self._serve, Need.NODE)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close every address, without waiting for answers that are being written."""
        self._thread.end()
        self._wake.close()
        self._thread.join()
        for client in tuple(self._clients):
            client.connection.close()
        for listener in tuple(self._listeners):
            listener.close()
        self._woken.close()
        self._selector.close()

    def listen(self, address: str, port: int, answer: Answer) -> Listener:
        """Answer there from now on; OSError if the address is not free, EMFILE while others need the descriptors.

        A wildcard stands for every address of its family, empty text for those of both.
        """
        if len(self._listeners) >= _MOST_LISTENERS:
            raise OSError(errno.EMFILE, f"{_MOST_LISTENERS} addresses with ports are open already")
        listener = open_listener(address, port)
        if listener.fileno() >= listeners_end():
            listener.close()
            raise OSError(errno.EMFILE, limit_in_words())
        self._selector.register(listener, selectors.EVENT_READ, ListeningAddress(listener, answer))
        self._listeners.add(listener)
        return listener

    def close(self, listener: Listener) -> None:
        self._listeners.discard(listener)
        self._selector.unregister(listener)
        listener.close()

    def _serve(self) -> None:
        look_at = 0.0
        while True:
            for key, _ in self._selector.select(_LOOK_EVERY_S if self._clients else None):
                if key.fileobj is self._woken:
                    return
                if isinstance(key.data, Client):
                    self._advance(key.data)
                else:
                    self._accept(cast("ListeningAddress", key.data))
            if self._clients and time.monotonic() >= look_at:
                self._cut_late()
                look_at = time.monotonic() + _LOOK_EVERY_S

    def _accept(self, address: ListeningAddress) -> None:
        address.before_accepting()
        limit = clients_end()
        for _ in range(_AT_ONCE):
            try:
                connection, _ = address.listener.accept()
            except OSError as failed:
                if failed.errno in _NO_ROOM:
                    time.sleep(
                        _LOOK_EVERY_S
                    )  # the client still waits, and the selector would report it again at once
                return  # or no client is there, or the address was closed just now
            client = Client(connection, address.answer)
            self._answer_or_keep(client, has_room=connection.fileno() < limit)
            if not client.head:
                address.came_silent()

    def _answer_or_keep(self, client: Client, *, has_room: bool) -> None:
        """Answer at once, or keep the client; the oldest client is cut if there are too many.

        While programs need the last descriptors, only a few clients are kept.
        """
        if not self._goes_on(client):
            client.connection.close()
            return
        while len(self._clients) >= (_MOST_CONNECTIONS if has_room else _FEWEST_CONNECTIONS):
            self._forget(next(iter(self._clients)))
        self._clients[client] = None
        events = selectors.EVENT_WRITE if client.reply else selectors.EVENT_READ
        self._selector.register(client.connection, events, client)

    def _advance(self, client: Client) -> None:
        if client not in self._clients:
            return  # cut just now, for another one
        if not self._goes_on(client):
            self._forget(client)
        elif client.reply:
            self._selector.modify(client.connection, selectors.EVENT_WRITE, client)

    @staticmethod
    def _goes_on(client: Client) -> bool:
        try:
            return client.advance()
        except OSError:
            return False  # the client left early, or sent too much
        except Exception:  # noqa: BLE001 # one client must not end the server
            log_defect(_log, "a defect in kproxy: an HTTP client gets no answer")
            return False
        except BaseException:
            client.connection.close()
            raise

    def _cut_late(self) -> None:
        now = time.monotonic()
        for client in [each for each in self._clients if each.late_at <= now]:
            self._forget(client)

    def _forget(self, client: Client) -> None:
        del self._clients[client]
        self._selector.unregister(client.connection)
        client.connection.close()
