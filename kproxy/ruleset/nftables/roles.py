"""The role of each block, given when a template is rendered.

Blocks of our templates have their roles by name, also in a template of a user that replaces one of ours. Any other
block is one that a template of a user adds:

- a chain with a `type ... hook ...` line is a hook chain;
- another chain that asks a map for a verdict (`vmap @`), or jumps or goes to a dispatch chain, is a dispatch chain;
- every other chain, set and map is only there, complete before the dispatch chains and hook chains are.

A rule that ends with `map @NAME`, in whichever chain, is written together with that map.
"""

import re
from collections.abc import Mapping

from kproxy.ruleset.nftables.frontends import Picker
from kproxy.ruleset.nftables.table import Block, Body, Role

Roles = Mapping[Block, Role]

OF_NODE: Roles = {
    **dict.fromkeys(
        (
            Block("chain", name)
            for name in (
                *("filter-prerouting", "filter-output-first", "nat-prerouting", "nat-output"),
                *("filter-input", "filter-forward", "filter-output", "nat-postrouting"),
            )
        ),
        Role.HOOK,
    ),
    Block("chain", "services"): Role.DISPATCH,
    Block("chain", "unserved"): Role.DISPATCH,
    Block("chain", "unknown"): Role.REFUSAL,
    Block("chain", "refuse"): Role.REFUSAL,
    Block("map", "service-ips"): Role.VERDICTS,
    Block("map", "service-nodeports"): Role.VERDICTS,
    Block("map", "unserved-ips"): Role.REFUSALS,
    Block("map", "unserved-nodeports"): Role.REFUSALS,
    Block("map", "firewall-ips"): Role.GUARDS,
    Block("set", "cluster-ips"): Role.ADDRESSES,
    Block("set", "nodeport-ips"): Role.ADDRESSES,
    Block("set", "hairpin-endpoints"): Role.ADDRESSES,
}
"""The blocks of `node.j2`."""

_HOOK = re.compile(r"\ttype \S+ hook ")
_TARGET = re.compile(r"[ \t](?:jump|goto) (\S+)")
_PICKS = re.compile(r" map @(\S+)\n")
_EXPRESSION = r"(?:ip6? [sd]addr|meta l4proto|th dport|numgen random mod 2)"
_CONCATENATION = rf"{_EXPRESSION}(?: \. {_EXPRESSION})*"
_PLAIN = re.compile(rf'\ttypeof {_CONCATENATION}(?: : (?:verdict|{_CONCATENATION}))?\n(?:\tcomment ".*"\n)?')


def of_picker(picker: Picker) -> Roles:
    """The blocks of `picks.j2`."""
    return {Block("map", picker.map): Role.ENDPOINTS, Block("chain", picker.chain): Role.PICKER}


def with_roles(texts: Mapping[Block, str], roles: Roles) -> dict[Block, Body]:
    """The blocks of a template, of which these have roles by name."""
    added = {block: text for block, text in texts.items() if block not in roles}
    roles = {**roles, **_roles_of_added(added, roles)} if added else roles
    return {block: _body(block, text, roles[block]) for block, text in texts.items()}


def _body(block: Block, text: str, role: Role) -> Body:
    if not block.is_chain:
        return Body(role, text, is_plain=bool(_PLAIN.fullmatch(text)))
    found = _PICKS.search(text)
    return Body(role, text, found[1] if found else "")


def _roles_of_added(added: Mapping[Block, str], known: Roles) -> Roles:
    roles = dict.fromkeys(added, Role.ADDED)
    chains = {block: text for block, text in added.items() if block.is_chain}
    roles |= {block: Role.DISPATCH for block, text in chains.items() if " vmap @" in text}
    roles |= {block: Role.HOOK for block, text in chains.items() if _HOOK.search(text)}
    leading = {block.name for block, role in {**known, **roles}.items() if role.leads}
    while more := {
        block
        for block, text in chains.items()
        if not roles[block].leads and not leading.isdisjoint(_TARGET.findall(text))
    }:
        roles |= dict.fromkeys(more, Role.DISPATCH)
        leading |= {block.name for block in more}
    return roles
