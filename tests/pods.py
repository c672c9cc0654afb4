"""A node whose pods are threads of the test in another network namespace."""

import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from kproxy import process
from namespaces import fresh_namespace, inside


@contextmanager
def node_and_pods(endpoints: Iterable[str]) -> Iterator[None]:
    """This thread on a node with 10.199.0.2, whose pods answer at port 53 with the address that they were asked at."""
    with fresh_namespace() as node, fresh_namespace() as pods, ExitStack() as serving:
        run = process.run
        run(["ip", "-n", node, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", pods])
        for name, address in ((node, "10.199.0.2/24"), (pods, "10.199.0.1/24")):
            run(["ip", "-n", name, "address", "add", address, "dev", "eth0"])
            run(["ip", "-n", name, "link", "set", "eth0", "up"])
        run(["ip", "-n", node, "route", "add", "default", "via", "10.199.0.1"])
        for endpoint in endpoints:
            run(["ip", "-n", pods, "address", "add", f"{endpoint}/32", "dev", "lo"])
        with inside(pods):
            for endpoint in endpoints:
                tcp = serving.enter_context(socket.create_server((endpoint, 53)))
                udp = serving.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                udp.bind((endpoint, 53))
                threading.Thread(target=answer_tcp, args=(tcp,), daemon=True).start()
                threading.Thread(target=answer_udp, args=(udp, endpoint), daemon=True).start()
        with inside(node):
            yield


def answer_tcp(server: socket.socket) -> None:
    try:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=echo_address, args=(connection,), daemon=True).start()
    except OSError:
        return  # the test is over


def echo_address(connection: socket.socket) -> None:
    with connection:
        while connection.recv(100):
            connection.sendall(connection.getsockname()[0].encode())


def answer_udp(server: socket.socket, endpoint: str) -> None:
    try:
        while True:
            _, client = server.recvfrom(100)
            if client is None:
                return  # it was closed under the wait
            server.sendto(endpoint.encode(), client)
    except OSError:
        return
