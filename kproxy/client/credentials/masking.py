"""The words of programs and people that may hold a secret, without it."""

import re
from collections.abc import Iterable

from kproxy.client.failures import one_line
from kproxy.client.told_secrets import MASK, SHORTEST_SECRET, without

_LONGEST_LINE = 500
"""Characters that are kept: an error is a line in a log."""

_NAMED = re.compile(
    r"""((?:token|password|passwd|secret|credential|api[_-]?key|key-?data)["']?\s*[:=]\s*["']?)[^\s"',;&]+""",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"\b((?:bearer|basic)\s+)\S+", re.IGNORECASE)
_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s@]+@", re.IGNORECASE)
_LONG_WORD = re.compile(r"[A-Za-z0-9+_=~-]{32,}(?:\.[A-Za-z0-9+_=~-]+)*")
"""As tokens are: a JWT, or Base64 of 24 bytes; words of languages are shorter."""


def last_line(text: str, secrets: Iterable[str]) -> str:
    """The last line with words in it, fit for a log, without these secrets and all that looks like one."""
    lines = [line for line in text.splitlines() if line.strip()]
    return one_line(masked(lines[-1], secrets))[:_LONGEST_LINE] if lines else ""


def masked(text: str, secrets: Iterable[str]) -> str:
    text = without({secret for secret in secrets if len(secret) >= SHORTEST_SECRET}, text)
    for pattern in (_NAMED, _SCHEME):
        text = pattern.sub(rf"\1{MASK}", text)
    return _LONG_WORD.sub(MASK, _IN_URL.sub(rf"\1{MASK}@", text))
