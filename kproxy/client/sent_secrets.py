"""The secrets in our requests. A server or proxy may repeat them, so they are removed from messages."""

import re
from base64 import b64decode
from collections.abc import Iterable
from contextlib import suppress

MASK = "***"

SHORTEST_SECRET = 4
"""Characters. A shorter text is not a secret, and masking it would damage ordinary words."""


def secrets_of(authorization: str) -> frozenset[str]:
    """The secret parts of an Authorization header."""
    scheme, _, value = authorization.partition(" ")
    found = {value}
    if scheme == "Basic":
        with suppress(ValueError):
            found.add(b64decode(value).decode().partition(":")[2])
    return frozenset(secret for secret in found if len(secret) >= SHORTEST_SECRET)


def without(secrets: Iterable[str], text: str) -> str:
    """The text with each secret masked, in upper and lower case. Call it before the text is shortened."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = re.sub(re.escape(secret), MASK, text, flags=re.IGNORECASE)
    return text
