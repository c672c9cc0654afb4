"""client-go's way back to an API server, as a second policy for the same servers.

These facts are from k8s.io/client-go, `tools/cache/reflector.go`, `rest/with_retry.go` and `rest/request.go`:

- Pauses are 0.8 s, 1.6 s and so on up to 30 s. A random time of at most its length is added to each pause. After two
  minutes without a pause, the next one is 0.8 s again.
- A watch that ends in any way is asked for again at once. A watch that cannot reach its server, or is refused with 429,
  is tried again from the same resourceVersion.
- Lists are streamed, and the watch continues in the same answer. The pause of a Retry-After is exactly as long as the
  server says, up to ten times.
- All kinds share one HTTP/2 connection. Its health check notices a silent server after 45 s at most.
"""

from benchmarks.herd.fleet import SERVED, WATCH_WORK, Fleet, Served
from benchmarks.herd.server import BOOKMARK_S, ApiServer, Condition
from benchmarks.herd.world import World
from kproxy.errors import ApiFailed

_MOST_RETRIES = 10
_SHORTEST_S, _LONGEST_S, _HEALTHY_S = 0.8, 30.0, 120.0
_WATCH_S = 300.0
_NOTICED_AFTER_S = 15.0, 45.0


class _Backoff:
    def __init__(self, world: World) -> None:
        self._world = world
        self._next_s = _SHORTEST_S
        self._last_at = 0.0

    def pause(self) -> None:
        now = self._world.now
        if now - self._last_at > _HEALTHY_S:
            self._next_s = _SHORTEST_S
        self._last_at = now
        pause_s = self._next_s * (1 + self._world.random.random())
        self._next_s = min(2 * self._next_s, _LONGEST_S)
        self._world.sleep(pause_s)


class _Channel:
    """The one connection of an agent."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._server: ApiServer | None = None
        self._born = 0
        self._ready_at = 0.0
        self._noticed_at = 0.0

    def server(self) -> ApiServer:
        """Wait for the connection; the first loop that needs it makes it."""
        world = self._fleet.world
        server = self._server
        if server is None or server.born != self._born or not server.is_there:
            server, takes_s = self._fleet.connected()
            self._server = server if server.is_there else None
            self._born, self._ready_at = server.born, world.now + takes_s
        world.sleep(max(0.0, self._ready_at - world.now))
        return server

    def notice_silence(self) -> None:
        """Wait until the health check of the connection has failed, at the same time for all kinds."""
        world = self._fleet.world
        if self._noticed_at < world.now:
            self._noticed_at = world.now + world.random.uniform(*_NOTICED_AFTER_S)
        world.sleep(self._noticed_at - world.now)


def start_reflectors(fleet: Fleet, number: int, at_s: float) -> None:
    """Run the informers of one kube-proxy from this time on."""
    channel = _Channel(fleet)
    for served in SERVED:
        fleet.world.spawn(_Reflector(fleet, number, channel, served).run, at_s=at_s)


class _Reflector:
    def __init__(self, fleet: Fleet, agent: int, channel: _Channel, served: Served) -> None:
        self._fleet = fleet
        self._agent = agent
        self._channel = channel
        self._served = served
        self._backoff = _Backoff(fleet.world)
        self._version = 0

    def run(self) -> None:
        while True:
            try:
                server = self._asked(is_list=True)
                self._version = server.revision
                self._watch(server)
                self._watch_on()
            except ApiFailed:
                pass
            self._backoff.pause()

    def _watch_on(self) -> None:
        """Run one watch after the other, until one of them needs a list."""
        while True:
            try:
                server = self._asked(is_list=False)
            except ApiFailed:
                self._backoff.pause()
                continue
            if server.expired(self._version):
                return
            self._watch(server)

    def _watch(self, server: ApiServer) -> None:
        world, tally = self._fleet.world, self._fleet.tally
        began_at = world.now
        tally.opened(self._agent, began_at)
        end = server.watch(_WATCH_S * (1 + world.random.random()))
        bookmarks = (world.now - began_at) // BOOKMARK_S
        if end is Condition.UP:
            self._version = server.revision
        elif bookmarks:
            self._version = int(began_at + bookmarks * BOOKMARK_S) + 1
        if end is Condition.GONE:
            self._channel.notice_silence()
        tally.closed(self._agent, world.now)

    def _asked(self, *, is_list: bool) -> ApiServer:
        work = self._served.work if is_list else WATCH_WORK
        for _ in range(_MOST_RETRIES):
            server = self._channel.server()
            try:
                server.serve(work, is_list=is_list)
            except ApiFailed as failure:
                if not failure.status:
                    raise
                self._fleet.world.sleep(failure.retry_after_s)
            else:
                return server
        server = self._channel.server()
        server.serve(work, is_list=is_list)
        return server
