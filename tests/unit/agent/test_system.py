"""How many connections the kernel is to track."""

import pytest

from kproxy.agent.system import conntrack_limit
from kproxy.configuration.schema import Conntrack


@pytest.mark.parametrize(
    ("max_per_core", "least", "cores", "expected"),
    [
        (32768, 131072, 2, 131072),
        (32768, 131072, 8, 262144),
        (32768, 131072, 64, 1 << 20),
        (32768, 2_000_000, 8, 2_000_000),
        (32768, 2_000_000, 64, 1 << 20),
        (0, 131072, 8, 0),
        (32768, 0, 1, 32768),
    ],
)
def test_limit_is_scaled_by_cores_between_its_bounds(
    max_per_core: int, least: int, cores: int, expected: int
) -> None:
    assert expected == conntrack_limit(Conntrack(max_per_core=max_per_core, min=least), cores)
