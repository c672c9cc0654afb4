"""Packets into the node from any side, and what the kernel makes of them."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import count, cycle
from typing import NamedTuple, Self

from kproxy.model.packet import Fate, Packet, Verdict
from kproxy.values import Address, is_loopback
from namespaces import inside
from wire.headers import How, Refusal, Segment, Step, decode, encode
from wire.node import LOCAL_PODS, OTHER_NODES, OUTSIDE, Connections, Link, host_of, node
from wire.processes import Processes

LOCAL = "lo"
"""In `Seen.interface`: delivered to the node itself, or refused to a process on it."""

_BATCH = 80
_PORTS = range(10_000, 60_000)
_KEPT_PORTS = range(60_000, 65_000)
_NODE_PORTS = range(512, 600)
"""MASQUERADE may give a packet its own address again; `--random-fully` then always shows in the port, because for
source ports from 512 to 1023 it draws one of 600 to 1023 (net/netfilter/nf_nat_core.c, Linux 6.18)."""

_PAUSE_S = 0.001
_PAUSES = 20
"""Loopback delivers in a softirq, which a busy kernel puts off; other paths end before the sender's call returns."""


class Seen(NamedTuple):
    """The fate of a packet, and how it was seen.

    `interface` is the link by which it left (or the refusal, if it was refused), `LOCAL`, or empty if nothing
    was seen. `source` and `source_port` are those with which it arrived. `how` says in which words it was refused.
    """

    fate: Fate
    interface: str = ""
    source: Address | None = None
    source_port: int = 0
    how: How | None = None


class BrokenConversation(AssertionError):
    """A packet of a conversation went astray; the text says which, and where it was seen instead."""


class Conversation(NamedTuple):
    """A connection that is open: the client's side, and the backend's as it sees it."""

    client: str
    opening: Segment
    interface: str
    arrived: Segment


_Heard = tuple[str, Segment | Refusal]


class Wire:
    """A node of which the test holds the other end of every link, while the `with` block lasts.

    `namespace` is its name, for the programs that set the rules; `host` its addresses. Needs root.
    """

    def __init__(self, links: Sequence[Link] = (OUTSIDE, LOCAL_PODS, OTHER_NODES)) -> None:
        self.host = host_of(links)
        self.namespace = ""
        self._links = links
        self._tags = count(0x10000000)
        self._kept_ports = cycle(_KEPT_PORTS)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.namespace, tuns = stack.enter_context(node(self._links))
            self._tuns = {tun.name: tun for tun in tuns}
            with inside(self.namespace):
                self._processes = stack.enter_context(closing(Processes()))
                self._connections = stack.enter_context(closing(Connections()))
            self.forget(open_ones=True)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def forget(self, *, open_ones: bool = False) -> None:
        """Let conntrack forget each connection. Those from `open` stay, unless `open_ones` says that they go too."""
        self._connections.forget(kept=open_ones)
        self._ports, self._node_ports = list(_PORTS), list(_NODE_PORTS)

    def send(self, packets: Sequence[Packet], *, keep_ports: bool = False) -> list[Seen]:
        """Send each packet as a connection of its own, and tell in the same order what became of it.

        Each gets a source port of its own, and conntrack forgets everything when these run out. With
        `keep_ports` it has the one it names: the second from there continues the first one's connection.

        A reset or "port unreachable" of the node itself, because no process listens, is no refusal: the packet
        had arrived. A packet that was redirected to where it was going anyway is seen as `NOT_OURS`.
        """
        return [
            seen
            for start in range(0, len(packets), _BATCH)
            for seen in self._send_batch(packets[start : start + _BATCH], keep_ports=keep_ports)
        ]

    def connect(self, packet: Packet) -> Seen:
        """Open a connection, answer from the backend's side, and go on from the client's.

        That is TCP's handshake, or two UDP datagrams and one back. The answer must reach the client from where
        it had sent to, and what it sends next must reach the same backend by the same way; BrokenConversation
        is raised if not, or if the packet did not leave by a link, or if the backend, taking the sender for
        itself, would not answer by the node.
        """
        opening = self._openings([packet], keep_ports=False)[0]
        conversation = self._begin(packet.interface, opening)
        return _judge(opening, (conversation.interface, conversation.arrived))

    def open(self, packet: Packet) -> Conversation:
        """Connect by TCP from a link; the connection stays open until `forget` is told to end it too."""
        numbered = packet._replace(source_port=next(self._kept_ports))
        opening = self._openings([numbered], keep_ports=True)[0]
        conversation = self._begin(packet.interface, opening)
        self._connections.keep(opening)
        return conversation

    def go_on(self, conversation: Conversation) -> None:
        """Data from the client, and back; BrokenConversation if one does not get to the other."""
        self._follow(conversation, Step.FURTHER, "data")
        self._answer(conversation, Step.REPLY, "the data back")

    def _begin(self, interface: str, opening: Segment) -> Conversation:
        where, arrived = self._deliver(interface, opening, "the first packet")
        if where == LOCAL:
            raise BrokenConversation(f"{opening} was delivered to the node itself; nobody answers there")
        if arrived.source == arrived.destination or is_loopback(arrived.source):
            raise BrokenConversation(f"{opening} came as {arrived}; its backend would answer itself")
        conversation = Conversation(interface, opening, where, arrived)
        self._answer(conversation, Step.ANSWER, "the answer")
        self._follow(conversation, Step.FURTHER, "the next packet")
        return conversation

    def _follow(self, conversation: Conversation, step: Step, name: str) -> None:
        sent, expected = (each._replace(step=step) for each in (conversation.opening, conversation.arrived))
        self._expect(conversation.client, sent, name, (conversation.interface, expected))

    def _answer(self, conversation: Conversation, step: Step, name: str) -> None:
        sent, expected = (_reverse(each, step) for each in (conversation.arrived, conversation.opening))
        self._expect(conversation.interface, sent, name, (conversation.client or LOCAL, expected))

    def _expect(self, interface: str, sent: Segment, name: str, expected: _Heard) -> None:
        heard = self._deliver(interface, sent, name)
        if heard != expected:
            raise BrokenConversation(f"{name} {sent} came to {heard}, not {expected}")

    def _send_batch(self, packets: Sequence[Packet], *, keep_ports: bool) -> list[Seen]:
        openings = self._openings(packets, keep_ports=keep_ports)
        deque(self._read_all(), maxlen=0)  # what others on the node sent meanwhile must not fill the queues
        for packet, opening in zip(packets, openings, strict=True):
            self._inject(packet.interface, opening)
        tags = {opening.tag for opening in openings}
        loops = any(packet.is_from_a_process for packet in packets)
        heard = self._listen(tags, Step.OPENING, pauses=_PAUSES if loops else 0)
        return [_judge(opening, heard.get(opening.tag)) for opening in openings]

    def _openings(self, packets: Sequence[Packet], *, keep_ports: bool) -> list[Segment]:
        if not keep_ports and min(len(self._ports), len(self._node_ports)) < len(packets):
            self.forget()
        return [
            Segment(
                packet.protocol,
                packet.source,
                packet.source_port if keep_ports else self._take_port(packet.source),
                packet.destination,
                packet.port,
                next(self._tags),
            )
            for packet in packets
        ]

    def _take_port(self, source: Address) -> int:
        ports = self._node_ports if self.host.owns(source) else self._ports
        return ports.pop()

    def _inject(self, interface: str, segment: Segment) -> None:
        data = encode(segment)
        if interface:
            self._tuns[interface].inject(data)
        else:
            self._processes.send(data, segment.destination)

    def _deliver(self, interface: str, segment: Segment, name: str) -> tuple[str, Segment]:
        self._inject(interface, segment)
        where, what = self._listen({segment.tag}, segment.step, pauses=_PAUSES).get(segment.tag, ("", None))
        if not isinstance(what, Segment):
            raise BrokenConversation(f"{name} {segment} was {f'refused: {what}' if what else 'lost'}")
        return where, what

    def _listen(self, tags: set[int], step: Step, *, pauses: int) -> dict[int, _Heard]:
        """The fate of each tag. An arrival outweighs a refusal: the node refuses what no process there takes."""
        found: dict[int, _Heard] = {}
        for at in range(pauses + 1):
            for where, what in self._read_all():
                if what.tag not in tags:
                    continue
                if isinstance(what, Refusal):
                    found.setdefault(what.tag, (where, what))
                elif what.step is step and not isinstance(found.get(what.tag, ("", None))[1], Segment):
                    found[what.tag] = where, what
            if len(found) == len(tags) or at == pauses:
                break
            time.sleep(_PAUSE_S)
        return found

    def _read_all(self) -> Iterator[_Heard]:
        """Refusals are read before the arrivals that may have caused them, so that none is read alone."""
        for tun in self._tuns.values():
            for data in tun.read_all():
                if what := decode(data):
                    yield tun.name, what
        for what in self._processes.hear_all():
            yield LOCAL, what


def _reverse(segment: Segment, step: Step) -> Segment:
    return Segment(
        segment.protocol,
        segment.destination,
        segment.port,
        segment.source,
        segment.source_port,
        segment.tag,
        step,
    )


def _judge(opening: Segment, heard: _Heard | None) -> Seen:
    if heard is None:
        return Seen(Fate(Verdict.DROPPED))
    interface, what = heard
    if isinstance(what, Refusal):
        return Seen(Fate(Verdict.REJECTED), interface, how=what.how)
    if what == opening:
        fate = Fate(Verdict.NOT_OURS)
    else:
        masqueraded = (opening.source, opening.source_port) != (what.source, what.source_port)
        fate = Fate(Verdict.SENT, what.destination, what.port, masqueraded)
    return Seen(fate, interface, what.source, what.source_port)
