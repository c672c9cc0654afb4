"""Namespaces for a node, its pods, a pod elsewhere and a client outside, IPv4 and IPv6.

    client ── eth0 ── node ──┬── pod-1 .. pod-4   10.128.1.0/24, on this node
    10.199.0.9        eth0   └── far-1 .. far-3   10.128.2.0/24, on another node as far as rules know
    198.51.100.9      10.199.0.2

Pods hang on routed veths, so that a packet from a pod to itself comes back the same way. The client sends
Service addresses to the node, as a router in front of it would.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Self

from namespaces import inside

PREFIX = "kplab"
CLIENT, NODE = "client", "node"
NODE_V4, NODE_V6 = "10.199.0.2", "fd00:199::2"
CLIENT_V4, CLIENT_V6 = "10.199.0.9", "fd00:199::9"
FAR_CLIENT_V4, FAR_CLIENT_V6 = "198.51.100.9", "2001:db8:51::9"
PODS = {
    "pod-1": ("10.128.1.1", "fd00:10:128:1::1"),
    "pod-2": ("10.128.1.2", "fd00:10:128:1::2"),
    "pod-3": ("10.128.1.3", "fd00:10:128:1::3"),
    "pod-4": ("10.128.1.4", "fd00:10:128:1::4"),
    "far-1": ("10.128.2.1", "fd00:10:128:2::1"),
    "far-2": ("10.128.2.2", "fd00:10:128:2::2"),
    "far-3": ("10.128.2.3", "fd00:10:128:2::3"),
}
_VIA_NODE_V4 = ("10.96.0.0/12", "192.0.2.0/24", "203.0.113.0/24", "10.128.0.0/16")
_VIA_NODE_V6 = ("fd00:10:96::/108", "2001:db8:2::/64", "2001:db8:3::/64", "fd00:10:128::/48")
_BOUND_S = 120.0

Outcome = list[str] | str
"""The pod that answered and the client that the pod saw, or the reason why no pod answered."""


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


@dataclass
class Worker:
    """A process inside a namespace that serves and asks; see `lab.worker`."""

    process: subprocess.Popen[str]

    def send(self, request: dict[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()

    def receive(self) -> list[Outcome]:
        assert self.process.stdout
        outcomes: list[Outcome] = json.loads(self.process.stdout.readline())
        return outcomes

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()


@dataclass
class Lab:
    """The whole of it, while the `with` block lasts; also removed on SIGTERM, and by the next lab after SIGKILL."""

    workers: dict[str, Worker] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        _remove_leftovers()
        self._stack.enter_context(_ends_by_exception(signal.SIGTERM))
        self._stack.callback(_remove, os.getpid())
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.stop()
        self._stack.close()

    def name(self, role: str) -> str:
        """The namespace's name on this machine."""
        return f"{PREFIX}-{os.getpid()}-{role}"

    def ask(
        self,
        role: str,
        to: str,
        port: int,
        *,
        protocol: str = "TCP",
        count: int = 1,
        source: str = "",
        timeout_s: float = 2.0,
    ) -> list[Outcome]:
        """The outcomes of `count` requests from a process in that namespace, one after the other."""
        worker = self.workers[role]
        worker.send(
            {
                "protocol": protocol,
                "to": to,
                "port": port,
                "count": count,
                "source": source,
                "timeout": timeout_s,
            }
        )
        return worker.receive()

    def program(self, role: str, *command: str) -> list[str]:
        """A command line that runs inside a namespace."""
        return ["ip", "netns", "exec", self.name(role), *command]

    def _build(self) -> None:
        for role in (CLIENT, NODE, *PODS):
            _ip("netns", "add", self.name(role))
            _ip("-n", self.name(role), "link", "set", "lo", "up")
            with inside(self.name(role)):
                _configure(is_router=role == NODE)
        self._join_client()
        for role, addresses in PODS.items():
            self._join_pod(role, *addresses)
        for role in (CLIENT, NODE, *PODS):
            self._start_worker(role, serves=role in PODS)

    def _join_client(self) -> None:
        node, client = self.name(NODE), self.name(CLIENT)
        _ip("link", "add", "eth0", "netns", node, "type", "veth", "peer", "name", "eth0", "netns", client)
        for namespace, v4, v6 in ((node, NODE_V4, NODE_V6), (client, CLIENT_V4, CLIENT_V6)):
            _ip("-n", namespace, "address", "add", f"{v4}/24", "dev", "eth0")
            _ip("-n", namespace, "address", "add", f"{v6}/64", "dev", "eth0", "nodad")
            _ip("-n", namespace, "link", "set", "eth0", "up")
        _ip("-n", client, "address", "add", f"{FAR_CLIENT_V4}/32", "dev", "lo")
        _ip("-n", client, "address", "add", f"{FAR_CLIENT_V6}/128", "dev", "lo")
        _ip("-n", node, "route", "add", "default", "via", CLIENT_V4)
        _ip("-n", node, "-6", "route", "add", "default", "via", CLIENT_V6)
        for network in _VIA_NODE_V4:
            _ip("-n", client, "route", "add", network, "via", NODE_V4)
        for network in _VIA_NODE_V6:
            _ip("-n", client, "-6", "route", "add", network, "via", NODE_V6)

    def _join_pod(self, role: str, v4: str, v6: str) -> None:
        node, pod = self.name(NODE), self.name(role)
        _ip(
            "link", "add", f"veth-{role}", "netns", node, "type", "veth", "peer", "name", "eth0", "netns", pod
        )
        _ip("-n", node, "address", "add", "fe80::1/64", "dev", f"veth-{role}", "nodad")
        _ip("-n", node, "link", "set", f"veth-{role}", "up")
        _ip("-n", pod, "address", "add", f"{v4}/32", "dev", "eth0")
        _ip("-n", pod, "address", "add", f"{v6}/128", "dev", "eth0", "nodad")
        _ip("-n", pod, "link", "set", "eth0", "up")
        _ip("-n", pod, "route", "add", "default", "via", NODE_V4, "dev", "eth0", "onlink")
        _ip("-n", pod, "-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0")
        _ip("-n", node, "route", "add", f"{v4}/32", "dev", f"veth-{role}")
        _ip("-n", node, "-6", "route", "add", f"{v6}/128", "dev", f"veth-{role}")

    def _start_worker(self, role: str, *, serves: bool) -> None:
        program = str(Path(__file__).with_name("worker.py"))
        command = self.program(role, sys.executable, program, role if serves else "")
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.workers[role] = Worker(process)
        assert process.stdout
        assert process.stdout.readline() == "ready\n"


def _configure(*, is_router: bool) -> None:
    settings = {
        "ipv4/conf/all/rp_filter": "0",
        "ipv4/conf/default/rp_filter": "0",
        "ipv4/conf/all/send_redirects": "0",
        "ipv4/conf/default/send_redirects": "0",
        "ipv6/conf/all/accept_dad": "0",
        "ipv6/conf/default/accept_dad": "0",
        "ipv4/icmp_ratelimit": "0",  # each refusal is sent, however many there are
        "ipv6/icmp/ratelimit": "0",
        "ipv4/ip_forward": str(int(is_router)),
        "ipv6/conf/all/forwarding": str(int(is_router)),
    }
    for name, value in settings.items():
        Path("/proc/sys/net", name).write_text(value)


def _namespaces() -> Sequence[tuple[str, int]]:
    """Every lab namespace on this machine, with the process that made it."""
    names = [path.name for path in Path("/run/netns").glob(f"{PREFIX}-*")]
    return [(name, int(name.split("-")[1])) for name in names]


def _remove(owner: int) -> None:
    for name, pid in _namespaces():
        if pid == owner:
            _ip("netns", "del", name)


def _remove_leftovers() -> None:
    for owner in {pid for _, pid in _namespaces()}:
        if not Path(f"/proc/{owner}").exists():
            _remove(owner)


@contextmanager
def _ends_by_exception(number: signal.Signals) -> Iterator[None]:
    """A signal that would end the process at once ends it through its `with` blocks."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(number, end)
    try:
        yield
    finally:
        signal.signal(number, before)
