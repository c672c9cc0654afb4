"""The elements and blocks that one Service adds to the table."""

from msgspec import Struct, field
from msgspec.structs import replace

from kproxy.model.endpoints import Backend
from kproxy.model.plan import Plans, ServicePortPlan
from kproxy.ruleset.nftables.compiler import BlockWriter
from kproxy.ruleset.nftables.frontends import Frontend, Served, frontends_of
from kproxy.ruleset.nftables.table import NOWHERE, Block, Body, Element, Key


class Placed(Struct, frozen=True):
    """A Service's plans, and all that they add; `marks` are elements that several Services may add."""

    plans: Plans = ()
    frontends: dict[Frontend, Served] = field(default_factory=dict)
    blocks: tuple[Block, ...] = ()
    marks: tuple[Element, ...] = ()


NOTHING = Placed()


def placed(plans: Plans, writer: BlockWriter) -> tuple[Placed, dict[Block, Body]]:
    """The frontends and marks of these plans, and the blocks of its own that the Service has."""
    frontends: dict[Frontend, Served] = {}
    blocks: dict[Block, Body] = {}
    marks: dict[Element, None] = {}
    for plan in plans:
        for frontend, served in frontends_of(plan):
            frontends[frontend] = guarded_by_both(frontends.get(frontend, served), served)
        blocks |= writer.own_blocks(plan)
        marks[Element("cluster-ips", Key(NOWHERE, plan.cluster_ip))] = None
        for backend in plan.usable.reachable:
            if backend.is_local:
                marks[_hairpin(plan, backend)] = None
    return Placed(plans, frontends, tuple(blocks), tuple(marks)), blocks


def guarded_by_both(first: Served, other: Served) -> Served:
    """What both claims of one address make: the fate that the first says, and the source ranges of either."""
    return replace(first, guard=other.guard) if other.guard and not first.guard else first


def _hairpin(plan: ServicePortPlan, backend: Backend) -> Element:
    """A packet of this endpoint may come back to the endpoint, by any Service."""
    return Element(
        "hairpin-endpoints",
        Key(backend.address, backend.address, plan.name.protocol.lower(), backend.port),
    )
