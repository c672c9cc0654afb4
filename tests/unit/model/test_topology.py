"""Readiness, hints and fallbacks: one row a rule of `usable_backends`."""

from typing import Any

import pytest

from facts import NODE, a_slice, an_endpoint, targets
from kproxy.model.endpoints import backends_by_port
from kproxy.model.topology import UsableBackends, usable_backends
from kproxy.state.objects import Endpoint
from kproxy.values import Family, NamespacedName, Protocol, ServicePortName

A, B, C = "10.128.1.1", "10.128.2.2", "10.128.3.3"
WEB = ServicePortName(NamespacedName("default", "web"), "", Protocol.TCP)
READY = {"ready": True, "serving": True, "terminating": False}
LEAVING: dict[str, Any] = {"ready": False, "serving": True, "terminating": True}
GONE = {"ready": False, "serving": False, "terminating": True}
NOT_READY = {"ready": False, "serving": False, "terminating": False}


def usable(
    *endpoints: Endpoint, cluster: bool = True, local: bool = True, zone: str = "zone-a"
) -> UsableBackends:
    backends = backends_by_port(WEB.service, [a_slice(*endpoints)], NODE, Family.IPV4).get(WEB, ())
    return usable_backends(backends, uses_cluster=cluster, uses_local=local, node=NODE, zone=zone)


def at(address: str, node: str, **fields: object) -> Endpoint:
    return an_endpoint(address, node, **fields)


@pytest.mark.parametrize(
    ("endpoints", "cluster", "local", "anywhere"),
    [
        pytest.param([], [], [], False, id="none"),
        pytest.param([at(A, NODE, **NOT_READY)], [], [], False, id="not ready"),
        pytest.param([at(A, NODE, **READY), at(B, "node-2", **READY)], [A, B], [A], True, id="ready"),
        pytest.param(
            [at(A, NODE, **READY), at(B, "node-2", **LEAVING)],
            [A],
            [A],
            True,
            id="leaving is not used while one is ready",
        ),
        pytest.param(
            [at(A, NODE, **LEAVING), at(B, "node-2", **LEAVING)], [A, B], [A], True, id="all leaving"
        ),
        pytest.param(
            [at(A, NODE, **LEAVING), at(B, "node-2", **READY)],
            [B],
            [A],
            True,
            id="each policy falls back on its own",
        ),
        pytest.param([at(A, NODE, **GONE)], [], [], False, id="terminating and not serving"),
        pytest.param([at(A, "node-2", **READY)], [A], [], True, id="remote only"),
        pytest.param([at(A, "", **READY)], [A], [], True, id="without a node is not local"),
    ],
)
def test_usable_backends_follow_readiness_and_policy(
    endpoints: list[Endpoint], cluster: list[str], local: list[str], anywhere: bool
) -> None:
    found = usable(*endpoints)
    assert [f"{a}:8080" for a in cluster] == targets(found.cluster)
    assert [f"{a}:8080" for a in local] == targets(found.local)
    assert anywhere == found.exist_anywhere


def hinted(
    address: str, zones: tuple[str, ...] = (), nodes: tuple[str, ...] = (), **conditions: bool
) -> Endpoint:
    return an_endpoint(address, "node-9", zone_hints=zones, node_hints=nodes, **conditions)


@pytest.mark.parametrize(
    ("endpoints", "zone", "cluster"),
    [
        pytest.param([hinted(A, ("zone-a",)), hinted(B, ("zone-b",))], "zone-a", [A], id="zone"),
        pytest.param([hinted(A, ("zone-a",)), hinted(B)], "zone-a", [A, B], id="one without a hint: all"),
        pytest.param(
            [hinted(A, ("zone-b",)), hinted(B, ("zone-c",))], "zone-a", [A, B], id="none for us: all"
        ),
        pytest.param(
            [hinted(A, ("zone-a",)), hinted(B, ("zone-b",))], "", [A, B], id="node without a zone: all"
        ),
        pytest.param(
            [hinted(A, ("zone-b",), (NODE,)), hinted(B, ("zone-a",), ("node-2",))],
            "zone-a",
            [A],
            id="node before zone",
        ),
        pytest.param(
            [hinted(A, ("zone-b",), ("node-3",)), hinted(B, ("zone-a",), ("node-2",))],
            "zone-a",
            [B],
            id="no node hint for us: zone",
        ),
        pytest.param(
            [hinted(A, ("zone-a",), (NODE,)), hinted(B, ("zone-b",))],
            "zone-a",
            [A],
            id="node hints incomplete: zone",
        ),
        pytest.param(
            [hinted(A, ("zone-a",)), hinted(B, ("zone-b",)), hinted(C, ready=False)],
            "zone-a",
            [A],
            id="hints of those not ready do not count",
        ),
        pytest.param(
            [hinted(A, ("zone-a",), **LEAVING), hinted(B, ("zone-b",), **LEAVING)],
            "zone-a",
            [A, B],
            id="the serving-terminating fallback takes no hints",
        ),
    ],
)
def test_cluster_backends_follow_hints_where_they_are_complete(
    endpoints: list[Endpoint], zone: str, cluster: list[str]
) -> None:
    assert [f"{a}:8080" for a in cluster] == targets(usable(*endpoints, zone=zone).cluster)


def test_reachable_holds_local_backends_that_hints_exclude() -> None:
    far = an_endpoint(A, "node-2", zone_hints=("zone-a",))
    own = an_endpoint(B, NODE, zone_hints=("zone-b",))
    found = usable(far, own)
    assert [f"{A}:8080"] == targets(found.cluster)
    assert [f"{B}:8080"] == targets(found.local)
    assert [f"{A}:8080", f"{B}:8080"] == targets(found.reachable)


def test_policies_not_used_have_no_backends_but_know_of_them() -> None:
    found = usable(at(A, "node-2", **READY), cluster=False)
    assert () == found.cluster == found.local == found.reachable
    assert found.exist_anywhere


def test_endpoint_elsewhere_that_serves_but_is_neither_ready_nor_leaving_serves_no_policy() -> None:
    starting = {"ready": False, "serving": True, "terminating": False}
    assert not usable(at(B, "node-2", **starting), cluster=False).exist_anywhere
    assert usable(at(B, "node-2", **LEAVING), cluster=False).exist_anywhere
