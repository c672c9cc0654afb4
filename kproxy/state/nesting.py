"""Cuts deep parts out of JSON, so that a recursive parser needs little stack.

An API server accepts objects whose `metadata.managedFields` are nested thousands of levels deep. A recursive parser
refuses them, and the list that contains them.
"""

import re

DEEPEST_LEVEL = 64
"""Levels. The used fields are at most 10 levels deep in an object, and lists of lists in files add about 20."""

_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[{]|[\]}]', re.DOTALL)
_OPENING = b"[{"
_QUOTE = ord('"')


def without_deep_parts(text: bytes) -> bytes:
    """The JSON with null in place of each part that is nested deeper than `DEEPEST_LEVEL`.

    The time is proportional to the length of the text, and no stack is needed. Text that is not JSON does not become
    JSON: a deep part without an end is cut off.
    """
    kept: list[bytes] = []
    level = begin = 0
    for token in _TOKEN.finditer(text):
        first = text[token.start()]
        if first in _OPENING:
            level += 1
            if level == DEEPEST_LEVEL + 1:
                kept.append(text[begin : token.start()])
        elif first != _QUOTE:
            if level == DEEPEST_LEVEL + 1:
                kept.append(b"null")
                begin = token.end()
            level -= 1
    if level > DEEPEST_LEVEL:
        return b"".join(kept)
    return b"".join((*kept, text[begin:]))
