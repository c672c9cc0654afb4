"""Whatever text the API holds, a rule says only what a template meant it to say."""

import json
import re
import shlex
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from facts import CLUSTER_CIDRS, a_view
from kproxy.errors import InputError
from kproxy.model.settings import Settings
from kproxy.render.templates import rule_templates
from kproxy.ruleset.inputs import Circumstances
from kproxy.ruleset.iptables.desired import DesiredRuleset
from kproxy.state.decode import decode
from kproxy.state.events import Changed
from kproxy.state.objects import Kind
from kproxy.state.store import Store
from kproxy.values import Family

RENDER = rule_templates()
SETTINGS = Settings(cluster_cidrs=CLUSTER_CIDRS, accounting=True)

OPTIONS = {
    *("-A", "-s", "-d", "-p", "-m", "-j", "-i", "--dport", "--comment", "--mode", "--probability"),
    *(
        "--set-xmark",
        "--mark",
        "--random-fully",
        "--to-destination",
        "--reject-with",
        "--dst-type",
        "--src-type",
    ),
    *(
        "--ctstate",
        "--nfacct-name",
        "--rcheck",
        "--set",
        "--seconds",
        "--reap",
        "--name",
        "--mask",
        "--rsource",
    ),
}
VALUE = re.compile(r"[A-Za-z0-9_.:/,\[\]+!-]+")
COMMENT = re.compile(r"[A-Za-z0-9 ;.:/\[\]>-]*")

HOSTILE = st.one_of(
    st.text(),
    st.sampled_from(
        ['"', "\n", "web\n-A INPUT -j ACCEPT", 'web" -j ACCEPT #', "-j", "--to-destination", "web ", " web"]
    ),
    st.sampled_from(
        ["10.0.0.1 -j ACCEPT", "10.0.0.1\n", "10.0.0.0/8 -j DROP", "::1%eth0\n", "{{ 7 * 7 }}", "{% raw %}"]
    ),
)


def hostile_or(plain: str) -> st.SearchStrategy[str]:
    """Mostly plain, so that an object often passes and its one odd field reaches a rule."""
    return st.one_of(st.just(plain), st.just(plain), st.just(plain), HOSTILE)


@st.composite
def services(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "metadata": {"name": draw(hostile_or("web")), "namespace": draw(hostile_or("default"))},
        "spec": {
            "type": draw(hostile_or("LoadBalancer")),
            "clusterIPs": [draw(hostile_or("10.96.0.10")), draw(hostile_or("fd00:10:96::10"))],
            "externalIPs": [draw(hostile_or("203.0.113.5"))],
            "ports": [
                {
                    "name": draw(hostile_or("http")),
                    "protocol": draw(hostile_or("TCP")),
                    "port": draw(st.integers(-1, 70000)),
                    "nodePort": draw(st.integers(-1, 70000)),
                }
            ],
            "loadBalancerSourceRanges": [draw(hostile_or(" 198.51.100.0/24 "))],
            "externalTrafficPolicy": draw(hostile_or("Local")),
            "sessionAffinity": draw(hostile_or("ClientIP")),
            "healthCheckNodePort": draw(st.integers(0, 70000)),
        },
        "status": {"loadBalancer": {"ingress": [{"ip": draw(hostile_or("192.0.2.10"))}]}},
    }


@st.composite
def slices(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "metadata": {
            "name": draw(hostile_or("web-a")),
            "namespace": draw(hostile_or("default")),
            "labels": {"kubernetes.io/service-name": draw(hostile_or("web"))},
        },
        "addressType": draw(hostile_or("IPv4")),
        "ports": [{"name": draw(hostile_or("http")), "protocol": "TCP", "port": draw(st.integers(0, 70000))}],
        "endpoints": [
            {"addresses": [draw(hostile_or("10.128.1.5"))], "nodeName": draw(hostile_or("node-1"))},
            {"addresses": [draw(hostile_or("10.128.2.6"))]},
        ],
    }


PLAIN_SERVICE = {
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {
        "type": "LoadBalancer",
        "clusterIPs": ["10.96.0.10", "fd00:10:96::10"],
        "externalIPs": ["203.0.113.5"],
        "ports": [{"name": "http", "port": 80, "nodePort": 30080}],
        "loadBalancerSourceRanges": [" 198.51.100.0/24 "],
        "externalTrafficPolicy": "Local",
        "sessionAffinity": "ClientIP",
    },
    "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}]}},
}
PLAIN_SLICE = {
    "metadata": {"name": "web-a", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
    "addressType": "IPv4",
    "ports": [{"name": "http", "port": 8080}],
    "endpoints": [{"addresses": ["10.128.1.5"], "nodeName": "node-1"}, {"addresses": ["10.128.2.6"]}],
}


@given(service=services(), piece=slices())
@example(service=PLAIN_SERVICE, piece=PLAIN_SLICE)
def test_no_text_of_an_object_becomes_more_than_one_value_of_a_rule(
    service: dict[str, Any], piece: dict[str, Any]
) -> None:
    store = Store()
    for kind, data in ((Kind.SERVICE, service), (Kind.ENDPOINT_SLICE, piece)):
        try:
            store.apply(Changed(decode(kind, json.dumps(data).encode())))
        except InputError:
            continue
    for family in Family:
        desired = DesiredRuleset(RENDER)
        desired.update(store, store.services, Circumstances(a_view(family), SETTINGS))
        for chain, rules in desired.chains.items():
            assert "" == rules or rules.endswith("\n")
            for rule in rules.splitlines():
                assert rule.startswith(f"-A {chain.name} ")
                assert_says_only_what_rules_say(rule)


def assert_says_only_what_rules_say(rule: str) -> None:
    words = shlex.split(rule)
    for at, word in enumerate(words):
        if at and words[at - 1] == "--comment":
            assert COMMENT.fullmatch(word), rule
        elif word.startswith("-"):
            assert word in OPTIONS, rule
        else:
            assert VALUE.fullmatch(word), rule


def test_plain_objects_reach_every_kind_of_rule() -> None:
    store = Store()
    store.apply(Changed(decode(Kind.SERVICE, json.dumps(PLAIN_SERVICE).encode())))
    store.apply(Changed(decode(Kind.ENDPOINT_SLICE, json.dumps(PLAIN_SLICE).encode())))
    desired = DesiredRuleset(RENDER)
    desired.update(store, store.services, Circumstances(a_view(), SETTINGS))
    kinds = {chain.name[:8] for chain in desired.chains}
    assert {"KUBE-SVC", "KUBE-SVL", "KUBE-EXT", "KUBE-FW-", "KUBE-SEP"} <= kinds
