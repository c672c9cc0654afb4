"""The chains that pick one of many backends with equal shares: one statistic match after another, or groups first."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from kproxy.ruleset.iptables import names

_DEEPEST_GROUP = 2
"""The levels of groups. Each takes one character of the chain's name, which has two left of the 28 that it may have."""

_PROBABILITY_UNIT = 1 << 31
"""The kernel compares 31 random bits (xt_statistic.h); probabilities are multiples of 2^-31."""


class BackendChain(NamedTuple):
    """The name of one backend's chain, the backend's address, and its `address:port`."""

    chain: str
    address: str
    target: str


class Pick(NamedTuple):
    """A jump that is taken with `probability`, always if that is empty; `target` is empty for a group of backends."""

    chain: str
    probability: str
    target: str = ""


class PolicyChain(NamedTuple):
    """A chain that jumps to one of `picks`, or to the backend among `remembered` that the client had before."""

    chain: str
    remembered: tuple[BackendChain, ...]
    picks: tuple[Pick, ...]


@cache
def probability(part: int, whole: int) -> str:
    """The `--probability` for `part` of the `whole` backends left, as iptables-save prints it; empty if it is 1.

    kube-proxy writes ten decimals, the kernel keeps 31 bits, and iptables-save shows those bits with
    eleven decimals. This function takes these steps too, so its text is the one that the kernel will show.
    """
    if part == whole:
        return ""
    kept = round(float(f"{part / whole:.10f}") * _PROBABILITY_UNIT)
    return f"{kept / _PROBABILITY_UNIT:.11f}"


def policy_chains(
    chain: str, backends: Sequence[BackendChain], most: float, *, has_affinity: bool
) -> Iterator[PolicyChain]:
    """The chain that picks one of the backends with equal shares, and the chains of its groups above `most` backends.

    The name of a backend alone decides on its group, so the other backends keep their groups when one comes or goes.
    """
    remembered = tuple(backends) if has_affinity else ()
    yield from _grouped(chain, chain, backends, most, 0, remembered)


def _grouped(
    chain: str,
    policy_chain: str,
    backends: Sequence[BackendChain],
    most: float,
    depth: int,
    remembered: tuple[BackendChain, ...] = (),
) -> Iterator[PolicyChain]:
    if len(backends) <= most or depth == _DEEPEST_GROUP:
        left = len(backends)
        yield PolicyChain(
            chain,
            remembered,
            tuple(
                Pick(backend.chain, probability(1, left - at), backend.target)
                for at, backend in enumerate(backends)
            ),
        )
        return
    groups: dict[str, list[BackendChain]] = {}
    for backend in backends:
        groups.setdefault(names.group(policy_chain, backend.chain, depth), []).append(backend)
    picks, left = [], len(backends)
    for name, members in sorted(groups.items()):
        picks.append(Pick(name, probability(len(members), left)))
        left -= len(members)
    yield PolicyChain(chain, remembered, tuple(picks))
    for name, members in sorted(groups.items()):
        yield from _grouped(name, policy_chain, members, most, depth + 1)
