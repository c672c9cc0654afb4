"""The words of a program when the kernel, or the program itself, does not take rules."""

import re
from typing import TypeGuard

from kproxy.errors import OperationFailed, ProgramFailed

_NOT_THE_RULES = (
    "another app is currently holding the xtables lock",
    "cannot allocate memory",
    "device or resource busy",
    "interrupted system call",
    "message too long",
    "no buffer space available",
    "operation not permitted",
    "out of memory",
    "permission denied",
    "resource temporarily unavailable",
    "too many open files",
)
"""Words of the system for reasons of its own; the same rules may be taken the next time."""

_NFT_ERROR = ": error: "

_PREFIX = re.compile(r"^(?:\S+:\d+:\d+(?:-\d+)?: Error: |ip6?tables\S*(?: v\S+ \([a-z_]+\))?: ?)")
_NUMBER = re.compile(r"\bline:? \d+:? ?")
_NAMED = re.compile(r"^> *\d+ (.*)$", re.MULTILINE)
_SHOWN = re.compile(r"^\S+:\d+:\d+(?:-\d+)?: Error: .*\n\s*(.*\S)", re.MULTILINE)
"""nft prints the line of its input below the error."""

_LONGEST = 400


def is_refusal(failed: OperationFailed) -> TypeGuard[ProgramFailed]:
    """Whether rules may be at fault: iptables names a line then, and nft a place.

    They are not at fault if a program was killed or took too long, if the system lacks something, or if the kernel
    itself answered.
    """
    if not isinstance(failed, ProgramFailed) or not failed.is_verdict or not failed.exit_code:
        return False
    said = failed.stderr.lower()
    names_place = failed.line or _NFT_ERROR in said
    return bool(names_place) and not any(each in said for each in _NOT_THE_RULES)


def named_rule(failed: ProgramFailed) -> str:
    """The line of the input that the program named, such as `-A CHAIN ...`; empty for a COMMIT, or if it named none."""
    found = _NAMED.search(failed.excerpt)
    return found[1] if found and found[1].startswith(("-", ":")) else ""


def in_words(failed: ProgramFailed) -> str:
    """One line that stays the same for the same fault, though line numbers move."""
    lines = (_NUMBER.sub("", _PREFIX.sub("", line)).strip() for line in failed.stderr.splitlines())
    said = next(filter(None, lines), "")
    if said in {"", "failed"}:
        said = f"the kernel does not take them, and {failed.program.split(' ', 1)[0]} does not say why"
    shown = _SHOWN.search(failed.stderr)
    rule = shown[1] if shown else named_rule(failed)
    return f"{said}: {rule}"[:_LONGEST] if rule else said[:_LONGEST]
