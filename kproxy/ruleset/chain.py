"""A chain of the kernel, in either mode: the table that it stands in, and its name."""

from typing import NamedTuple

BUILT_IN = frozenset({"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"})


class Chain(NamedTuple):
    table: str
    name: str

    @property
    def is_built_in(self) -> bool:
        return self.name in BUILT_IN
