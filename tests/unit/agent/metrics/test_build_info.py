"""The series that say which program this is."""

import re

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from kproxy.agent.metrics.build_info import About

OF_A_GATE = 'kubernetes_feature_enabled{name="AllowServiceExternalIPs",stage="DEPRECATED"}'


def exported(gates: dict[str, bool]) -> list[str]:
    registry = CollectorRegistry()
    registry.register(About(gates))
    return generate_latest(registry).decode().splitlines()


@pytest.mark.parametrize(
    ("gates", "value"),
    [({}, 1.0), ({"AllowServiceExternalIPs": False}, 0.0), ({"AllowServiceExternalIPs": True}, 1.0)],
)
def test_gate_that_acts_here_is_told_with_its_stage(gates: dict[str, bool], value: float) -> None:
    assert f"{OF_A_GATE} {value}" in exported(gates)


@pytest.mark.parametrize(("gates", "value"), [({}, 1.0), ({"WatchListClient": False}, 0.0)])
def test_gate_of_client_go_is_told_with_its_stage(gates: dict[str, bool], value: float) -> None:
    assert f'kubernetes_feature_enabled{{name="WatchListClient",stage="BETA"}} {value}' in exported(gates)


def test_gate_that_does_nothing_here_has_no_series() -> None:
    assert [] == [line for line in exported({"Other": True}) if "Other" in line]


def test_build_has_the_version_that_is_kept_before_ours() -> None:
    """The mixin's alert for components of different versions reads the first two numbers."""
    (line,) = [line for line in exported({}) if line.startswith("kubernetes_build_info{")]
    labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
    assert re.fullmatch(r"v1\.36\.0\+kproxy\.[0-9A-Za-z.-]+", labels["git_version"])
    assert ("1", "36") == (labels["major"], labels["minor"])
    assert re.fullmatch(r"linux/[a-z0-9]+", labels["platform"])
    assert line.endswith("} 1.0")
