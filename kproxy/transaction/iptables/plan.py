"""From what the kernel holds to what it should hold, without a bad moment in between.

iptables-restore commits table by table and section by section, so packets meet the states in
between. The order makes each of them harmless:

1. filter, with rules that refuse traffic added but none yet removed: they match only addresses
   that the nat table no longer, or not yet, rewrites;
2. nat, children before parents, the dispatch chains last: nothing is reached before it is complete;
3. filter again, where refusing rules go away, now that traffic is served;
4. chains that nothing jumps to any more are deleted, parents first; with the last of 2 if they fit.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from kproxy.ruleset.chain import Chain
from kproxy.ruleset.iptables.chains import Ruleset
from kproxy.ruleset.iptables.ownership import owner_of
from kproxy.ruleset.owner import Owner
from kproxy.transaction.iptables.edit import Edit, find_edit
from kproxy.transaction.iptables.order import children_first, in_sections, jumps_in, mentioned, parents_first
from kproxy.transaction.iptables.transaction import Reason, Section, Transaction

Known = Mapping[Chain, str | None]
"""What the kernel holds of ours: each chain's rules, or None where the chain exists but its rules are unknown."""


def plan(
    known: Known,
    desired: Ruleset,
    missing_jumps: Mapping[str, Sequence[str]],
    *,
    section_size: int | None,
    deletes_apart: bool = False,
) -> Transaction:
    """The transaction that makes `known` equal to `desired`; empty if they are.

    `missing_jumps` are rules for built-in chains by table. `section_size` bounds the chains that
    one section mentions: iptables-nft-restore 1.8.9 is quadratic in them, iptables-legacy commits whole
    tables and wants all in one (None). `deletes_apart` keeps deletions out of sections that write: a chain
    that a foreign rule still jumps to cannot be deleted, and must not hold up the rest.
    """
    changed = {
        chain: rules
        for chain, rules in desired.items()
        if known.get(chain) != rules and not (chain in known and not rules and _may_hold_more(chain))
    }
    before, after = _filter_chains(known, changed)
    nat = {chain: rules for chain, rules in changed.items() if chain.table == "nat"}
    edited = {chain: edit for chain, rules in nat.items() if (edit := find_edit(known.get(chain), rules))}
    stale = parents_first(chain for chain in known if chain not in desired)
    stale_nat = _in_pieces([chain for chain in stale if chain.table == "nat"], section_size)
    stale_filter = _in_pieces([chain for chain in stale if chain.table == "filter"], section_size)
    jumps = jumps_in(nat)
    jumps_written = jumps | jumps_in({chain: "".join(edit.lines) for chain, edit in edited.items()})
    *first, last = in_sections(children_first(jumps), jumps_written, section_size) or [[]]
    names = mentioned(last, jumps_written)
    joins = bool(stale_nat) and not deletes_apart and _fit(names, stale_nat[0], section_size)
    joining = stale_nat.pop(0) if joins else []
    *first_before, last_before = _in_pieces(children_first(jumps_in(before)), section_size) or [[]]
    sections = [
        *(Section("filter", _only(piece, before), reason=Reason.REFUSE) for piece in first_before),
        Section(
            "filter",
            _only(last_before, before),
            tuple(missing_jumps.get("filter", ())),
            reason=Reason.REFUSE,
        ),
        *(_section(piece, nat, edited) for piece in first),
        _section(last, nat, edited, tuple(missing_jumps.get("nat", ())), tuple(joining)),
        *(
            Section("filter", _only(piece, after), reason=Reason.ADMIT)
            for piece in _in_pieces(list(after), section_size)
        ),
        *(Section("nat", deleted=tuple(piece), reason=Reason.DELETE) for piece in stale_nat),
        *(Section("filter", deleted=tuple(piece), reason=Reason.DELETE) for piece in stale_filter),
    ]
    return Transaction(tuple(section for section in sections if section))


def _section(
    chains: Sequence[Chain],
    nat: Ruleset,
    edited: Mapping[Chain, Edit],
    jumps: tuple[str, ...] = (),
    deleted: tuple[Chain, ...] = (),
) -> Section:
    return Section(
        "nat",
        {chain: nat[chain] for chain in chains if chain not in edited},
        jumps,
        deleted,
        {chain: edited[chain] for chain in chains if chain in edited},
        Reason.SERVE_AND_DELETE if deleted else Reason.SERVE,
    )


def clean_node(desired: Ruleset, jumps: Ruleset) -> str:
    """The complete ruleset for a node that holds none of it, one section a table, jumps appended."""
    tables = []
    for table in ("filter", "nat"):
        ours = {chain: desired[chain] for chain in children_first(jumps_in(desired)) if chain.table == table}
        builtin = "".join(rules for chain, rules in jumps.items() if chain.table == table)
        declared = "".join(f":{chain.name} - [0:0]\n" for chain in ours)
        tables.append(f"*{table}\n{declared}{builtin}{''.join(ours.values())}COMMIT\n")
    return "".join(tables)


def _may_hold_more(chain: Chain) -> bool:
    """Whether the chain may hold rules of the kubelet, which stay where we want none."""
    return owner_of(chain) is Owner.SHARED_WITH_KUBELET


def _filter_chains(known: Known, changed: Ruleset) -> tuple[dict[Chain, str], dict[Chain, str]]:
    """The filter chains as written before nat changes, and those that need a second pass after it."""
    before: dict[Chain, str] = {}
    after: dict[Chain, str] = {}
    for chain, rules in changed.items():
        if chain.table != "filter":
            continue
        old_lines = (known.get(chain) or "").splitlines(keepends=True)
        new_lines = rules.splitlines(keepends=True)
        leaving = _without(old_lines, new_lines)
        arriving = _without(new_lines, old_lines)
        if arriving or not leaving:
            before[chain] = "".join(leaving) + rules
        if leaving:
            after[chain] = rules
    return before, after


def _without(lines: Iterable[str], others: Iterable[str]) -> list[str]:
    excluded = set(others)
    return [line for line in lines if line not in excluded]


def _only(chains: Sequence[Chain], of: Ruleset) -> dict[Chain, str]:
    return {chain: of[chain] for chain in chains}


def _fit(names: AbstractSet[str], deleted: Sequence[Chain], size: int | None) -> bool:
    return size is None or len(names) + len(deleted) <= size


def _in_pieces(chains: Sequence[Chain], size: int | None) -> list[Sequence[Chain]]:
    step = size or max(len(chains), 1)
    return [chains[start : start + step] for start in range(0, len(chains), step)]
