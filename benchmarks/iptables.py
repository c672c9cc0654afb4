"""iptables mode: kproxy with the program and the templates under a stopwatch."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.cluster import CIDR, Size, node_view
from benchmarks.ground import changed_from_now_on
from benchmarks.iptables_baselines import IptablesBaselines
from benchmarks.stages import RESTORE, Stages, watched_templates
from kproxy.agent.iptables_proxy import IptablesProxy
from kproxy.kernel.programs.iptables import Iptables, Variant
from kproxy.model.settings import Settings
from kproxy.observed.iptables_kernel import KernelChains  # noqa: TC001 # it would have to be quoted
from kproxy.observed.iptables_legacy import LegacyChains
from kproxy.observed.iptables_nft import NftChains
from kproxy.observed.record import Record
from kproxy.ruleset.inputs import Circumstances
from kproxy.ruleset.layout import LAYOUTS
from kproxy.values import Family, Network


class _WatchedIptables(Iptables):
    def __init__(self, variant: Variant, stages: Stages) -> None:
        super().__init__(variant, Family.IPV4)
        self._stages = stages

    @contextmanager
    def restoring(self) -> Iterator[Callable[[str], None]]:
        """The time that the caller takes between two sections does not count as the program's time."""
        with self._stages.timed(RESTORE), super().restoring() as write:
            began = time.perf_counter()

            def watched(text: str) -> None:
                nonlocal began
                self._stages.seconds[RESTORE] -= time.perf_counter() - began
                self._stages.hands_over(partial(int, len(text)))
                write(text)
                began = time.perf_counter()

            yield watched
            self._stages.seconds[RESTORE] -= time.perf_counter() - began


@dataclass(frozen=True, slots=True)
class IptablesSubject:
    mode = "iptables"
    starts_afresh = False
    shares_by_count = False

    variant: Variant
    dispatch: str

    @property
    def name(self) -> str:
        return f"iptables-{self.variant}, {self.dispatch}"

    @property
    def circumstances(self) -> Circumstances:
        settings = Settings(cluster_cidrs=(Network(CIDR),))
        return Circumstances(node_view(settings), settings, LAYOUTS[self.dispatch])

    @property
    def agent_flags(self) -> list[str]:
        return ["--iptables-backend", self.variant, "--dispatch", self.dispatch]

    def proxy(self, state: Path, stages: Stages) -> tuple[IptablesProxy, Callable[[], None]]:
        """A proxy that knows what the directory's record says, and how to close the record."""
        iptables = _WatchedIptables(self.variant, stages)
        render = watched_templates(stages)
        if self.variant is Variant.LEGACY:
            rules: KernelChains = LegacyChains(Family.IPV4)
            return IptablesProxy(iptables, rules, render), lambda: None
        record = Record(state / "iptables-nft.sqlite")
        return IptablesProxy(iptables, NftChains(Family.IPV4, record), render), record.close

    def baselines(self, size: Size) -> IptablesBaselines:
        return IptablesBaselines(self.variant, size, self.circumstances)

    def watch_kernel(self) -> Callable[[], bool] | None:
        if self.variant is Variant.LEGACY:
            return None
        return changed_from_now_on()
