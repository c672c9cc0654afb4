"""The program inside a namespace: a TCP and a UDP server, and a client that reads its requests as lines of JSON.

Servers answer `NAME CLIENT`: their own name and the client's address as they see it. Each request line
`{"protocol", "to", "port", "count", "source", "timeout"}` is answered by one line: a list of what happened to
each try, `[NAME, CLIENT]` or one of "refused", "timeout", "unreachable".
"""

import json
import socket
import socketserver
import sys
import threading
from typing import Any

PORT = 8080


class _Tcp(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256


class _Udp(socketserver.UDPServer):
    address_family = socket.AF_INET6


def _plain(address: str) -> str:
    return address.removeprefix("::ffff:")


def serve(name: str) -> None:
    class Web(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1024)
            body = f"{name} {_plain(self.client_address[0])}\n".encode()
            head = f"HTTP/1.0 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            self.request.sendall(head + body)

    class Echo(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request[1].sendto(f"{name} {_plain(self.client_address[0])}\n".encode(), self.client_address)

    for server in (_Tcp(("::", PORT), Web), _Udp(("::", PORT), Echo)):
        threading.Thread(target=server.serve_forever, daemon=True).start()


def ask(protocol: str, to: str, port: int, source: str, timeout: float) -> Any:
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
    with socket.socket(family, kind) as connection:
        connection.settimeout(timeout)
        if source:
            connection.bind((source, 0))
        try:
            connection.connect((to, port))
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            while not answer.endswith(b"\n") or answer.endswith(b"\r\n"):
                piece = connection.recv(1024)
                if not piece:
                    return "cut off"
                answer += piece
            return answer.splitlines()[-1].decode().split()
        except (ConnectionRefusedError, PermissionError):
            return "refused"  # a process's own datagram that OUTPUT rejects fails with EPERM
        except TimeoutError:
            return "timeout"
        except OSError:
            return "unreachable"


def main(name: str) -> None:
    if name:
        serve(name)
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        count = request.pop("count")
        print(json.dumps([ask(**request) for _ in range(count)]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
