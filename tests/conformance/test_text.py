"""Recorded clusters, compiled: the text of the rules is already the one that kube-proxy's own dump shows."""

from pathlib import Path

import pytest

from kproxy.configuration import decode_configuration
from kproxy.configuration.rules import rule_settings
from kproxy.model.node import view_node
from kproxy.ruleset.inputs import Circumstances
from kproxy.ruleset.iptables.desired import DesiredRuleset
from kproxy.sources.yaml import load_documents
from kproxy.state.events import Changed
from kproxy.state.store import Store
from kproxy.transaction.iptables.plan import clean_node
from kproxy.values import Address, Family
from recordings import CLUSTERS, DIRECTORY, DUMP, comparable, objects_of
from scenarios import RENDER, converted

NODE_ADDRESSES = tuple(map(Address, ("127.0.0.1", "10.199.0.2", "::1", "fd00:199::2")))
EMPTY = {"nat INPUT"}
"""A built-in chain without rules is in every dump, and nothing to write."""


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("cluster", CLUSTERS, ids=lambda path: str(path.relative_to(DIRECTORY)))
def test_text_of_rules_is_what_iptables_save_shows(cluster: Path, family: Family) -> None:
    configured = load_documents((cluster / "config.yaml").read_bytes())[0].data
    configuration, _ = decode_configuration(configured)
    settings = rule_settings(configuration, accounting=True, conntrack_tcp_be_liberal=False)
    store = Store()
    for thing in objects_of(cluster):
        store.apply(Changed(converted(thing)))
    view = view_node("node-1", store.node("node-1"), NODE_ADDRESSES, settings, family)
    desired = DesiredRuleset(RENDER)
    desired.update(store, store.services, Circumstances(view, settings))
    text = clean_node(desired.chains, desired.jumps)
    dump = (cluster / DUMP[family]).read_text().replace("--nfacct-name  ", "--nfacct-name ")
    wanted = {chain: rules for chain, rules in comparable(dump).items() if chain not in EMPTY}
    assert wanted == comparable(text)
