"""The rules of single chains as iptables-nft lists them; the number of other chains does not matter.

iptables-nft-restore 1.8.9 takes `-S CHAIN` in its input and reads that chain alone: 0.1 ms a chain, in a table of any
size. iptables-nft-save reads the whole table, takes a time quadratic in its chains, and prints nothing if any chain has
a rule that iptables does not know.
"""

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter

from kproxy import process
from kproxy.errors import ProgramFailed
from kproxy.ruleset.chain import Chain

_LONGEST_S = 60.0

_CHAINS_A_RUN = 1000
"""The number of chains that are read in 0.1 s; their text is held in memory at once."""

_MOST_REFUSALS = 200
"""The number of failed runs, of 6 ms each, after which the program itself counts as unusable; an unreadable chain
takes ten."""


def listed_chains(program: str, chains: Sequence[Chain]) -> dict[Chain, str | None]:
    """The rules of each chain; None for a chain that iptables cannot read, such as one with a rule made by nft.

    Chains are missing from the answer if the program does not end in time, or fails too often to tell which are at
    fault.
    """
    listed: dict[Chain, str | None] = {}
    pieces = _pieces(chains)
    refusals = 0
    while pieces:
        piece = pieces.pop()
        try:
            listed.update(_listed(program, piece))
        except ProgramFailed as failed:
            refusals += 1
            if refusals == _MOST_REFUSALS or failed.exit_code is None:
                return {chain: rules for chain, rules in listed.items() if rules is not None}
            middle = len(piece) // 2
            if middle:
                pieces += [piece[:middle], piece[middle:]]
            else:
                listed[piece[0]] = None
    return listed


def _pieces(chains: Sequence[Chain]) -> list[list[Chain]]:
    """The chains in pieces, each of one table."""
    pieces = []
    for _, of_table in groupby(sorted(chains), attrgetter("table")):
        ordered = list(of_table)
        pieces += [ordered[at : at + _CHAINS_A_RUN] for at in range(0, len(ordered), _CHAINS_A_RUN)]
    return pieces


def _listed(program: str, chains: Sequence[Chain]) -> dict[Chain, str]:
    """ProgramFailed if any of the chains cannot be read, or has gone."""
    table = chains[0].table
    asked = "".join(f"-S {chain.name}\n" for chain in chains)
    printed = process.run(
        [f"{program}-restore", "--noflush"], stdin=f"*{table}\n{asked}COMMIT\n", timeout_s=_LONGEST_S
    )
    lines: dict[str, list[str]] = {}
    # iptables prints two blanks after --nfacct-name; restore takes one
    for line in printed.replace("--nfacct-name  ", "--nfacct-name ").split("\n"):
        command, _, rest = line.partition(" ")
        name = rest.partition(" ")[0]
        if command == "-N":
            lines[name] = []
        elif command == "-A" and name in lines:
            lines[name].append(f"{line}\n")
    if missing := next((chain.name for chain in chains if chain.name not in lines), ""):
        raise ProgramFailed(f"{program}-restore", 0, f"it does not list the chain {missing}")
    return {chain: "".join(lines[chain.name]) for chain in chains}
