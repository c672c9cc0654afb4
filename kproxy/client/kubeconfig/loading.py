"""Kubeconfig files, several of them merged as kubectl merges them.

Source: client-go `tools/clientcmd/loader.go` (`ClientConfigLoadingRules.Load`, `ResolveLocalPaths`) and
`tools/clientcmd/api/v1/conversion.go`.
"""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import msgspec

from kproxy.client.files import read_bounded
from kproxy.client.goyaml import first_document
from kproxy.client.kubeconfig.fields import (
    Cluster,
    Context,
    NamedCluster,
    NamedContext,
    NamedUser,
    User,
    decode_file,
)
from kproxy.client.kubeconfig.misspelled import misspelled_fields
from kproxy.errors import InputError
from kproxy.state.printable import one_line, quoted

_log = logging.getLogger(__name__)

_MOST_BYTES = 16 << 20
"""A thousand clusters with their certificates take 8 MB, so a larger file is not a kubeconfig."""

Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True)
class Entry(Generic[Thing]):
    """One entry and its place in a message, such as `users[3] "admin"` of a file."""

    place: str
    value: Thing


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """Merged files, with their entries by name.

    `path` is the name under which the files were given, fit for a message.
    """

    path: str
    current_context: str
    clusters: Mapping[str, Entry[Cluster]]
    users: Mapping[str, Entry[User]]
    contexts: Mapping[str, Entry[Context]]

    @property
    def is_empty(self) -> bool:
        """Whether no file says anything: client-go then looks whether this is a pod."""
        return not (self.current_context or self.clusters or self.users or self.contexts)


class UnusableKubeconfig(InputError):
    """A kubeconfig cannot be used. The message has the place and the field, and no secret."""

    def __init__(self, path: str, reason: object) -> None:
        super().__init__(f"the kubeconfig {path} cannot be used: {reason}")


def load_kubeconfig(given: Path) -> Kubeconfig:
    """Load a kubeconfig. If no file has the given name and the name has colons, it is a list of files to merge.

    In a list, the first file that gives a value wins; each entry comes as a whole from one file; missing files and
    empty names are ignored. InputError for a file that cannot be used, or if there is no file.
    """
    shown = one_line(str(given))
    if _exists(given):
        files = [*filter(None, [_load_file(given)])]
    else:
        files = [_named_in_places(file) for path in _listed(given) if (file := _load_file(path))]
    if not files:
        raise InputError(f"the kubeconfig {shown} does not exist; name an existing file with --kubeconfig")
    return Kubeconfig(
        shown,
        next((file.current_context for file in files if file.current_context), ""),
        _merged(file.clusters for file in files),
        _merged(file.users for file in files),
        _merged(file.contexts for file in files),
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a long list has more characters than a path may have
        return False


def _listed(given: Path) -> list[Path]:
    return [Path(name) for name in dict.fromkeys(str(given).split(os.pathsep)) if name]


def _named_in_places(file: Kubeconfig) -> Kubeconfig:
    """The kubeconfig with the file's own name in the places of its entries."""

    def named(entries: Mapping[str, Entry[Thing]]) -> dict[str, Entry[Thing]]:
        return {name: Entry(f"{file.path}: {each.place}", each.value) for name, each in entries.items()}

    return Kubeconfig(
        file.path, file.current_context, named(file.clusters), named(file.users), named(file.contexts)
    )


def _merged(files: Iterable[Mapping[str, Thing]]) -> dict[str, Thing]:
    merged: dict[str, Thing] = {}
    for entries in files:
        merged = {**entries, **merged}
    return merged


def _load_file(path: Path) -> Kubeconfig | None:
    """The kubeconfig in one file, None if the file is missing."""
    shown = one_line(str(path))
    try:
        return _decoded(read_bounded(path, _MOST_BYTES), shown, path.absolute().parent)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnusableKubeconfig(
            shown, f"it cannot be read: {error.strerror}; name a readable file"
        ) from None
    except InputError as error:
        raise UnusableKubeconfig(shown, error) from None


def _decoded(text: bytes, shown: str, directory: Path) -> Kubeconfig:
    data = first_document(text)
    file = decode_file(data)
    for sentence in misspelled_fields(data):
        _warn_once(f"the kubeconfig {shown}: {sentence}")
    return Kubeconfig(
        shown,
        file.current_context,
        _by_name(
            "clusters",
            file.clusters,
            NamedCluster(),
            lambda one: _absolute(one.cluster, directory, _CLUSTER_PATHS),
        ),
        _by_name("users", file.users, NamedUser(), lambda one: _absolute_user(one.user, directory)),
        _by_name("contexts", file.contexts, NamedContext(), lambda one: one.context),
    )


@cache
def _warn_once(sentence: str) -> None:
    """Warn once for each sentence: every new connection reads the file again."""
    _log.warning("%s", sentence)


def _by_name(
    field: str, listed: Iterable[Any], empty: Any, value_of: Callable[[Any], Thing]
) -> dict[str, Entry[Thing]]:
    entries: dict[str, Entry[Thing]] = {}
    for index, given in enumerate(listed):
        one = given or empty
        place = f"{field}[{index}] {quoted(one.name)}"
        if one.name in entries:
            raise InputError(
                f"{place}: an entry before it has the same name; rename or remove one of the two"
            )
        entries[one.name] = Entry(place, value_of(one))
    return entries


_CLUSTER_PATHS: Final = ("certificate_authority",)
_USER_PATHS: Final = ("client_certificate", "client_key", "token_file")


def _absolute(fields: Any, directory: Path, names: Iterable[str]) -> Any:
    """The fields with these paths relative to the file's directory made absolute.

    `~` has no meaning in a kubeconfig.
    """
    paths = {name: os.path.normpath(directory / given) for name in names if (given := getattr(fields, name))}
    return msgspec.structs.replace(fields, **paths)


def _absolute_user(user: User, directory: Path) -> User:
    plugin = user.exec
    if plugin is not None and os.sep in plugin.command:
        user = msgspec.structs.replace(user, exec=_absolute(plugin, directory, ("command",)))
    absolute: User = _absolute(user, directory, _USER_PATHS)
    return absolute
