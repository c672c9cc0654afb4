"""A refused object leaves no garbage: Python need not search for cycles among a cluster's objects."""

import gc
import json
from types import FrameType
from typing import Any

import pytest

from kproxy.errors import InvalidField
from kproxy.state.decode import decode
from kproxy.state.objects import Kind

BAD: list[dict[str, Any]] = [
    {"ports": "http"},
    {"ports": [{"port": 70_000}]},
    {"ports": [{"port": 80, "nodePort": 70_000}]},
    {"clusterIPs": ["x", "y"]},
    {"type": "Odd", "sessionAffinity": "Odd", "internalTrafficPolicy": "Odd"},
    {"externalIPs": ["x"], "loadBalancerSourceRanges": ["x"], "healthCheckNodePort": 70_000},
]


@pytest.mark.parametrize("spec", BAD, ids=json.dumps)
def test_bad_service_leaves_no_cycle_of_references(spec: dict[str, Any]) -> None:
    metadata = {"name": "web", "namespace": "default"}
    raw = json.dumps({"metadata": metadata, "spec": {"clusterIP": "10.96.0.10", **spec}}).encode()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        flaws: list[InvalidField] = []
        try:
            decode(Kind.SERVICE, raw, flaws=flaws)
        except InvalidField:
            pass
        else:
            assert flaws
        del flaws
        gc.collect()
        assert [] == [each for each in gc.garbage if _is_ours(each)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def _is_ours(thing: object) -> bool:
    """Whether the garbage is from this test: threads of other tests may leave garbage at any moment."""
    if isinstance(thing, FrameType):
        return str(thing.f_globals.get("__name__")).startswith("kproxy.state")
    return type(thing).__module__.startswith(("kproxy.state", "kproxy.errors"))
