"""How one of many backends is picked with equal shares: one statistic match after another, in groups if they are many."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from kproxy.ruleset.iptables import names

_DEEPEST_GROUP = 2
"""How many characters a chain's name has left for the group."""

_PROBABILITY_UNIT = 1 << 31
"""The kernel compares 31 random bits (xt_statistic.h); probabilities are multiples of 2^-31."""


class BackendRules(NamedTuple):
    """One backend's chain, its address, and its `address:port`."""

    chain: str
    address: str
    target: str


class Pick(NamedTuple):
    """A choice that is taken with `probability`, or surely if that is empty; `target` is empty for a group."""

    chain: str
    probability: str
    target: str = ""


class PolicyRules(NamedTuple):
    """A chain that takes one of `picks`, or the one of `remembered` that a client had before."""

    chain: str
    remembered: tuple[BackendRules, ...]
    picks: tuple[Pick, ...]


@cache
def probability(part: int, whole: int) -> str:
    """The `--probability` of taking `part` of `whole` choices left, as iptables-save prints it; empty if all.

    kube-proxy writes ten decimals, the kernel keeps 31 bits, and iptables-save shows those with
    eleven decimals; taking the same steps gives the text that the kernel will show.
    """
    if part == whole:
        return ""
    kept = round(float(f"{part / whole:.10f}") * _PROBABILITY_UNIT)
    return f"{kept / _PROBABILITY_UNIT:.11f}"


def policy_rules(
    chain: str, backends: Sequence[BackendRules], most: float, *, has_affinity: bool
) -> Iterator[PolicyRules]:
    """The chain that picks one of the backends with equal shares, and those of its groups if there are more than `most`.

    Which group a backend belongs to is told by its own name alone, so that others stay where they are when
    it comes or goes.
    """
    remembered = tuple(backends) if has_affinity else ()
    yield from _grouped(chain, chain, backends, most, 0, remembered)


def _grouped(
    chain: str,
    policy_chain: str,
    backends: Sequence[BackendRules],
    most: float,
    depth: int,
    remembered: tuple[BackendRules, ...] = (),
) -> Iterator[PolicyRules]:
    if len(backends) <= most or depth == _DEEPEST_GROUP:
        left = len(backends)
        yield PolicyRules(
            chain,
            remembered,
            tuple(
                Pick(backend.chain, probability(1, left - at), backend.target)
                for at, backend in enumerate(backends)
            ),
        )
        return
    groups: dict[str, list[BackendRules]] = {}
    for backend in backends:
        groups.setdefault(names.group(policy_chain, backend.chain, depth), []).append(backend)
    picks, left = [], len(backends)
    for name, members in sorted(groups.items()):
        picks.append(Pick(name, probability(len(members), left)))
        left -= len(members)
    yield PolicyRules(chain, remembered, tuple(picks))
    for name, members in sorted(groups.items()):
        yield from _grouped(name, policy_chain, members, most, depth + 1)
