"""A TUN device: a link of which this process is the other end."""

import fcntl
import os
import struct
from contextlib import suppress
from typing import Self

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_LARGEST = 65536


class Tun:
    """A layer 3 link, made in this thread's network namespace; it is gone when closed, or when the process dies.

    Writing returns when the kernel has taken the packet all its way, unless that led over loopback.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            request = struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI)
            fcntl.ioctl(self._descriptor, _TUNSETIFF, request)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        return self._descriptor

    def inject(self, packet: bytes) -> None:
        """Let a packet come in by this link."""
        os.write(self._descriptor, packet)

    def read_all(self) -> list[bytes]:
        """The packets that left by this link since the last call."""
        packets = []
        with suppress(BlockingIOError):
            while True:
                packets.append(os.read(self._descriptor, _LARGEST))
        return packets

    def close(self) -> None:
        os.close(self._descriptor)
