"""The reason for each endpoint of a Service, one row a reason."""

from collections.abc import Sequence
from typing import Any

import pytest

from facts import NODE, a_service, a_slice, a_view, an_endpoint
from kproxy.errors import InvalidField
from kproxy.model.bounds import MOST_FRONTENDS
from kproxy.model.endpoint_reasons import EndpointReasons, endpoint_reasons
from kproxy.model.reasons import Reason
from kproxy.state.objects import EndpointPort, EndpointSlice, Service, ServicePort
from kproxy.values import Address, Family, Protocol

HERE, ELSEWHERE, FAR = "10.128.1.5", "10.128.2.6", "10.128.3.7"
LEAVING: dict[str, Any] = {"ready": False, "serving": True, "terminating": True}
GONE: dict[str, Any] = {"ready": False, "serving": False, "terminating": True}
STARTING: dict[str, Any] = {"ready": False, "serving": True, "terminating": False}
BOTH_POLICIES = a_service(external_policy_local=True, external_ips=(Address("192.0.2.9"),))


def reasons(service: Service, *slices: EndpointSlice) -> Sequence[EndpointReasons]:
    (found,) = endpoint_reasons(service, slices, a_view()).values()
    return found


@pytest.mark.parametrize(
    ("endpoint", "other", "cluster", "local"),
    [
        pytest.param({}, {}, Reason.READY, Reason.READY, id="ready"),
        pytest.param({"ready": True, "terminating": True}, {}, Reason.READY, Reason.READY, id="published anyway"),
        pytest.param(STARTING, {}, Reason.NOT_READY, Reason.NOT_READY, id="not ready"),
        pytest.param(STARTING, GONE, Reason.NOT_READY, Reason.NOT_READY, id="not ready, and nobody else is"),
        pytest.param(GONE, {}, Reason.TERMINATING, Reason.TERMINATING, id="terminating"),
        pytest.param(GONE, LEAVING, Reason.TERMINATING, Reason.TERMINATING, id="terminating, and nobody is ready"),
        pytest.param(LEAVING, {}, Reason.TERMINATING_AND_REPLACEABLE, Reason.TERMINATING_BUT_NEEDED, id="each policy on its own"),
        pytest.param(LEAVING, {"node": NODE}, Reason.TERMINATING_AND_REPLACEABLE, Reason.TERMINATING_AND_REPLACEABLE, id="another one here is ready"),
        pytest.param(LEAVING, STARTING, Reason.TERMINATING_BUT_NEEDED, Reason.TERMINATING_BUT_NEEDED, id="no other one is ready"),
        pytest.param({"node": "node-2"}, {}, Reason.READY, Reason.NOT_ON_THIS_NODE, id="elsewhere"),
        pytest.param({"node": ""}, {}, Reason.READY, Reason.NOT_ON_THIS_NODE, id="on no known node"),
        pytest.param({"node_hints": (NODE,)}, {"node_hints": ("node-2",)}, Reason.HINTED_FOR_NODE, Reason.READY, id="hinted for this node"),
        pytest.param({"node_hints": ("node-2",)}, {"node_hints": (NODE,)}, Reason.HINTED_FOR_OTHER_NODE, Reason.READY, id="hinted for another node"),
        pytest.param({"zone_hints": ("zone-a",)}, {"zone_hints": ("zone-b",)}, Reason.HINTED_FOR_ZONE, Reason.READY, id="hinted for this zone"),
        pytest.param({"zone_hints": ("zone-b",)}, {"zone_hints": ("zone-a",)}, Reason.HINTED_FOR_OTHER_ZONE, Reason.READY, id="hinted for another zone"),
        pytest.param({"zone_hints": ("zone-b",)}, {}, Reason.READY, Reason.READY, id="hints that are not followed"),
        pytest.param({"zone_hints": ("zone-b",), **LEAVING}, {"zone_hints": ("zone-a",)}, Reason.TERMINATING_AND_REPLACEABLE, Reason.TERMINATING_BUT_NEEDED, id="hints say nothing of those not ready"),
    ],
)  # fmt: skip
def test_endpoint_beside_another_one_has_its_reason_for_each_policy(
    endpoint: dict[str, Any], other: dict[str, Any], cluster: Reason, local: Reason
) -> None:
    piece = a_slice(
        an_endpoint(HERE, **{"node": NODE, **endpoint}),
        an_endpoint(ELSEWHERE, **{"node": "node-2", **other}),
    )
    first, _ = reasons(BOTH_POLICIES, piece)
    assert (cluster, local) == (first.cluster, first.local)


def test_endpoint_that_is_listed_twice_is_a_duplicate_where_the_other_copy_counts() -> None:
    first, last = reasons(
        BOTH_POLICIES,
        a_slice(an_endpoint(HERE, NODE), name="web-a"),
        a_slice(an_endpoint(HERE, "node-2"), name="web-b"),
    )
    assert ("web-a", Reason.DUPLICATE, Reason.DUPLICATE) == (first.slice.name, first.cluster, first.local)
    assert ("web-b", Reason.READY, Reason.NOT_ON_THIS_NODE) == (last.slice.name, last.cluster, last.local)


@pytest.mark.parametrize(
    ("piece", "reason"),
    [
        pytest.param(a_slice(an_endpoint("fd00::5")), Reason.OTHER_FAMILY, id="other family"),
        pytest.param(
            a_slice(an_endpoint(FAR), opt_out_label="service.kubernetes.io/headless"),
            Reason.SLICE_OPTED_OUT,
            id="another proxy",
        ),
        pytest.param(
            a_slice(an_endpoint(FAR), ports=(EndpointPort("other", Protocol.TCP, 8080),)),
            Reason.PORT_NOT_LISTED,
            id="another port name",
        ),
        pytest.param(
            a_slice(an_endpoint(FAR), ports=(EndpointPort("", Protocol.UDP, 8080),)),
            Reason.PORT_NOT_LISTED,
            id="another protocol",
        ),
    ],
)
def test_endpoints_of_a_slice_that_does_not_serve_the_port_are_told_with_port_0(
    piece: EndpointSlice, reason: Reason
) -> None:
    (found,) = reasons(a_service(), piece)
    assert (0, reason, reason, reason) == (found.port, found.cluster, found.local, found.reachable)


def test_endpoint_of_a_slice_with_two_ports_for_the_service_port_has_a_reason_at_each() -> None:
    ports = (EndpointPort("", Protocol.TCP, 8080), EndpointPort("", Protocol.TCP, 9090))
    found = reasons(a_service(), a_slice(an_endpoint(HERE), ports=ports))
    assert [(8080, Reason.READY), (9090, Reason.READY)] == [(each.port, each.cluster) for each in found]


@pytest.mark.parametrize(
    ("service", "cluster", "local", "reachable"),
    [
        pytest.param(a_service(), Reason.READY, Reason.POLICY_NOT_FOLLOWED, Reason.READY, id="Cluster"),
        pytest.param(
            a_service(internal_policy_local=True),
            Reason.POLICY_NOT_FOLLOWED,
            Reason.NOT_ON_THIS_NODE,
            Reason.NOT_ON_THIS_NODE,
            id="internal Local, and nothing external",
        ),
        pytest.param(
            a_service(external_policy_local=True),
            Reason.READY,
            Reason.POLICY_NOT_FOLLOWED,
            Reason.READY,
            id="external Local without an external address",
        ),
        pytest.param(BOTH_POLICIES, Reason.READY, Reason.NOT_ON_THIS_NODE, Reason.READY, id="external Local"),
    ],
)
def test_policy_that_no_traffic_follows_is_told(
    service: Service, cluster: Reason, local: Reason, reachable: Reason
) -> None:
    (found,) = reasons(service, a_slice(an_endpoint(ELSEWHERE, "node-2")))
    assert (cluster, local, reachable) == (found.cluster, found.local, found.reachable)


def test_reachable_endpoint_that_only_policy_local_uses_has_the_reason_of_that_policy() -> None:
    far, near = reasons(
        BOTH_POLICIES,
        a_slice(
            an_endpoint(HERE, NODE, zone_hints=("zone-b",)),
            an_endpoint(ELSEWHERE, "node-2", zone_hints=("zone-a",)),
        ),
    )
    assert (Reason.HINTED_FOR_OTHER_ZONE, Reason.READY, Reason.READY) == (
        far.cluster,
        far.local,
        far.reachable,
    )
    assert (Reason.HINTED_FOR_ZONE, Reason.HINTED_FOR_ZONE) == (near.cluster, near.reachable)


def test_endpoint_that_no_policy_uses_has_the_reason_of_policy_cluster() -> None:
    (found,) = reasons(BOTH_POLICIES, a_slice(an_endpoint(ELSEWHERE, "node-2", **GONE)))
    assert (Reason.NOT_ON_THIS_NODE, Reason.TERMINATING) == (found.local, found.reachable)


def test_service_port_without_slices_has_no_reasons() -> None:
    assert () == reasons(a_service())


@pytest.mark.parametrize(
    "service",
    [
        a_service(cluster_ips=(Address("fd00:10:96::10"),)),
        a_service(opt_out_label="service.kubernetes.io/service-proxy-name"),
    ],
    ids=["other family", "another proxy"],
)
def test_service_without_a_plan_has_no_reasons(service: Service) -> None:
    assert {} == endpoint_reasons(service, [a_slice(an_endpoint(HERE))], a_view(Family.IPV4))


def test_service_beyond_its_bounds_is_refused_as_its_plan_is() -> None:
    ports = tuple(
        ServicePort(f"port-{number}", Protocol.TCP, 1 + number) for number in range(MOST_FRONTENDS + 1)
    )
    with pytest.raises(InvalidField):
        endpoint_reasons(a_service(ports=ports), [], a_view())


def test_each_reason_has_a_sentence_of_its_own() -> None:
    assert len(Reason) == len({reason.sentence for reason in Reason})
    assert {Reason.READY, Reason.HINTED_FOR_NODE, Reason.HINTED_FOR_ZONE, Reason.TERMINATING_BUT_NEEDED} == {
        reason for reason in Reason if reason.is_used
    }
