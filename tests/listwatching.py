"""What a list/watch loop tells, in order and in short; and what it asks a stub API server for."""

import queue

from kproxy.state.events import Changed, Deleted, Event, Listed, Refused
from stubapi import StubApi

BOUND_S = 20.0


class Events:
    """What a loop emitted, in order."""

    def __init__(self) -> None:
        self.queue: queue.Queue[Event] = queue.Queue()

    def next(self) -> Event:
        return self.queue.get(timeout=BOUND_S)

    def next_text(self) -> str:
        return in_short(self.next())


def in_short(event: Event) -> str:
    match event:
        case Listed(_, objects, rejections):
            listed = sorted(each.key.name for each in objects)
            return " ".join(["listed", *listed, *(f"-{each.name}" for each in rejections)])
        case Changed(changed):
            return f"changed {changed.key.name}"
        case Deleted(_, key):
            return f"deleted {key.name}"
        case Refused(_, rejection):
            return f"refused {rejection.name} {rejection.field}"


def requests(api: StubApi, verb: str) -> list[dict[str, str]]:
    return [each.query for each in api.requests if each.verb == verb]
