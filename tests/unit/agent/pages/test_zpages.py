"""The pages /statusz and /flagz: text for people, an object for tools, as the Accept header asks."""

import json
from collections.abc import Mapping
from http import HTTPStatus

import pytest

from kproxy.agent.http.page import JSON, TEXT, Page
from kproxy.agent.pages.metrics_pages import metrics_pages
from kproxy.configuration import Configuration
from kproxy.configuration.flags import configuration_to_flags
from kproxy.configuration.schema import ClientConnection

ASKED = "application/json;v={version};g=config.k8s.io;as={kind}"
STATUSZ = ASKED.format(version="v1beta1", kind="Statusz")


def page(path: str, accept: str, configuration: Configuration = Configuration()) -> Page:  # noqa: B008 # it is frozen
    answered = metrics_pages(
        configuration, configuration_to_flags(configuration), lambda: Page(""), lambda: Page("")
    )(path)
    assert answered is not None
    return answered if isinstance(answered, Page) else answered(accept)


def content(path: str, accept: str) -> Mapping[str, object]:
    answered = page(path, accept)
    assert (HTTPStatus.OK, JSON) == (answered.status, answered.content_type)
    found: Mapping[str, object] = json.loads(answered.body)
    return found


@pytest.mark.parametrize("version", ["v1beta1", "v1alpha1"])
def test_status_that_a_tool_asks_for_is_an_object_of_that_version(version: str) -> None:
    found = content("/statusz", ASKED.format(version=version, kind="Statusz"))
    assert ["kind", "apiVersion", "metadata", "startTime", "uptimeSeconds", "binaryVersion", "emulationVersion", "paths"] == list(found)  # fmt: skip
    assert ("Statusz", f"config.k8s.io/{version}", {"name": "kproxy"}) == tuple(
        found[name] for name in ("kind", "apiVersion", "metadata")
    )
    assert ("1.36", 0) == (found["emulationVersion"], found["uptimeSeconds"])
    assert {"/configz", "/flagz", "/healthz", "/metrics", "/proxyMode"} <= set(found["paths"])  # type: ignore[call-overload]


def test_flags_that_a_tool_asks_for_are_an_object() -> None:
    found = content("/flagz", ASKED.format(version="v1beta1", kind="Flagz"))
    flags = found["flags"]
    assert isinstance(flags, dict)
    assert ("Flagz", "30s", "5") == (found["kind"], flags["iptables-sync-period"], flags["kube-api-qps"])
    assert {str} == {type(value) for value in flags.values()}


def test_flag_with_a_line_end_in_its_value_adds_no_line_to_the_text() -> None:
    connection = ClientConnection(kubeconfig="/etc/a\nproxy-mode=forged\x1b[2J")
    text = page("/flagz", "", Configuration(client_connection=connection)).body
    assert "kubeconfig='/etc/a\\nproxy-mode=forged\\x1b[2J'\n" in text
    assert 1 == len([line for line in text.splitlines() if line.startswith("proxy-mode=")])


@pytest.mark.parametrize(
    "accept",
    [
        *("", "  ", "*/*", "text/*", "text/plain", "text/plain;charset=utf-8", "text/html, */*;q=0.8"),
        "application/json;v=foo;g=config.k8s.io;as=Statusz,*/*",
        f"text/plain,{STATUSZ}",
        f"{STATUSZ};q=0.5,text/plain",
        f"{STATUSZ};q=0,text/plain;q=0.1",
    ],
)
def test_page_is_text_where_nothing_else_is_asked_for_first(accept: str) -> None:
    answered = page("/statusz", accept)
    assert (HTTPStatus.OK, TEXT) == (answered.status, answered.content_type)
    assert "Emulation version: 1.36\n" in answered.body


@pytest.mark.parametrize("accept", [f"{STATUSZ},text/plain", f"text/plain;q=0.5, {STATUSZ}"])
def test_page_is_an_object_where_that_is_asked_for_first(accept: str) -> None:
    assert "Statusz" == content("/statusz", accept)["kind"]


@pytest.mark.parametrize(
    "accept",
    [
        *("application/json", "application/*", "application/xml", "a", ";", ",", "text/plain;q=0"),
        "application/json;v=v1beta1;g=config.k8s.io",
        "application/json;v=v1beta1;as=Statusz",
        "application/json;v=v2;g=config.k8s.io;as=Statusz",
        ASKED.format(version="v1beta1", kind="Flagz"),
        f"text/plain;{STATUSZ.partition(';')[2]}",
    ],
)
def test_form_that_the_page_has_not_is_406_with_the_forms_that_it_has(accept: str) -> None:
    answered = page("/statusz", accept)
    assert (HTTPStatus.NOT_ACCEPTABLE, JSON) == (answered.status, answered.content_type)
    status = json.loads(answered.body)
    assert ("Status", 406, "NotAcceptable") == (status["kind"], status["code"], status["reason"])
    assert "application/json;g=config.k8s.io;v=v1beta1;as=Statusz" in status["message"]
