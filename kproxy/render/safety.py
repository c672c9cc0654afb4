"""Checks who may write the templates, because they become rules with our privileges."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from kproxy.errors import InputError


def require_safe(directory: Path) -> None:
    """Raise InputError if anybody but root and the user of this process may change the directory's content.

    The check covers the templates, the directories between, and the directories above, in which another directory could
    be put in its place. Nobody may write to a file system that is mounted read-only, as for a ConfigMap, whatever the
    permissions say.
    """
    inside = {path.resolve() for path in (directory, *_below(directory))}
    above = {parent for path in inside for parent in path.parents} - inside
    for path in sorted(inside | above):
        try:
            found, is_read_only = path.stat(), bool(os.statvfs(path).f_flag & os.ST_RDONLY)
        except OSError as refused:
            raise InputError(f"{path}: {refused.strerror}") from refused
        writer = "" if is_read_only else _other_writer(found, is_above=path in above)
        if writer:
            fix = f"chown root {path}" if writer.startswith("user") else f"chmod go-w {path}"
            raise InputError(
                f"--templates {directory}: {writer} may write {path}, and so decide on rules that kproxy programs; {fix}"
            )


def _below(directory: Path) -> Iterator[Path]:
    for place, directories, files in _walk(directory):
        yield from (Path(place) / name for name in (*directories, *files))


def _walk(directory: Path) -> Iterable[tuple[str, list[str], list[str]]]:
    def refuse(refused: OSError) -> None:
        raise InputError(f"{refused.filename}: {refused.strerror}") from refused

    return os.walk(directory, onerror=refuse)


def _other_writer(found: os.stat_result, *, is_above: bool) -> str:
    """The other user or group that may write it; empty if there is none.

    For directories above, the sticky bit is enough: nobody can replace entries that belong to others.
    """
    if found.st_uid not in {0, os.geteuid()}:
        return f"user {found.st_uid}"
    if is_above and found.st_mode & stat.S_ISVTX:
        return ""
    if found.st_mode & stat.S_IWOTH:
        return "everybody"
    if found.st_mode & stat.S_IWGRP and found.st_gid not in {0, os.getegid()}:
        return f"group {found.st_gid}"
    return ""
