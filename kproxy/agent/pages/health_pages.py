"""The pages of the health server: /healthz, /livez and /readyz."""

import json
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus

from kproxy.agent.http.page import Page
from kproxy.agent.observers.health import Condition, Health

_NEVER = "0001-01-01T00:00:00Z"
"""Go's zero time, which kube-proxy shows."""

Count = Callable[[str, HTTPStatus], None]
"""Called with the name of the page and the status of the answer."""


def probe_pages(health: Health, count: Count) -> Callable[[str], Page | None]:
    """The pages, each made from the newest condition, and counted."""

    def answer(path: str) -> Page | None:
        page = _PAGES.get(path)
        if page is None:
            return None
        answered = page(health.condition())
        count(path.removeprefix("/"), answered.status)
        return answered

    return answer


def _healthz(condition: Condition) -> Page:
    healthy = condition.healthy and condition.node_eligible
    return _page(healthy, _state(condition, {"nodeEligible": condition.node_eligible}, fresh=healthy))


def _livez(condition: Condition) -> Page:
    return _page(condition.healthy, _state(condition, {}, fresh=condition.healthy))


def _readyz(condition: Condition) -> Page:
    ready = not condition.unready
    return _page(
        ready, {"ready": ready, "currentTime": _text(condition.now), "reasons": list(condition.unready)}
    )


_PAGES = {"/healthz": _healthz, "/livez": _livez, "/readyz": _readyz}


def _page(good: bool, content: object) -> Page:
    return Page(json.dumps(content), HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE)


def _state(condition: Condition, node: dict[str, bool], *, fresh: bool) -> dict[str, object]:
    """kube-proxy's fields in its order; `lastUpdated` of a healthy proxy is now, as kube-proxy has it."""
    updated_at = condition.now if fresh else condition.updated_at
    return {
        "lastUpdated": _text(updated_at) if updated_at else _NEVER,
        "currentTime": _text(condition.now),
        **node,
        "healthy": condition.healthy,
        "status": {
            str(family): {"lastUpdated": _text(state.updated_at), "healthy": state.healthy}
            for family, state in condition.families.items()
        },
    }


def _text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
