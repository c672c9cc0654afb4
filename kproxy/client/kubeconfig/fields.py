"""The fields of a kubeconfig file, each with its type.

Source: client-go `tools/clientcmd/api/v1/types.go`, and its decoder (apimachinery `runtime/serializer/json`): unknown
fields are ignored, null is a field's zero value, and one field of a wrong type makes the whole file unusable. In
`preferences`, and in the extensions of entries other than clusters, only the types are checked.
"""

import base64
import binascii
import re
from typing import Any, Final

import msgspec
from msgspec import Struct

from kproxy.errors import InputError
from kproxy.state.printable import quoted

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


class Data(bytes):
    """Bytes that a file holds as Base64. They may be a key, so `str` and `repr` do not show them."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"

    __str__ = __repr__


class Concealed(Struct, frozen=True):
    """Fields of which some are secrets, so `str` and `repr` do not show them."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


class Extension(Concealed, frozen=True):
    name: str = ""
    extension: Any = None


class Cluster(Concealed, frozen=True, rename="kebab"):
    """How to reach an API server. Paths are absolute after the file is loaded."""

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


class Exec(Concealed, frozen=True, rename="camel"):
    """A plugin that gives credentials. A `command` with a slash is absolute after the file is loaded."""

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
    """The credentials of a user. Paths are absolute after the file is loaded."""

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
    exec: Exec | None = None
    extensions: list[Extension | None] = []


class Context(Struct, frozen=True):
    """A cluster, and the user for it."""

    cluster: str = ""
    user: str = ""
    namespace: str = ""
    extensions: list[Extension | None] = []


class Preferences(Struct, frozen=True):
    """Preferences, which only kubectl uses."""

    colors: bool = False
    extensions: list[Extension | None] = []


class NamedCluster(Struct, frozen=True):
    name: str = ""
    cluster: Cluster = Cluster()


class NamedUser(Struct, frozen=True):
    name: str = ""
    user: User = User()


class NamedContext(Struct, frozen=True):
    name: str = ""
    context: Context = Context()


class File(Struct, frozen=True, rename="kebab"):
    clusters: list[NamedCluster | None] = []
    users: list[NamedUser | None] = []
    contexts: list[NamedContext | None] = []
    current_context: str = ""
    preferences: Preferences = Preferences()
    extensions: list[Extension | None] = []
    kind: str = ""
    api_version: str = msgspec.field(name="apiVersion", default="")


def decode_file(data: object) -> File:
    """Decode the result of `first_document`. InputError for data that client-go cannot decode.

    The message names the place, and repeats no secret.
    """
    try:
        file = msgspec.convert({} if data is None else data, File, dec_hook=_from_base64)
    except msgspec.ValidationError as error:
        raise InputError(_type_error(str(error), data)) from None
    if file.kind not in ("", "Config"):
        raise InputError(f"kind: it is {quoted(file.kind)}, not Config; name a kubeconfig")
    if file.api_version not in ("", "v1", "/v1"):
        raise InputError(f"apiVersion: it is {quoted(file.api_version)}, and only v1 is known; write v1")
    return file


def _from_base64(_: type, given: object) -> Data:
    """Decode as Go's encoding/json: the standard alphabet with padding; line ends are ignored."""
    if not isinstance(given, str):
        raise TypeError("it is not text; write Base64")
    try:
        packed = given.replace("\n", "").replace("\r", "").encode("ascii")
        return Data(base64.b64decode(packed, validate=True))
    except (UnicodeEncodeError, binascii.Error):
        raise ValueError("it is not Base64; write it as `base64 -w0` prints it") from None


def _type_error(said: str, data: object) -> str:
    """The place, the name of the entry, and the type that is expected there.

    The message of msgspec holds only types.
    """
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
        f"{_GO_WORDS.get(wanted, wanted)} is expected, and it is {_GO_WORDS.get(got, 'something else')}{hint}"
    )
