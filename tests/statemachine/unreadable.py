"""Tables of iptables-nft that hold rules which iptables cannot read: listed all the same, and rid of them."""

import json
import re
from collections.abc import Iterator

from kproxy import process
from kproxy.errors import ProgramFailed
from kproxy.ruleset.chain import Chain
from kproxy.values import Family

FOREIGN_MARK = "somebody-else"
"""A word in the comment of every foreign rule, by which it is told from ours in a built-in chain."""

NATIVE_CHAIN = "somebodys"
"""The chain that no iptables made."""

KEYWORDS = {Family.IPV4: "ip", Family.IPV6: "ip6"}
"""nft's words for the families."""

_REFUSED = "is incompatible, use 'nft' tool"
_CHAIN = re.compile(r"^\tchain (\S+) \{[^\n]*\n(.*?)^\t\}", re.MULTILINE | re.DOTALL)
_OUR_JUMP = re.compile(r"\bjump (KUBE-(?!KUBELET-CANARY)\S+)")


def is_readable(saved: str) -> bool:
    """Whether iptables-save printed all of the table."""
    return _REFUSED not in saved


def as_restored(listed: str) -> str:
    """Iptables prints two blanks after --nfacct-name; iptables-restore takes one."""
    return listed.replace("--nfacct-name  ", "--nfacct-name ")


def read_chains(program: str, family: Family, table: str) -> tuple[dict[Chain, str], frozenset[Chain]]:
    """The chains of such a table, and which of them hold what iptables cannot read.

    Of these the jumps to our chains are told by `shortened` alone, and all else by a line that counts as foreign.
    """
    listed = process.run(["nft", "-s", "-a", "list", "table", KEYWORDS[family], table])
    chains: dict[Chain, str] = {}
    unreadable = set()
    for name, body in _CHAIN.findall(listed):
        chain = Chain(table, name)
        try:
            said = process.run([program, "-t", table, "-S", name])
        except ProgramFailed:
            unreadable.add(chain)
            chains[chain] = "".join(_told(name, line.strip()) for line in body.splitlines()[1:])
        else:
            chains[chain] = "".join(
                f"{line}\n" for line in as_restored(said).splitlines() if line.startswith("-A ")
            )
    return chains, frozenset(unreadable)


def shortened(rules: str) -> str:
    """The jumps of a built-in chain as `read_chains` tells them."""
    return "".join(f"{' '.join((*words[:2], *words[-2:]))}\n" for words in map(str.split, rules.splitlines()))


def removals(family: Family, tables: tuple[str, ...]) -> Iterator[str]:
    """The commands with which nft removes all rules that iptables cannot read."""
    for table in tables:
        about = f"{KEYWORDS[family]} {table}"
        try:
            listed = process.run(["nft", "-j", "-a", "list", "table", *about.split()])
        except ProgramFailed:  # there is none
            continue
        things = json.loads(listed)["nftables"]
        for rule in (thing["rule"] for thing in things if "rule" in thing):
            if rule.get("comment") == FOREIGN_MARK:
                yield f"delete rule {about} {rule['chain']} handle {rule['handle']}\n"
        if any(thing.get("chain", {}).get("name") == NATIVE_CHAIN for thing in things):
            yield f"delete chain {about} {NATIVE_CHAIN}\n"


def _told(chain: str, line: str) -> str:
    ours = _OUR_JUMP.search(line)
    return f"-A {chain} -j {ours[1]}\n" if ours else f"-A {chain} {line} {FOREIGN_MARK}\n"
