"""The secrets in what we tell others of who we are: they may say them back."""

import re
from base64 import b64decode
from collections.abc import Iterable
from contextlib import suppress

MASK = "***"

SHORTEST_SECRET = 4
"""A shorter one is no secret, and would be found in the middle of words."""


def secrets_of(authorization: str) -> frozenset[str]:
    """The parts of an Authorization header that nobody else may read."""
    scheme, _, value = authorization.partition(" ")
    found = {value}
    if scheme == "Basic":
        with suppress(ValueError):
            found.add(b64decode(value).decode().partition(":")[2])
    return frozenset(secret for secret in found if len(secret) >= SHORTEST_SECRET)


def without(secrets: Iterable[str], text: str) -> str:
    """The text without these, in whatever case; to be used before anything shortens the text."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = re.sub(re.escape(secret), MASK, text, flags=re.IGNORECASE)
    return text
