"""nftables mode: kproxy with nft and the templates under a stopwatch."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cluster import CIDR, Size, node_view
from benchmarks.ground import changed_from_now_on
from benchmarks.nftables_baselines import NftablesBaselines
from benchmarks.stages import RESTORE, WAIT, Stages, watched_templates
from kproxy.agent.nftables_proxy import NftablesProxy
from kproxy.kernel.programs.nft import NftTable
from kproxy.model.settings import Settings
from kproxy.observed.nftables import Commits
from kproxy.ruleset.inputs import Circumstances
from kproxy.transaction.nftables.run import Run
from kproxy.values import Family, Network


class _WatchedTable(NftTable):
    def __init__(self, stages: Stages) -> None:
        super().__init__(Family.IPV4)
        self._stages = stages

    def apply(self, run: Run) -> None:
        self._stages.hands_over(lambda: len(run.text))
        with self._stages.timed(RESTORE):
            super().apply(run)

    def let_packets_pass(self) -> None:
        with self._stages.timed(WAIT):
            super().let_packets_pass()


@dataclass(frozen=True, slots=True)
class NftablesSubject:
    mode = "nftables"
    name = "nftables"
    starts_afresh = True
    shares_by_count = True

    @property
    def circumstances(self) -> Circumstances:
        settings = Settings(
            is_nftables=True,
            cluster_cidrs=(Network(CIDR),),
            node_port_primary=True,
            localhost_node_ports=False,
        )
        return Circumstances(node_view(settings), settings)

    @property
    def agent_flags(self) -> list[str]:
        return ["--proxy-mode", self.mode]

    def proxy(self, state: Path, stages: Stages) -> tuple[NftablesProxy, Callable[[], None]]:  # noqa: ARG002
        """A proxy; it keeps nothing in the directory, and has nothing to close."""
        return NftablesProxy(_WatchedTable(stages), watched_templates(stages), Commits()), lambda: None

    def baselines(self, size: Size) -> NftablesBaselines:
        return NftablesBaselines(size, self.circumstances)

    def watch_kernel(self) -> Callable[[], bool]:
        return changed_from_now_on()
