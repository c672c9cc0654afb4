"""Who holds a port that is taken."""

import errno
import os
import socket
from pathlib import Path

import pytest

from kproxy.agent.http.port_conflict import taken
from kproxy.kernel.node import port_holders as holders
from kproxy.kernel.node.port_holders import holder_of

IN_USE = OSError(errno.EADDRINUSE, "Address already in use")


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_holder_is_named_by_program_and_process(family: socket.AddressFamily) -> None:
    with socket.create_server(("", 0), family=family) as held:
        port = held.getsockname()[1]
        name = Path("/proc/self/comm").read_text().strip()
        assert f"{name} (process {os.getpid()})" == holder_of(port)
        assert f"by {name} (process {os.getpid()}); if that is another kube-proxy" in taken(port, IN_USE)
        assert "perhaps by another kube-proxy or kproxy on this node" in taken(port, IN_USE, looks=False)


def test_port_that_nobody_holds_has_no_holder_and_still_a_hint() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        port = bound.getsockname()[1]
        assert "" == holder_of(port)
        assert "perhaps by another kube-proxy or kproxy on this node" in taken(port, IN_USE)


def test_look_that_takes_too_long_names_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holders, "_LONGEST_LOOK_S", -1.0)
    with socket.create_server(("127.0.0.1", 0)) as held:
        assert "" == holder_of(held.getsockname()[1])


def test_name_of_a_program_cannot_forge_a_line() -> None:
    before = Path("/proc/self/comm").read_text().strip()
    try:
        Path("/proc/self/comm").write_text("a\nb\x1b[2J c")
        with socket.create_server(("127.0.0.1", 0)) as held:
            assert f"a?b??2J?c (process {os.getpid()})" == holder_of(held.getsockname()[1])
    finally:
        Path("/proc/self/comm").write_text(before)


def test_other_reason_is_told_as_it_is() -> None:
    refused = OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
    assert "Cannot assign requested address" == taken(80, refused)
