"""The agents of a cluster, the API servers that they share, and the lists of these servers."""

from dataclasses import dataclass

from benchmarks.herd.server import ApiServer, Work
from benchmarks.herd.tally import Seen, Tally
from benchmarks.herd.world import World


@dataclass(frozen=True, slots=True)
class Served:
    """A resource as a server has it; `work` is that of a complete list."""

    name: str
    objects: int
    work: Work


SERVED = (
    Served("services", 5_000, Work(10, 0.03)),
    Served("endpointslices", 5_000, Work(10, 0.08)),
    Served("nodes", 1, Work(1, 0.001)),
    Served("servicecidrs", 1, Work(1, 0.001)),
)
"""5,000 Services, each with a slice of 10 endpoints.

The slices' time was measured on a real 1.36 API server in protobuf, compressed; that of Services, which are a third of
the bytes, is computed. Seats are those of kube-apiserver's estimate for lists of a megabyte and more.
"""

WATCH_WORK = Work(1, 0.001)
"""The work of a watch that continues from a resourceVersion; it keeps no seat."""


_CONNECTING_S = 0.005, 0.3
"""How long TCP and TLS take, with the network and a busy server."""


class Fleet:
    """The servers and clients of a simulation. A load balancer chooses a server that is there."""

    def __init__(self, world: World, agents: int, servers: int) -> None:
        self.world = world
        self.agents = agents
        self.tally = Tally(agents, len(SERVED))
        self.servers = [ApiServer(world, self.tally) for _ in range(servers)]

    def connected(self) -> tuple[ApiServer, float]:
        """The server that a new connection reaches, and how long that takes."""
        there = [each for each in self.servers if each.is_there]
        chosen = self.world.random.choice(there or self.servers)
        if not there:
            return chosen, 0.0
        self.tally.note(Seen.CONNECTION, self.world.now)
        return chosen, self.world.random.uniform(*_CONNECTING_S)
