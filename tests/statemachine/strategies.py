"""The strategies for drawing scenarios. The first choice of each is the plainest: failures shrink to it."""

from collections.abc import Iterator

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from kproxy.model.settings import DetectLocalMode
from kproxy.values import Family, Protocol
from statemachine.cluster import NODE_ADDRESSES, SLOTS, ZONES, NodeFacts, Pod, Shape, SliceKey
from statemachine.drawn_flaws import BOUNDLESS, OF_NODES, OF_SERVICE_CIDRS, OF_SERVICES, OF_SLICES
from statemachine.filters import Filter
from statemachine.flags import BOTH_CIDRS, LAYOUTS, Flags
from statemachine.foreign import (
    AllFlushed,
    ForeignRuleAdded,
    ForeignRulesRemoved,
    RulesSpoiled,
    Spoiling,
    When,
)
from statemachine.foreign_tables import FOREIGN_FAMILIES, ForeignTable, TableSpoiled, TableSpoiling
from statemachine.hunger import Work
from statemachine.native import FILTERS_ONLY, FirewallReloaded, Native, NativeRule, NativeRulesRemoved
from statemachine.programs import FAULTS_OF_IPTABLES, FAULTS_OF_NFT, Fault
from statemachine.rules import BUILT_IN_OF, FOREIGN_CHAINS, TABLES
from statemachine.steps import (
    AgentKilled,
    AgentStopped,
    Break,
    Change,
    DeleteService,
    DeleteServiceCIDR,
    DeleteSlice,
    Harm,
    LockHeld,
    PutNode,
    PutService,
    PutServiceCIDR,
    PutSlice,
    ReadFails,
    RecordHarmed,
    RestoreFails,
    Starved,
    Step,
    WatchBroken,
)

_NAMES = st.sampled_from("aaabbc")
_CIDRS = st.sampled_from("dde")
_TOO_MUCH = "z"
"""The name of a Service that never was within bounds, and so has no rules to keep."""

_MOST_FAILURES = 2
"""An agent gives up an event that it could not store three times in a row, and then only a new agent lists it again."""

_WITHOUT_JUMP = ("nat", "INPUT")
"""The built-in chain that is not there where iptables-nft never wrote into it."""

_FAMILIES = st.sampled_from(Family)
_LONG_S = 6.0
"""Longer than the agent waits for the xtables lock."""

_shapes = st.builds(
    Shape,
    slot=st.sampled_from(SLOTS),
    families=st.sampled_from([(Family.IPV4,), (Family.IPV6,), (Family.IPV4, Family.IPV6)]),
    protocol=st.sampled_from([Protocol.TCP, *Protocol]),
    node_port=st.booleans(),
    external_ip=st.booleans(),
    vip=st.booleans(),
    source_ranges=st.booleans(),
    internal_local=st.booleans(),
    external_local=st.booleans(),
    affinity=st.booleans(),
)
_pods = st.builds(
    Pod,
    number=st.integers(0, 6),
    ready=st.sampled_from([True, True, False]),
    serving=st.booleans(),
    terminating=st.sampled_from([False, False, True]),
    zone_hint=st.sampled_from(["", *ZONES]),
)
_slice_keys = st.builds(SliceKey, _NAMES, _FAMILIES, st.sampled_from("xy"))
_services = st.builds(PutService, _NAMES, _shapes)
_slices = st.builds(PutSlice, _slice_keys, st.lists(_pods, min_size=1, max_size=3).map(tuple))
_nodes = st.builds(
    NodeFacts,
    zone=st.sampled_from(ZONES),
    pod_cidrs=st.sampled_from(
        [
            ("10.128.1.0/24", "fd00:10:128:1::/64"),
            ("10.128.2.0/24", "fd00:10:128:2::/64"),
            ("10.128.1.0/24",),
            (),
        ]
    ),
    addresses=st.sampled_from([NODE_ADDRESSES, NODE_ADDRESSES[::-1], NODE_ADDRESSES[:1], ()]),
    exists=st.sampled_from([True, True, False]),
)
_changes: SearchStrategy[Change] = st.one_of(
    _services,
    _slices,
    _slices,
    _services,
    _slices,
    st.builds(DeleteService, _NAMES),
    st.builds(DeleteSlice, _slice_keys),
    st.builds(PutSlice, _slice_keys, st.just(())),
    st.builds(PutNode, _nodes),
)
_networks = st.sampled_from(
    [("10.96.0.0/16", "fd00:10:96::/112"), ("10.96.0.0/28",), ("fd00:10:96::/108", "10.112.0.0/16")]
)
_flawed_changes: SearchStrategy[Change] = st.one_of(
    st.builds(PutService, _NAMES, _shapes, OF_SERVICES),
    st.builds(PutService, _NAMES, _shapes, OF_SERVICES),
    st.builds(PutSlice, _slice_keys, st.lists(_pods, max_size=3).map(tuple), OF_SLICES),
    st.builds(PutSlice, _slice_keys, st.lists(_pods, max_size=3).map(tuple), OF_SLICES),
    st.builds(PutNode, _nodes, OF_NODES),
    st.builds(PutServiceCIDR, _CIDRS, _networks, OF_SERVICE_CIDRS),
    st.builds(PutServiceCIDR, _CIDRS, _networks),
    st.builds(DeleteServiceCIDR, _CIDRS),
    st.builds(PutService, st.just(_TOO_MUCH), _shapes, BOUNDLESS),
    st.builds(DeleteService, st.just(_TOO_MUCH)),
)


def _apart(changes: list[Change]) -> tuple[Change, ...]:
    """The last change of an object that comes with a flaw, since the agent keeps the version from before the step."""
    flawed = {change.about for change in changes if change.flaw}
    last = {change.about: change for change in changes}
    return tuple(change for change in changes if change.about not in flawed or change is last[change.about])


_mixed = st.one_of(_changes, _changes, _flawed_changes)
_few = st.lists(_mixed, max_size=3).map(_apart)
_some = st.lists(_mixed, min_size=1, max_size=3).map(_apart)
_bad = st.lists(_flawed_changes | _changes, min_size=1, max_size=4).map(_apart)
_flags = st.builds(
    Flags,
    cluster_cidr=st.sampled_from([BOTH_CIDRS, "10.128.0.0/16", "fd00:10:128:1::/64"]),
    dispatch=st.sampled_from([*LAYOUTS]),
    masquerade_all=st.booleans(),
    masquerade_bit=st.sampled_from([14, 15]),
    detect_local_mode=st.sampled_from(DetectLocalMode),
    localhost_node_ports=st.booleans(),
    node_port_addresses=st.sampled_from([(), ("10.199.0.0/24", "fd00:199::/64"), ("primary",)]),
)


Scenario = list[Step]


def scenarios(chosen: Filter) -> SearchStrategy[Scenario]:
    """Lists of steps, beginning with a Service that has endpoints, so that there is something to lose."""
    first = st.builds(_served, _shapes, st.lists(st.builds(Pod, number=st.integers(0, 5)), min_size=1))
    some = st.lists(_steps(chosen), max_size=8)  # three of them, as one long list is drawn short mostly
    return st.builds(lambda *parts: [step for part in parts for step in part], first, some, some, some)


def _served(shape: Shape, pods: list[Pod]) -> Scenario:
    slices = (PutSlice(SliceKey("a", family, "x"), tuple(pods[:3])) for family in shape.families)
    return [Step(changes=(PutService("a", shape), *slices))]


def _steps(chosen: Filter) -> SearchStrategy[Step]:
    faults = st.sampled_from(FAULTS_OF_IPTABLES if chosen.variant else FAULTS_OF_NFT)
    kinds: list[SearchStrategy[Step]] = [st.builds(Step, changes=_some, slowly=st.booleans())] * 4
    kinds += [
        st.builds(Step, changes=_bad),
        st.builds(AgentStopped, changes=_few, fault=st.none() | faults, flags=st.none() | _flags),
        st.builds(AgentStopped, changes=_few, flags=_flags),
        st.builds(AgentKilled, changes=_few, after_s=st.floats(0.0, 0.3), fault=st.none() | faults),
        st.builds(RestoreFails, changes=_some, fault=faults, runs=st.integers(1, 4)),
        st.builds(AllFlushed, changes=_few, counters_too=st.booleans()),
        st.builds(Starved, changes=_some, work=st.sampled_from(Work), times=st.integers(1, _MOST_FAILURES)),
        st.builds(WatchBroken, changes=_few, how=st.sampled_from(Break)),
        *(_by_iptables(chosen, faults) if chosen.variant else _by_nft()),
    ]
    return st.one_of(kinds)


def _by_iptables(chosen: Filter, faults: SearchStrategy[Fault]) -> Iterator[SearchStrategy[Step]]:
    yield st.builds(ReadFails, changes=_few, fault=faults, runs=st.integers(1, 3), forgetful=st.booleans())
    yield st.builds(
        RulesSpoiled,
        changes=_few,
        family=_FAMILIES,
        table=st.sampled_from(TABLES),
        how=st.sampled_from(Spoiling),
        which=st.integers(0, 99),
        when=st.sampled_from(When),
    )
    yield st.sampled_from(BUILT_IN_OF).flatmap(_foreign)
    if chosen is Filter.LEGACY:
        yield st.builds(LockHeld, changes=_some, for_s=st.sampled_from([0.3, 1.0, _LONG_S]))
    else:
        yield st.builds(RecordHarmed, changes=_few, how=st.sampled_from(Harm))
        yield st.sampled_from([place for place in BUILT_IN_OF if place != _WITHOUT_JUMP]).flatmap(_native)
        yield st.builds(NativeRulesRemoved, changes=_few)


def _by_nft() -> Iterator[SearchStrategy[Step]]:
    yield st.builds(
        TableSpoiled,
        changes=_few,
        family=_FAMILIES,
        how=st.sampled_from(TableSpoiling),
        which=st.integers(0, 99),
        when=st.sampled_from(When),
    )
    yield st.builds(
        ForeignTable,
        changes=_few,
        family=st.sampled_from(FOREIGN_FAMILIES),
        is_there=st.booleans(),
        elements=st.integers(0, 3),
    )


def _foreign(place: tuple[str, str]) -> SearchStrategy[Step]:
    table, chain = place
    added = st.builds(
        ForeignRuleAdded,
        changes=_few,
        family=_FAMILIES,
        table=st.just(table),
        chain=st.just(chain),
        at=st.integers(1, 9),
        target=st.sampled_from(["", *FOREIGN_CHAINS]),
    )
    removed = st.builds(ForeignRulesRemoved, changes=_few, family=_FAMILIES, table=st.just(table))
    return st.one_of(added, added, removed)


def _native(place: tuple[str, str]) -> SearchStrategy[Step]:
    table, chain = place
    return st.builds(
        lambda kind, **fields: kind(**fields),
        kind=st.sampled_from([NativeRule, FirewallReloaded]),
        changes=_few,
        family=_FAMILIES,
        table=st.just(table),
        chain=st.just(chain),
        rule=st.sampled_from([rule for rule in Native if table == "filter" or rule not in FILTERS_ONLY]),
        first=st.booleans(),
        new_agent=st.booleans(),
    )
