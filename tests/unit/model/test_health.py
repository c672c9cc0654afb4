from facts import NODE, WEB, a_service, a_slice, an_endpoint
from kproxy.model.health import HealthCheck, health_check


def test_health_check_counts_local_ready_addresses_once_each() -> None:
    slices = [
        a_slice(an_endpoint("10.128.1.1"), an_endpoint("10.128.1.2", ready=False)),
        a_slice(an_endpoint("10.128.1.1"), an_endpoint("10.128.2.1", "node-2"), name="web-b"),
        a_slice(an_endpoint("fd00:10:128:1::1"), name="web-c"),
    ]
    expected = HealthCheck(WEB, 30999, 2)
    assert expected == health_check(a_service(health_check_node_port=30999), slices, NODE)


def test_service_without_a_health_check_node_port_has_no_health_check() -> None:
    assert health_check(a_service(), [a_slice(an_endpoint("10.128.1.1"))], NODE) is None


def test_service_of_another_proxy_has_no_health_check_here() -> None:
    other = a_service(health_check_node_port=30999, opt_out_label="service.kubernetes.io/service-proxy-name")
    assert health_check(other, [a_slice(an_endpoint("10.128.1.1"))], NODE) is None
