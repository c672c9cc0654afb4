"""Turns a watch event into an event of our own."""

from kproxy.errors import Malformed
from kproxy.sources.listing import Resource, decoded
from kproxy.state.encodings import Encoding
from kproxy.state.encodings.envelopes import Meta, WatchEvent
from kproxy.state.events import Changed, Deleted, Event, Refused
from kproxy.state.printable import plain_word


def to_event(resource: Resource, encoding: Encoding, event: WatchEvent, meta: Meta) -> Event | None:
    """The event that a watch event means; None for a bookmark. `meta` is the metadata of the event's object.

    A bad object affects only itself. Malformed for an event of another type or about another kind, and for an object
    without a name: a new list then shows the change.
    """
    kind = event.kind or meta.kind
    if event.type != "BOOKMARK" and kind not in ("", resource.kind):
        raise Malformed(f"it is about an object of the kind {plain_word(kind)}")
    match event.type:
        case "ADDED" | "MODIFIED":
            return _changed(resource, decoded(resource, encoding, event.object), meta)
        case "DELETED" if meta.key is not None:
            return Deleted(resource.kind, meta.key)
        case "BOOKMARK":
            return None
        case _:
            raise Malformed(f"event type {plain_word(event.type)}")


def _changed(resource: Resource, found: Changed | Refused | None, meta: Meta) -> Event:
    """The event for an added or changed object. An object that no longer decides a rule counts as deleted."""
    if found is not None and (isinstance(found, Changed) or found.rejection.key is not None):
        return found
    if meta.key is None:
        raise Malformed("it is about an object without a name")
    return Deleted(resource.kind, meta.key)
