"""The chains that send packets to the endpoint in a map, and a run to compare them with the rules that nft makes.

nft 1.0.6 compiles the rule of such a chain only if the map is new.
"""

from collections.abc import Set as AbstractSet

from kproxy.ruleset.nftables.ownership import REFERENCE_TABLE
from kproxy.ruleset.nftables.table import FAMILY_WORD, Block, Blocks
from kproxy.transaction.nftables.blocks import blocks_text
from kproxy.transaction.nftables.run import Reason, Run
from kproxy.values import Family


def endpoint_chains(blocks: Blocks) -> dict[Block, Block]:
    """The chains whose rule sends packets to the endpoint in a map, with this map; only those whose map is declared."""
    asked = {block: Block("map", body.picks_from) for block, body in blocks.items() if body.picks_from}
    return {block: picked_from for block, picked_from in asked.items() if picked_from in blocks}


def reference_table(family: Family, chains: AbstractSet[Block], blocks: Blocks) -> tuple[Run, Run]:
    """The run that makes these endpoint chains, with their maps, in a table that no packet meets; and its removal."""
    name = f"{FAMILY_WORD[family]} {REFERENCE_TABLE}"
    asked = {chain: picked_from for chain, picked_from in endpoint_chains(blocks).items() if chain in chains}
    gone = f"add table {name}\ndelete table {name}\n"
    made = blocks_text(family, {block: blocks[block] for block in (*asked.values(), *asked)}, REFERENCE_TABLE)
    return Run(gone + "".join(made), reason=Reason.COMPARE), Run(gone, reason=Reason.COMPARED)
