"""A transaction for a reader: its text, with the reason of each part."""

from collections.abc import Sequence


def marked(noun: str, parts: Sequence[tuple[str, str]]) -> str:
    """The texts, each after a line `# NOUN 1 of 3: REASON`; iptables-restore and nft take such a line for a comment."""
    return "".join(
        f"# {noun} {number} of {len(parts)}: {reason}\n{text}"
        for number, (reason, text) in enumerate(parts, start=1)
    )
