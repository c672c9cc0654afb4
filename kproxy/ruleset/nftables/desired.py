"""The table that one family should have on this node, kept up to date Service by Service."""

from collections import Counter
from collections.abc import Iterable, Iterator, MutableMapping
from functools import reduce
from itertools import chain, starmap
from typing import NamedTuple

from msgspec import Struct, field

from kproxy.model.plan import Plans, plan_service
from kproxy.ruleset.inputs import Circumstances, Render
from kproxy.ruleset.nftables.compiler import BlockWriter
from kproxy.ruleset.nftables.frontends import Frontend, Picker, Served, Way, contents_of
from kproxy.ruleset.nftables.placed import NOTHING, Placed, guarded_by_both, placed
from kproxy.ruleset.nftables.table import NOWHERE, Block, Body, Contents, Element, Key, spelled_out
from kproxy.state.store import Store
from kproxy.values import NamespacedName

_NOT_SERVED = Served()


class TableDifference(Struct):
    """The difference between two states of a table: each block before and after (None: not there), and elements."""

    blocks: dict[Block, tuple[Body | None, Body | None]] = field(default_factory=dict)
    deleted: list[Element] = field(default_factory=list)
    added: list[Element] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.blocks or self.deleted or self.added)


class TableParts(NamedTuple):
    """The mappings in which a `DesiredTable` keeps its blocks and elements; a mapping may note what is written to it.

    `frontends` has what serves each address and port, and `marks` each element that Services or the node add, with the
    number of those that add it.
    """

    blocks: MutableMapping[Block, Body]
    frontends: MutableMapping[Frontend, Served]
    marks: MutableMapping[Element, int]


def contents_of_parts(frontends: Iterable[tuple[Frontend, Served]], marks: Iterable[Element]) -> Contents:
    """All elements of a table, numbered ones together."""
    return chain(chain.from_iterable(starmap(contents_of, frontends)), marks)


class DesiredTable:
    """All of one family's table, kept in `parts`.

    The result depends on the newest plans alone, not on the way there, and changes come in an order that is the same in
    every process. If several Services claim one address and port, it belongs to the first by name that serves
    everyone, otherwise to the first that serves anyone.

    If an exception, such as a MemoryError, comes in the middle of a change, the next `adopt` builds all of it again.
    """

    def __init__(
        self,
        render: Render,
        circumstances: Circumstances | None = None,
        parts: TableParts | None = None,
    ) -> None:
        """Without circumstances the table is empty, and `adopt` has to be called before any Service is placed."""
        self._render = render
        self._circumstances: Circumstances | None = None
        self.stale: set[NamespacedName] = set()
        """Services that were placed in other circumstances, and must be placed again."""
        self._placed: dict[NamespacedName, Placed] = {}
        self._is_torn = False
        """Whether an exception came in the middle of a change, so that parts of it are missing."""
        self._not_replaced: dict[NamespacedName, Plans] = {}
        """Services that a torn table had, and that are to be placed again."""
        self._not_computed: dict[NamespacedName, Exception] = {}
        self._claimants: dict[Frontend, tuple[NamespacedName, ...]] = {}
        self._uses: Counter[Way | Picker] = Counter()
        self._node_blocks: dict[Block, Body] = {}
        self._node_marks: tuple[Element, ...] = ()
        self.service_ports = 0
        self.blocks, self._frontends, self._marks = parts or TableParts({}, {}, {})
        if circumstances:
            self._enter(circumstances)

    def update(self, store: Store, dirty: Iterable[NamespacedName], circumstances: Circumstances) -> None:
        """Take in what changed: the Services named, or all of them if the circumstances did."""
        self.adopt(circumstances)
        for key in sorted({*dirty, *self.stale}):
            self.place_newest(store, key)

    def adopt(self, circumstances: Circumstances) -> bool:
        """Take in the circumstances; whether they changed, and every Service is stale."""
        has_changed = circumstances != self._circumstances
        if self._is_torn or self._not_replaced:
            self._build_again()
        if has_changed:
            self._enter(circumstances)
            self.stale = set(self._placed)
        return has_changed

    def _build_again(self) -> None:
        """Desire nothing, and then place every Service as it was placed; the next call goes on if this one fails.

        All are stale then, as nobody knows how far the change had come.
        """
        self._not_replaced = {key: each.plans for key, each in self._placed.items()} | self._not_replaced
        for held in (self._placed, self._claimants, self._uses, self._node_blocks):
            held.clear()
        for desired in (self.blocks, self._frontends, self._marks):
            desired.clear()
        self._node_marks, self.service_ports = (), 0
        if self._circumstances:
            self._enter(self._circumstances)
        self._is_torn = False
        for key, plans in tuple(self._not_replaced.items()):
            self.place(key, plans)
            del self._not_replaced[key]
        self.stale = set(self._placed)

    def plans_of(self, key: NamespacedName) -> Plans:
        """The plans with which the Service is placed."""
        return self._placed.get(key, NOTHING).plans

    def place_newest(self, store: Store, key: NamespacedName) -> None:
        """Place the newest plans of a Service; it stays as it is if they cannot be computed."""
        service = store.services.get(key)
        try:
            plans = plan_service(service, store.slices_of(key), self._node) if service else ()
            self.place(key, plans)
        except MemoryError:
            raise
        except Exception as failed:  # whatever is wrong with one Service costs no other its rules
            if self._is_torn:
                raise
            self._not_computed[key] = failed
        else:
            self._not_computed.pop(key, None)

    def take_not_computed(self) -> dict[NamespacedName, Exception]:
        """The Services whose newest elements and chains could not be computed, and why, since this was last asked."""
        taken, self._not_computed = self._not_computed, {}
        return taken

    def _enter(self, circumstances: Circumstances) -> None:
        """If a template fails, the circumstances stay as they were, so that the next update enters them again."""
        writer = BlockWriter(circumstances.node, circumstances.settings, self._render)
        node_blocks = writer.node_blocks(circumstances.service_networks)
        shared_blocks = [_written(part, writer) for part in self._uses]
        was_torn, self._is_torn = self._is_torn, True
        self._writer = writer
        for block in self._node_blocks.keys() - node_blocks.keys():
            self._put_block(block, None)
        self._node_blocks = node_blocks
        self._put_blocks(node_blocks)
        marks = tuple(
            Element("nodeport-ips", Key(NOWHERE, each)) for each in circumstances.node.node_ports.addresses
        )
        self._count_marks(self._node_marks, marks)
        self._node_marks = marks
        for blocks in shared_blocks:
            self._put_blocks(blocks)
        self._node = circumstances.node
        self._circumstances = circumstances
        self._is_torn = was_torn

    @property
    def has_no_circumstances(self) -> bool:
        """Whether no circumstances were taken in yet."""
        return self._circumstances is None

    def place(self, key: NamespacedName, plans: Plans) -> None:
        """Let a Service have the rules and elements of these plans; without plans, none."""
        old = self._placed.get(key, NOTHING)
        if plans == old.plans and key not in self.stale:
            return
        new, blocks = placed(plans, self._writer)
        for served in new.frontends.values():
            if served.way and served.way not in self._uses:
                self._require(served.way)
        was_torn, self._is_torn = self._is_torn, True
        self.service_ports += len(plans) - len(old.plans)
        if plans:
            self._placed[key] = new
        else:
            self._placed.pop(key, None)
        self._count_marks(old.marks, new.marks)
        for block in [each for each in old.blocks if each not in blocks]:
            self._put_block(block, None)
        self._put_blocks(blocks)
        self._claim(key, old.frontends, new.frontends)
        self.stale.discard(key)
        self._is_torn = was_torn

    def _require(self, part: Way | Picker) -> None:
        """Render shared chains now, so that a template that fails does so before anything is changed."""
        self._written(part)
        for needed in part.needed:
            self._require(needed)

    def elements(self) -> Iterator[Element]:
        """Every element that should be there."""
        return spelled_out(self.contents())

    def contents(self) -> Contents:
        """Every element that should be there, those with numbers together."""
        return contents_of_parts(self._frontends.items(), self._marks)

    def _claim(self, owner: NamespacedName, old: dict[Frontend, Served], new: dict[Frontend, Served]) -> None:
        for frontend, served in new.items():
            before = old.get(frontend)
            if before is None:
                self._claimants[frontend] = (*self._claimants.get(frontend, ()), owner)
            if served != before:
                self._serve(frontend, self._foremost(frontend))
        for frontend in [each for each in old if each not in new]:
            others = tuple(each for each in self._claimants.pop(frontend) if each != owner)
            if others:
                self._claimants[frontend] = others
            self._serve(frontend, self._foremost(frontend))

    def _foremost(self, frontend: Frontend) -> Served:
        """The claim that counts: one that serves everyone before one that serves some, then the first by name.

        Source ranges count for every claim: those of the claim that counts, or else those of the first by name.
        """
        names = self._claimants.get(frontend, ())
        claims = [self._placed[name].frontends[frontend] for name in sorted(names)]
        if len(claims) <= 1:  # as it nearly always is
            return claims[0] if claims else _NOT_SERVED
        best = min(claims, key=lambda claim: (bool(claim.refusal), not claim.verdict))
        return reduce(guarded_by_both, claims, best)

    def _serve(self, frontend: Frontend, served: Served) -> None:
        before = self._frontends.get(frontend, _NOT_SERVED)
        if served == before:
            return
        if served == _NOT_SERVED:
            del self._frontends[frontend]
        else:
            self._frontends[frontend] = served
        if served.way != before.way:
            if served.way:
                self._add_use(served.way)
            if before.way:
                self._drop_use(before.way)

    def _add_use(self, part: Way | Picker) -> None:
        """Count one more use of shared chains, which are there as long as something leads to them."""
        self._uses[part] += 1
        if self._uses[part] == 1:
            self._put_blocks(self._written(part))
            for needed in part.needed:
                self._add_use(needed)

    def _drop_use(self, part: Way | Picker) -> None:
        self._uses[part] -= 1
        if not self._uses[part]:
            del self._uses[part]
            for block in self._written(part):
                self._put_block(block, None)
            for needed in part.needed:
                self._drop_use(needed)

    def _written(self, part: Way | Picker) -> dict[Block, Body]:
        return _written(part, self._writer)

    def _count_marks(self, old: tuple[Element, ...], new: tuple[Element, ...]) -> None:
        if old == new:
            return
        marks = self._marks
        for mark in new:
            marks[mark] = marks.get(mark, 0) + 1
        for mark in old:
            if marks[mark] == 1:
                del marks[mark]
            else:
                marks[mark] -= 1

    def _put_blocks(self, blocks: dict[Block, Body]) -> None:
        for block, body in blocks.items():
            self._put_block(block, body)

    def _put_block(self, block: Block, body: Body | None) -> None:
        if body is not None:
            self.blocks[block] = body
        elif block in self.blocks:
            del self.blocks[block]


def _written(part: Way | Picker, writer: BlockWriter) -> dict[Block, Body]:
    return writer.way_blocks(part) if isinstance(part, Way) else writer.picker_blocks(part)
