"""The chains that send packets where a map says, and whether the kernel has them as nft makes them.

nft 1.0.6 compiles the rule of such a chain only if the map is new.
"""

import re
from collections.abc import Iterable

from kproxy.ruleset.nftables.table import FAMILY_WORD, TABLE, Block, Blocks
from kproxy.transaction.nftables.blocks import blocks_text
from kproxy.transaction.nftables.run import Reason, Run
from kproxy.values import Family

REFERENCE_TABLE = f"{TABLE}-model"
"""A table that is there for a moment, to be compared with ours."""

_SENDS = re.compile(r" map @(\S+)\n")


def endpoint_chains(blocks: Blocks) -> dict[Block, Block]:
    """The chains whose rule sends packets where a map says, with that map."""
    return {block: Block("map", asked[1]) for block, text in blocks.items() if (asked := _SENDS.search(text))}


def reference_table(family: Family, chains: Iterable[Block], blocks: Blocks) -> tuple[Run, Run]:
    """The run that makes these endpoint chains, with their maps, in a table that no packet meets; and its removal."""
    name = f"{FAMILY_WORD[family]} {REFERENCE_TABLE}"
    asked = endpoint_chains({chain: blocks[chain] for chain in chains})
    gone = f"add table {name}\ndelete table {name}\n"
    made = blocks_text(family, {block: blocks[block] for block in (*asked.values(), *asked)}, REFERENCE_TABLE)
    return Run(gone + "".join(made), reason=Reason.COMPARE), Run(gone, reason=Reason.COMPARED)
