"""Masks the secrets that the words of programs and people may hold."""

import re
from collections.abc import Iterable

from kproxy.client.sent_secrets import MASK, SHORTEST_SECRET, without
from kproxy.state.printable import one_line

_LONGEST_LINE = 500
"""Characters that are kept. An error is one line in a log."""

_NAMED = re.compile(
    r"""((?:token|password|passwd|secret|credential|api[_-]?key|key-?data)["']?\s*[:=]\s*["']?)[^\s"',;&]+""",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"\b((?:bearer|basic)\s+)\S+", re.IGNORECASE)
_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s@]+@", re.IGNORECASE)
_LONG_WORD = re.compile(r"[A-Za-z0-9+_=~-]{32,}(?:\.[A-Za-z0-9+_=~-]+)*")
"""Words that look like tokens: a JWT, or 24 bytes in Base64. Words of human languages are shorter."""


def last_line(text: str, secrets: Iterable[str]) -> str:
    """The last line that is not blank, fit for a log. These secrets and words that look like a secret are masked."""
    lines = [line for line in text.splitlines() if line.strip()]
    return one_line(masked(lines[-1], secrets))[:_LONGEST_LINE] if lines else ""


def masked(text: str, secrets: Iterable[str]) -> str:
    text = without({secret for secret in secrets if len(secret) >= SHORTEST_SECRET}, text)
    for pattern in (_NAMED, _SCHEME):
        text = pattern.sub(rf"\1{MASK}", text)
    return _LONG_WORD.sub(MASK, _IN_URL.sub(rf"\1{MASK}@", text))
