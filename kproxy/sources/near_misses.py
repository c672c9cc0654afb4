"""Fields, kinds and labels that Kubernetes does not know, and those that their author may have meant."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from itertools import islice
from typing import Any, Final, NamedTuple

from kproxy.sources.known_fields import FIELDS, Shape
from kproxy.state.endpoint_facts import SERVICE_NAME_LABEL
from kproxy.state.objects import Kind
from kproxy.state.printable import printable, quoted

_MOST_UNKNOWN_FIELDS = 10
"""Fields of one object that are reported. More would push the messages about other objects off the screen."""

_LONGEST_NAME = 63
"""Characters.

No field, kind or label of Kubernetes is longer, and the time to compare two names is the product of their lengths.
"""

_ALIKE = 0.6
_ALIKE_KIND = 0.8
"""How alike two names must be, by difflib, before one is suggested for the other.

ServiceAccount is not a misspelled Service.
"""

_SHORT_KINDS: Final = {"svc": "Service", "ep": "Endpoints", "eps": "EndpointSlice", "no": "Node", "po": "Pod"}
_SHORT_GROUPS: Final = frozenset({"core", "apps", "batch", "extensions", "autoscaling", "policy"})
_RESERVED_ENDS: Final = (".k8s.io", ".kubernetes.io")


class _Unknown(NamedTuple):
    """`path` is the path of the struct, which ends with a dot unless the struct is the whole object."""

    shape: Shape
    path: str
    name: str


def unknown_fields(kind: Kind, data: object) -> Iterator[str]:
    """One sentence for each field that Kubernetes does not know, with the field that may be meant."""
    unknown = _unknown(FIELDS[kind], data, "")
    for one in islice(unknown, _MOST_UNKNOWN_FIELDS):
        meant = _field_meant(kind, one)
        yield f"{one.path}{_shown(one.name)}: there is no such field, so it is ignored{_hint(meant)}"
    more = sum(1 for _ in unknown)
    if more:
        yield f"{more} more of its fields do not exist and are ignored"


def label_missed(data: Any) -> str:
    """A label of the slice that looks like a misspelled service-name label; empty if the slice has the right label."""
    metadata = data.get("metadata") if isinstance(data, dict) else None
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    if not isinstance(labels, dict) or SERVICE_NAME_LABEL in labels:
        return ""
    wanted = SERVICE_NAME_LABEL.rpartition("/")[2]
    for label in labels:
        if len(label) <= _LONGEST_NAME and get_close_matches(
            label.rpartition("/")[2].lower(), [wanted], 1, _ALIKE
        ):
            return _shown(label)
    return ""


def field_missed(wanted: str, data: object) -> str:
    """The field that is `wanted` in another case; empty if there is none."""
    names = [name for name in data if len(name) <= _LONGEST_NAME] if isinstance(data, dict) else []
    return next((name for name in names if name != wanted and name.lower() == wanted.lower()), "")


def kind_meant(group: str, kind: str, groups: Mapping[str, str]) -> str:
    """The kind or the API group that the author of an ignored object may have meant; empty if none is similar.

    `groups` holds the API group of each kind that we read.
    """
    if len(kind) > _LONGEST_NAME or len(group) > _LONGEST_NAME:
        return ""
    meant = _SHORT_KINDS.get(kind.lower()) or _closest(kind, groups, _ALIKE_KIND)
    if not meant or not _is_kubernetes(group, groups[meant]):
        return ""
    return meant if kind != meant else f"the group {groups[meant]}" if groups[meant] else "apiVersion: v1"


def _is_kubernetes(group: str, wanted: str) -> bool:
    """Whether the group belongs to Kubernetes, or looks like the wanted group."""
    return (
        not group
        or group in _SHORT_GROUPS
        or group.endswith(_RESERVED_ENDS)
        or bool(get_close_matches(group, [wanted], 1, _ALIKE_KIND))
    )


def _unknown(shape: Shape, data: object, path: str) -> Iterator[_Unknown]:
    if not isinstance(data, dict):
        return
    if not data.keys() <= shape.keys():
        yield from (_Unknown(shape, path, name) for name in data if name not in shape)
    for name, inner in shape.items():
        if inner is None or name not in data:
            continue
        if isinstance(inner, Mapping):
            yield from _unknown(inner, data[name], f"{path}{name}.")
        elif isinstance(data[name], list):
            for at, item in enumerate(data[name]):
                yield from _unknown(inner[0], item, f"{path}{name}[{at}].")


def _field_meant(kind: Kind, unknown: _Unknown) -> str:
    """A field of the same struct, otherwise the full path of a field of another struct."""
    if len(unknown.name) > _LONGEST_NAME:
        return ""
    elsewhere = _paths(kind)
    return (
        _closest(unknown.name, unknown.shape, 1.0)
        or elsewhere.get(unknown.name.lower())
        or _closest(unknown.name, unknown.shape, _ALIKE)
        or elsewhere.get(_closest(unknown.name, elsewhere, _ALIKE), "")
    )


@cache
def _paths(kind: Kind) -> dict[str, str]:
    """The first path of each field of the kind, by the field's name in lower case."""
    paths: dict[str, str] = {}
    for path in _all_paths(FIELDS[kind], ""):
        paths.setdefault(path.rpartition(".")[2].lower(), path)
    return paths


def _all_paths(shape: Shape, before: str) -> Iterator[str]:
    for name, inner in shape.items():
        yield before + name
        if isinstance(inner, Mapping):
            yield from _all_paths(inner, f"{before}{name}.")
        elif inner is not None:
            yield from _all_paths(inner[0], f"{before}{name}[].")


def _closest(name: str, names: Iterable[str], alike: float) -> str:
    by_lower_case = {each.lower(): each for each in names}
    found = get_close_matches(name.lower(), by_lower_case, 1, alike)
    return by_lower_case[found[0]] if found else ""


def _hint(meant: str) -> str:
    return f"; did you mean {meant}?" if meant else ""


def _shown(name: str) -> str:
    return printable(name, _LONGEST_NAME) if name else quoted(name)
