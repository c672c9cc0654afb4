"""Notices that the Node of this agent does not exist: with a wrong name every endpoint would count as remote."""

import logging
import threading
from collections.abc import Callable, Collection
from difflib import get_close_matches

from kproxy.agent.observers.observer import Observer
from kproxy.errors import KproxyError
from kproxy.state.events import Changed, Deleted, Event, Listed, Refused
from kproxy.state.objects import Kind, Node
from kproxy.threads import Need, SupervisedThread
from kproxy.values import NamespacedName

_log = logging.getLogger(__name__)

_MOST_NAMED = 3


class Presence(Observer):
    """Tells once, and at once, that there is no Node of this name, with names that may be meant instead.

    `other_names` asks a cluster for the names of its Nodes, since events tell only of the agent's own Node. It is None
    for a directory, whose Nodes are all in the events; a directory without any Node is no problem. `complain` gets the
    same sentence as the log.
    """

    def __init__(
        self,
        node_name: str,
        complain: Callable[[str], object],
        other_names: Callable[[], Collection[str]] | None = None,
    ) -> None:
        self._name = node_name
        self._key = NamespacedName("", node_name)
        self._complain = complain
        self._other_names = other_names
        self._lock = threading.Lock()
        self._missing = ""

    def missing(self) -> tuple[str, ...]:
        """The one reason not to be ready, if there is any; may be asked from any thread."""
        with self._lock:
            return (self._missing,) if self._missing else ()

    def stored(self, event: Event) -> None:
        match event:
            case Listed(kind=Kind.NODE, objects=objects, rejections=refused):
                names = [each.key.name for each in objects]
                is_there = self._name in names or any(each.key == self._key for each in refused)
                self._note(names, is_there=is_there or not (names or self._other_names))
            case Changed(object=Node(key=self._key)):
                self._note((), is_there=True)
            case Refused(kind=Kind.NODE, rejection=rejection) if rejection.key == self._key:
                self._note((), is_there=True)
            case Deleted(kind=Kind.NODE, key=self._key):
                self._note((), is_there=False)
            case _:
                pass

    def _note(self, names: Collection[str], *, is_there: bool) -> None:
        was_missing, sentence = bool(self._missing), "" if is_there else self._sentence(names)
        with self._lock:
            self._missing = sentence
        if is_there and was_missing:
            _log.info("the Node %s exists now", self._name)
        elif not is_there and not was_missing:
            self._tell()

    def _tell(self) -> None:
        if self._other_names is None:
            self._say()
            return
        asking = SupervisedThread("ask-node-names", self._ask, Need.REPORTS)
        try:
            asking.start()
        except KproxyError:
            asking.end()
            self._say()

    def _ask(self) -> None:
        """Ask for the names, which are only a hint: if the server does not tell them, the problem is told without."""
        try:
            names = self._other_names() if self._other_names else ()
        except KproxyError as failed:
            _log.debug("the names of the Nodes cannot be had for a hint: %s", failed)
            names = ()
        with self._lock:
            if self._missing:
                self._missing = self._sentence(names)
        self._say()

    def _say(self) -> None:
        for reason in self.missing():
            _log.error("%s", reason)
            self._complain(reason)

    def _sentence(self, names: Collection[str]) -> str:
        return (
            f"the Node {self._name!r} does not exist{_hint(self._name, names)}; "
            "every endpoint counts as remote until it does: "
            "correct --hostname-override, or hostnameOverride of the configuration, if that is not this node's name"
        )


def _hint(name: str, names: Collection[str]) -> str:
    """Names that are alike, such as the same name with or without its domain; otherwise some names that exist."""
    others = sorted(set(names) - {name})
    if not others:
        return ""
    short = name.partition(".")[0]
    same_host = [each for each in others if each.partition(".")[0] == short]
    near = (same_host or get_close_matches(name, others, _MOST_NAMED))[:_MOST_NAMED]
    if near:
        return f", but {' and '.join(map(repr, near))} {'does' if len(near) == 1 else 'do'}"
    more = f" and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
    return f"; there are {', '.join(map(repr, others[:_MOST_NAMED]))}{more}"
