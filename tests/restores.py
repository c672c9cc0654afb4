"""Something else in place of a run of iptables-restore, for tests with real programs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from kproxy.kernel.programs.iptables import Iptables

_really = Iptables.restoring


def restore(iptables: Iptables, sections: Sequence[str]) -> None:
    """What `Iptables` does, whatever stands in its place now."""
    with _really(iptables) as write:
        for section in sections:
            write(section)


def restoring_by(
    act: Callable[[Iptables, Sequence[str]], None],
) -> Callable[[Iptables], AbstractContextManager[Callable[[str], None]]]:
    """For the place of `Iptables.restoring`: acts at the end of the block, with all sections that were written."""

    @contextmanager
    def restoring(iptables: Iptables) -> Iterator[Callable[[str], None]]:
        sections: list[str] = []
        yield sections.append
        act(iptables, sections)

    return restoring
