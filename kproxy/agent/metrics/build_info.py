"""Series that say which program this is, and which of its features are on: those of all Kubernetes components."""

import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kproxy.configuration.units import EXTERNAL_IPS_GATE, WATCH_LIST_GATE

EMULATED = "1.36"
"""The version of kube-proxy whose behaviour kproxy has."""

_GATES = {EXTERNAL_IPS_GATE: ("DEPRECATED", True), WATCH_LIST_GATE: ("BETA", True)}
"""The feature gates with an effect in kproxy: the stage of each in kube-proxy, and whether it is on by default."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm"}
"""Go's names of architectures, where they differ from those of `uname`."""


def own_version() -> str:
    return version("kproxy")


class About(Collector):
    """`gates` are the feature gates that the configuration or the environment sets."""

    def __init__(self, gates: Mapping[str, bool]) -> None:
        self._gates = gates

    def collect(self) -> Iterator[Metric]:
        labels = _build()
        build = GaugeMetricFamily("kubernetes_build_info", "Which program this is", labels=tuple(labels))
        build.add_metric(tuple(labels.values()), 1)
        yield build
        enabled = GaugeMetricFamily(
            "kubernetes_feature_enabled",
            "Whether a feature gate that changes something here is on",
            labels=("name", "stage"),
        )
        for gate, (stage, default) in _GATES.items():
            enabled.add_metric((gate, stage), self._gates.get(gate, default))
        yield enabled


def _build() -> Mapping[str, str]:
    """kube-proxy's labels. The labels of a Go build are empty: to Prometheus an empty label is no label.

    Alerts compare the first two numbers of `git_version` with those of the other components. For this reason it begins
    with the version of kube-proxy, and has kproxy's own version as build metadata (semver.org).
    """
    major, minor = EMULATED.split(".")
    return {
        "build_date": "",
        "compiler": platform.python_implementation().lower(),
        "git_commit": "",
        "git_tree_state": "",
        "git_version": f"v{EMULATED}.0+kproxy.{own_version().replace('+', '.')}",
        "go_version": "",
        "major": major,
        "minor": minor,
        "platform": f"linux/{_ARCHITECTURES.get(platform.machine(), platform.machine())}",
    }
