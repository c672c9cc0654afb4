"""The transactions that turn the observed table into the desired one; the state of the observed table decides."""

from collections.abc import Iterator

from kproxy.errors import OperationFailed, ProgramFailed
from kproxy.observed.nftables import ObservedTable
from kproxy.observed.states import State
from kproxy.ruleset.nftables.desired import DesiredTable
from kproxy.transaction.nftables.change import change
from kproxy.transaction.nftables.transaction import Transaction
from kproxy.transaction.nftables.whole import install, refill, replace_all
from kproxy.transaction.refusal import is_refusal
from kproxy.values import Family


def plans(family: Family, observed: ObservedTable, desired: DesiredTable) -> Iterator[Transaction]:
    """Transactions of which each would be enough, the gentlest first.

    Each further one is for a refusal of the one before.

    | state         | transactions                                                                         |
    |---------------|--------------------------------------------------------------------------------------|
    | SURE, DOUBTED | `change`: only what differs                                                          |
    | ABSENT        | `install`: all in steps, because no packet meets the table yet                       |
    | FOREIGN       | `refill`: all, where it is, so that clients keep their endpoints; then `replace_all` |

    In the state UNREAD there is none: the caller must look first. ValueError if it did not.
    """
    blocks = desired.blocks
    match observed.state:
        case State.SURE | State.DOUBTED:
            yield change(family, blocks, observed.delta.difference())
        case State.ABSENT:
            yield install(family, blocks, desired.contents())
        case State.FOREIGN:
            intact = observed.intact_endpoint_chains(blocks)
            yield refill(family, observed.found, blocks, desired.contents(), intact)
            yield replace_all(family, blocks, desired.contents())
        case State.UNREAD:
            raise ValueError("nobody has looked at the table")


def refusal(family: Family, observed: ObservedTable, desired: DesiredTable) -> ProgramFailed | None:
    """The reason why the kernel would refuse every plan; None if it would take one of them. Changes nothing.

    OperationFailed if the kernel cannot be asked, for example because `nft` dies.
    """
    refused = None
    for transaction in plans(family, observed, desired):
        try:
            observed.check(transaction)
        except OperationFailed as failed:
            if not is_refusal(failed):
                raise
            refused = failed
        else:
            return None
    return refused
