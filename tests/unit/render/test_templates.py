"""Templates: ours, someone else's, and wrong ones."""

from pathlib import Path

import pytest

from facts import a_view
from kproxy.errors import InputError
from kproxy.model.settings import Settings
from kproxy.render.templates import rule_templates
from kproxy.ruleset.chains import Chain
from kproxy.ruleset.iptables import node_chains


def with_node_template(directory: Path, text: str) -> dict[Chain, str]:
    (directory / "iptables").mkdir()
    (directory / "iptables" / "node.j2").write_text(text)
    return node_chains(a_view(), Settings(), rule_templates(directory))


def test_template_of_the_users_wins_over_ours(tmp_path: Path) -> None:
    chains = with_node_template(tmp_path, "*nat\n-A KUBE-MINE -m mark --mark {{ mark }} -j RETURN\n")
    assert {Chain("nat", "KUBE-MINE"): "-A KUBE-MINE -m mark --mark 0x4000 -j RETURN\n"} == chains


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{% if mark %}", r"node\.j2, line 1: Unexpected end of template"),
        ("-A KUBE-MINE {{ marc }}", r"template iptables/node\.j2: 'marc' is undefined"),
        ("iptables -F", r"'iptables -F' is neither"),
    ],
)
def test_template_that_cannot_be_used_is_refused_by_name(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        with_node_template(tmp_path, text)
