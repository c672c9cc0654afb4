"""How the watches of one list/watch loop have worked so far."""

from collections.abc import Callable

_SILENT_WATCHES_UNTIL_RELIST = 3
"""A server that was restored from a backup may be behind our resourceVersion. It then answers a watch with silence."""


class WatchHistory:
    """Since when watches have worked without a failure, and how many of the last watches had no event."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._working_since: float | None = None
        self._silent_watches = 0

    def began(self, at: float) -> None:
        """A watch began at this time."""
        if self._working_since is None:
            self._working_since = at

    def silent(self) -> None:
        """A watch has no event yet."""
        self._silent_watches += 1

    def heard(self) -> None:
        """An event or a list came."""
        self._silent_watches = 0

    def failed(self) -> None:
        """A watch or another request failed."""
        self._working_since = None

    def takes_silence(self) -> bool:
        """Whether several watches in a row had no event. If so, the count begins again."""
        if self._silent_watches < _SILENT_WATCHES_UNTIL_RELIST:
            return False
        self._silent_watches = 0
        return True

    @property
    def worked_s(self) -> float:
        """How long the server has let us watch without a failure, over several watches."""
        return 0.0 if self._working_since is None else self._clock() - self._working_since
