"""Services and slices that yield no rule: each is logged once, with its reason."""

import logging
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from kproxy.agent.observers.observer import Observer, SyncOutcome
from kproxy.model.silent import Silence, silences
from kproxy.state.store import Store
from kproxy.values import Family, NamespacedName

_log = logging.getLogger(__name__)

_MOST_LINES = 20
"""One sync logs no more of them: a first sync may find thousands, and the reasons of some explain most others."""


class SilentServices(Observer):
    """Logs at `level` why changed Services yield no rule; once while the reason stays the same."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._told: dict[NamespacedName, set[str]] = {}

    def synced(
        self, store: Store, dirty: AbstractSet[NamespacedName], outcomes: Mapping[Family, SyncOutcome]
    ) -> None:
        del outcomes
        news = self._news(silences(store, sorted(dirty)), dirty)
        for silence in news[:_MOST_LINES]:
            _log.log(self._level, "%s", silence)
        more = len(news) - _MOST_LINES
        if more > 0:
            _log.log(
                self._level, "%d more Services or slices like these; `kproxy render` tells of each", more
            )

    def _news(self, found: Iterable[Silence], changed: Iterable[NamespacedName]) -> list[Silence]:
        """The reasons that were not told yet; reasons that no longer hold are forgotten."""
        before = {key: self._told.pop(key, set()) for key in changed}
        news = []
        for silence in found:
            reason = f"{silence.key} {silence.reason}"
            self._told.setdefault(silence.service, set()).add(reason)
            if reason not in before[silence.service]:
                news.append(silence)
        return news
