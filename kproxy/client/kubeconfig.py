"""Kubeconfig files: each field with its type, several files merged as kubectl merges them.

Source: client-go `tools/clientcmd/api/v1/types.go` and `conversion.go`, `tools/clientcmd/loader.go`
(`ClientConfigLoadingRules.Load`, `ResolveLocalPaths`), and the decoder behind it (apimachinery
`runtime/serializer/json`): unknown fields are passed over, null is a field's zero value, and one field of a wrong type
anywhere refuses the file. `preferences` and the extensions of anything but a cluster are passed over.
"""

import base64
import binascii
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import Struct

from kproxy.client.failures import one_line
from kproxy.client.files import read_bounded
from kproxy.client.goyaml import first_document
from kproxy.errors import InputError
from kproxy.state.validate import quoted

_MOST_BYTES = 16 << 20
"""A thousand clusters with their certificates take 8 MB; a larger file is no kubeconfig."""
_AT = re.compile(r"(.*) - at `\$\.?(.*)`", re.DOTALL)
_ENTRY = re.compile(r"(clusters|contexts|users)\[(\d+)\](?:\.(?:cluster|context|user)(?=\.|$))?\.?")
_GO_WORDS: Final = {
    "`str`": "text",
    "`bool`": "true or false",
    "`int`": "a number",
    "`float`": "a number",
    "`object`": "a mapping",
    "`array`": "a list",
    "`null`": "nothing",
}
_TYPE = re.compile(r"`(\w+)(?: \| null)?`")
_HINTS: Final = {"`str`": "quote the value", "`bool`": "write true or false without quotes"}

Thing = TypeVar("Thing")
Named = TypeVar("Named")


class Data(bytes):
    """What stands in a file as Base64. It may be a key: its text shows none of it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"


class Concealed(Struct, frozen=True):
    """Fields of which some are secrets: its text shows none of them."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Extension(Concealed, frozen=True):
    name: str = ""
    extension: Any = None


class Cluster(Concealed, frozen=True, rename="kebab"):
    """How to reach an API server. Paths are absolute once the file is loaded."""

    server: str = ""
    tls_server_name: str = ""
    insecure_skip_tls_verify: bool = False
    certificate_authority: str = ""
    certificate_authority_data: Data = Data()
    proxy_url: str = ""
    disable_compression: bool = False
    extensions: list[Extension | None] = []


class EnvironmentVariable(Concealed, frozen=True):
    name: str = ""
    value: str = ""


class ExecConfig(Concealed, frozen=True, rename="camel"):
    """A plugin that gives credentials. `command` with a slash in it is absolute once the file is loaded."""

    command: str = ""
    args: list[str | None] = []
    env: list[EnvironmentVariable | None] = []
    api_version: str = ""
    install_hint: str = ""
    provide_cluster_info: bool = False
    interactive_mode: str = ""


class AuthProvider(Concealed, frozen=True):
    name: str = ""
    config: dict[str, str | None] = {}


_USER_FIELDS: Final = {
    "token_file": "tokenFile",
    "impersonate": "as",
    "impersonate_uid": "as-uid",
    "impersonate_groups": "as-groups",
    "impersonate_extra": "as-user-extra",
}


class User(Concealed, frozen=True, rename=lambda name: _USER_FIELDS.get(name, name.replace("_", "-"))):
    """Who we are. Paths are absolute once the file is loaded."""

    client_certificate: str = ""
    client_certificate_data: Data = Data()
    client_key: str = ""
    client_key_data: Data = Data()
    token: str = ""
    token_file: str = ""
    impersonate: str = ""
    impersonate_uid: str = ""
    impersonate_groups: list[str | None] = []
    impersonate_extra: dict[str, list[str | None]] = {}
    username: str = ""
    password: str = ""
    auth_provider: AuthProvider | None = None
    exec: ExecConfig | None = None


class Context(Struct, frozen=True):
    """Which cluster, as which user."""

    cluster: str = ""
    user: str = ""
    namespace: str = ""


class _NamedCluster(Struct, frozen=True):
    name: str = ""
    cluster: Cluster = Cluster()


class _NamedUser(Struct, frozen=True):
    name: str = ""
    user: User = User()


class _NamedContext(Struct, frozen=True):
    name: str = ""
    context: Context = Context()


class _File(Struct, frozen=True, rename="kebab"):
    clusters: list[_NamedCluster | None] = []
    users: list[_NamedUser | None] = []
    contexts: list[_NamedContext | None] = []
    current_context: str = ""
    kind: str = ""
    api_version: str = msgspec.field(name="apiVersion", default="")


@dataclass(frozen=True, slots=True)
class Entry(Generic[Thing]):
    """One entry and its place in a message, such as `users[3] "admin"` of a file."""

    place: str
    value: Thing


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """Files after their merge, by the names of their entries. `path` is as the files were named, fit for a message."""

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
    """A kubeconfig that cannot be used, with its place and field, and without a secret's value."""

    def __init__(self, path: str, reason: object) -> None:
        super().__init__(f"the kubeconfig {path} cannot be used: {reason}")


def load_kubeconfig(given: Path) -> Kubeconfig:
    """The kubeconfig of this name; where no file has it and it holds colons, the files of that list, merged.

    In a list the first file to give a value wins, entries are merged by name as a whole, missing files and empty names
    are passed over. InputError for one that cannot be used, or where there is no file.
    """
    shown = one_line(str(given))
    paths = [given] if os.pathsep not in str(given) or _may_exist(given) else _listed(given)
    files = [file for path in paths if (file := _load_file(path)) is not None]
    if not files:
        raise InputError(f"the kubeconfig {shown} does not exist; name an existing file with --kubeconfig")
    return Kubeconfig(
        shown,
        next((file.current_context for file in files if file.current_context), ""),
        _merged(file.clusters for file in files),
        _merged(file.users for file in files),
        _merged(file.contexts for file in files),
    )


def _may_exist(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # why it cannot be looked at is told when it is read
        return True


def _listed(given: Path) -> list[Path]:
    return [Path(name) for name in dict.fromkeys(str(given).split(os.pathsep)) if name]


def _merged(files: Iterable[Mapping[str, Thing]]) -> dict[str, Thing]:
    merged: dict[str, Thing] = {}
    for entries in files:
        merged = {**entries, **merged}
    return merged


def _load_file(path: Path) -> Kubeconfig | None:
    """None for a file that is missing."""
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
    try:
        file = msgspec.convert({} if data is None else data, _File, dec_hook=_from_base64)
    except msgspec.ValidationError as error:
        raise InputError(_type_error(str(error), data)) from None
    _check_kind(file)
    return Kubeconfig(
        shown,
        file.current_context,
        _by_name(
            "clusters",
            file.clusters,
            _NamedCluster(),
            lambda one: _absolute(one.cluster, directory, _CLUSTER_PATHS),
        ),
        _by_name("users", file.users, _NamedUser(), lambda one: _absolute_user(one.user, directory)),
        _by_name("contexts", file.contexts, _NamedContext(), lambda one: one.context),
    )


def _check_kind(file: _File) -> None:
    if file.kind not in ("", "Config"):
        raise InputError(f"kind: it is {quoted(file.kind)}, not Config; name a kubeconfig")
    if file.api_version not in ("", "v1", "/v1"):
        raise InputError(f"apiVersion: it is {quoted(file.api_version)}, and only v1 is known; write v1")


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
    """With these paths as they are seen from the file's directory; `~` has no meaning in a kubeconfig."""
    paths = {name: os.path.normpath(directory / given) for name in names if (given := getattr(fields, name))}
    return msgspec.structs.replace(fields, **paths)


def _absolute_user(user: User, directory: Path) -> User:
    plugin = user.exec
    if plugin is not None and os.sep in plugin.command:
        user = msgspec.structs.replace(user, exec=_absolute(plugin, directory, ("command",)))
    absolute: User = _absolute(user, directory, _USER_PATHS)
    return absolute


def _from_base64(_: type, given: object) -> Data:
    """Go's encoding/json: standard alphabet with padding; newlines count for nothing."""
    if not isinstance(given, str):
        raise TypeError("it is no text; write Base64")
    try:
        packed = given.replace("\n", "").replace("\r", "").encode("ascii")
        return Data(base64.b64decode(packed, validate=True))
    except (UnicodeEncodeError, binascii.Error):
        raise ValueError("it is no Base64; write it as `base64 -w0` prints it") from None


def _type_error(said: str, data: object) -> str:
    """The place, the entry's name, and what is wanted there; what msgspec says holds types alone."""
    found = _AT.fullmatch(said)
    reason, at = (found[1], found[2]) if found else (said, "")
    place = _ENTRY.sub(lambda match: _named(match, data), at, count=1)
    return f"{place}: {_in_words(reason)}" if place else _in_words(reason)


def _named(match: re.Match[str], data: Any) -> str:
    entry = data[match[1]][int(match[2])]
    name = entry.get("name") if isinstance(entry, dict) else None
    ends = ": " if match.end() < len(match.string) else ""
    return f"{match[1]}[{match[2]}]{f' {quoted(name)}' if isinstance(name, str) else ''}{ends}"


def _in_words(reason: str) -> str:
    types = re.fullmatch(r"Expected (`.*`), got (`.*`)", reason)
    if types is None:
        return reason
    wanted, got = (_TYPE.sub(r"`\1`", each) for each in types.groups())
    hint = f"; {_HINTS[wanted]}" if wanted in _HINTS else ""
    return (
        f"{_GO_WORDS.get(wanted, wanted)} is wanted, and it is {_GO_WORDS.get(got, 'something else')}{hint}"
    )
