"""A ruleset: a mapping from chain to the text of its rules."""

from collections.abc import Mapping

from kproxy.errors import InputError
from kproxy.ruleset.chain import Chain

TABLES = ("filter", "nat")
"""The tables in which a service proxy has chains."""

DISPATCH = frozenset(
    {
        Chain("filter", "KUBE-SERVICES"),
        Chain("filter", "KUBE-EXTERNAL-SERVICES"),
        Chain("filter", "KUBE-PROXY-FIREWALL"),
        Chain("filter", "KUBE-NODEPORTS"),
        Chain("nat", "KUBE-NODEPORTS"),
        Chain("nat", "KUBE-SERVICES"),
    }
)
"""The chains to which every Service may add lines."""

Ruleset = Mapping[Chain, str]
"""Each chain's rules as `-A CHAIN ...` lines, each ended by a newline, in order."""


def parse_chains(text: str) -> dict[Chain, str]:
    """The chains that a text declares or adds rules to: the text of a template, or the output of iptables-save.

    Knows `*table`, `:CHAIN`, `-A CHAIN ...`, `COMMIT`, comments and blank lines. Raises InputError with
    any other line, because nobody would notice that it is lost.
    """
    lines: dict[Chain, list[str]] = {}
    table = ""
    for line in text.splitlines():
        head, _, rest = line.partition(" ")
        if head == "-A":
            lines.setdefault(Chain(table, rest.partition(" ")[0]), []).append(line)
        elif head.startswith(":"):
            lines.setdefault(Chain(table, head[1:]), [])
        elif head.startswith("*"):
            table = head[1:]
        elif line and head != "COMMIT" and not head.startswith("#"):
            raise InputError(f"{line!r} is neither *table, :CHAIN, -A, COMMIT nor a # comment")
    return {chain: "".join(f"{line}\n" for line in rules) for chain, rules in lines.items()}
