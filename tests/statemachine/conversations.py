"""TCP conversations that stay open whatever happens to rules, to their Service's other endpoints, or to the agent."""

from collections import Counter, deque

from kproxy.model.packet import Packet, Verdict
from kproxy.values import Protocol
from statemachine.probes import Allowed
from wire import Conversation, Wire

_MOST = 12
_AT_ONCE = 3


class Conversations:
    """The newest dozen of a world; older ones are left to conntrack."""

    def __init__(self, wire: Wire, tally: Counter[str]) -> None:
        wire.forget(open_ones=True)
        self._wire = wire
        self._tally = tally
        self._open: deque[Conversation] = deque(maxlen=_MOST)
        self._at = 0

    def begin(self, allowed: Allowed) -> None:
        """Open some more, from clients on links to Services whose backends are all on links."""
        served = [packet for packet in allowed if self._may_converse(packet, allowed)]
        self._at += 1
        step = len(served) // _AT_ONCE + 1
        for packet in served[self._at % step :: step]:
            self._open.append(self._wire.open(packet))
            self._tally["conversations"] += 1

    def go_on(self, *, all_of_them: bool = False) -> None:
        """Say something, there and back, in one of them; BrokenConversation if it does not arrive."""
        for _ in range(len(self._open) if all_of_them else min(len(self._open), 1)):
            self._wire.go_on(self._open[0])
            self._open.rotate()
            self._tally["turns in conversations"] += 1

    def _may_converse(self, packet: Packet, allowed: Allowed) -> bool:
        return (
            packet.protocol is Protocol.TCP
            and not packet.is_from_a_process
            and all(
                fate.verdict is Verdict.SENT
                and fate.destination
                and not self._wire.host.owns(fate.destination)
                for fate in allowed[packet]
            )
        )
