"""The agent's log of Services of which nothing comes: once for each reason, and bounded."""

import logging

import pytest

from kproxy.agent.observers.silent_services import SilentServices
from kproxy.state.events import Changed, Deleted
from kproxy.state.objects import Kind, Service, ServicePort, ServiceType
from kproxy.state.store import Store
from kproxy.values import Address, NamespacedName, Protocol

KEY = NamespacedName("default", "web")
PORTS = (ServicePort("", Protocol.TCP, 80),)
HEADLESS = Service(key=KEY, ports=PORTS)
EXTERNAL = Service(key=KEY, type=ServiceType.EXTERNAL_NAME)
NO_SLICE = Service(key=KEY, ports=PORTS, cluster_ips=(Address("10.96.0.10"),))


class Agent:
    """As much of one as the observer sees."""

    def __init__(self, level: int = logging.INFO) -> None:
        self.store = Store()
        self.observer = SilentServices(level)

    def sync(self, *services: Service) -> None:
        for service in services:
            self.store.apply(Changed(service))
        self.observer.synced(self.store, self.store.take_dirty(), {})


@pytest.fixture(autouse=True)
def _all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


def test_silent_service_is_told_once_for_each_reason(caplog: pytest.LogCaptureFixture) -> None:
    agent = Agent()
    agent.sync(HEADLESS)
    agent.sync()
    agent.sync(Service(key=KEY, ports=PORTS, resource_version="2"))
    assert ["headless" in message for message in caplog.messages] == [True]
    agent.sync(EXTERNAL)
    agent.sync(NO_SLICE)
    assert ["headless", "ExternalName", "no EndpointSlice"] == [
        word
        for message in caplog.messages
        for word in ("headless", "ExternalName", "no EndpointSlice")
        if word in message
    ]


def test_reason_that_went_and_came_again_is_told_again(caplog: pytest.LogCaptureFixture) -> None:
    agent = Agent()
    for _ in range(2):
        agent.sync(HEADLESS)
        agent.store.apply(Deleted(Kind.SERVICE, KEY))
        agent.sync()
    assert 2 == len(caplog.messages)


def test_thousands_of_silent_services_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    Agent().sync(*(Service(key=NamespacedName("default", f"web-{at}"), ports=PORTS) for at in range(5000)))
    assert 21 == len(caplog.messages)
    assert "4980 more Services or slices like these; `kproxy render` tells of each" == caplog.messages[-1]


def test_lines_have_the_level_that_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    Agent(logging.DEBUG).sync(HEADLESS)
    assert [logging.DEBUG] == [record.levelno for record in caplog.records]
