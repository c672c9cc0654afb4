"""An hour of changes in some seconds; `scripts/endure` takes more."""

import pytest

from endurance.run import endure
from kproxy.kernel.programs.iptables import Variant
from seeds import DRAWN_SEED

pytestmark = [pytest.mark.netns, pytest.mark.long]

CHANGES = 200
CHANGES_PER_S = 80.0


@pytest.mark.parametrize("variant", [Variant.NFT, None], ids=["iptables", "nftables"])
def test_agent_keeps_up_and_keeps_nothing(variant: Variant | None) -> None:
    print(f"scripts/endure --seed {DRAWN_SEED} --changes {CHANGES} --changes-per-s {CHANGES_PER_S:g}")  # noqa: T201 # how to repeat it
    figures = endure(variant, DRAWN_SEED, CHANGES, CHANGES_PER_S)
    assert [] == figures.broken
    assert figures.tally["changes"] == CHANGES
