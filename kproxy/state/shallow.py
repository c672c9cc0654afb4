"""JSON without its depths: nobody's parser needs a stack for parts that nobody uses.

An API server takes objects whose `metadata.managedFields` are nested thousands of levels deep. A parser that recurses
gives up on them, and with them on the list in which they stand.
"""

import re

DEEPEST_LEVEL = 64
"""The fields that we use stand 10 levels deep in an object, and lists of lists in files put some 20 more around it."""

_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[{]|[\]}]', re.DOTALL)
_OPENING = b"[{"
_QUOTE = ord('"')


def shallow(text: bytes) -> bytes:
    """The same JSON with null in the place of whatever is nested deeper than `DEEPEST_LEVEL`.

    Takes time in proportion to the text, and no stack. Text that is no JSON stays none: what never closes is cut off.
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
