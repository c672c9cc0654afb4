"""What is read in iptables' own words."""

import pytest

from kproxy.kernel.programs.iptables import comment, target


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("-A INPUT -j KUBE-SERVICES", "KUBE-SERVICES"),
        ("-A INPUT -p tcp -g KUBE-SERVICES", "KUBE-SERVICES"),
        ("-A INPUT -m mark --mark 0x1", ""),
        ('-A INPUT -m comment --comment "once -j KUBE-SERVICES here" -j ACCEPT', "ACCEPT"),
        (r'-A INPUT -m comment --comment "say \"hi\" -j KUBE-SERVICES x" -j ACCEPT', "ACCEPT"),
        (r'-A INPUT -m comment --comment "ends in \\" -j ACCEPT -m comment --comment "x"', "ACCEPT"),
        ("-A INPUT -m comment --comment -j -j KUBE-SERVICES", "KUBE-SERVICES"),
        ('-A INPUT -j LOG --log-prefix "x -j KUBE-SERVICES "', "LOG"),
    ],
)
def test_target_is_what_the_rule_does_and_not_what_it_says(rule: str, expected: str) -> None:
    assert expected == target(rule)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("-A INPUT -j KUBE-FIREWALL", ""),
        (
            '-A INPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
            "kubernetes service portals",
        ),
        ("-A INPUT -m comment --comment portals -j KUBE-SERVICES", "portals"),
        (r'-A INPUT -m comment --comment "say \"hi\" \\ twice" -j KUBE-SERVICES', 'say "hi" \\ twice'),
        ('-A INPUT -m comment --comment "" -j KUBE-SERVICES', ""),
    ],
)
def test_comment_is_the_text_without_its_quotes(rule: str, expected: str) -> None:
    assert expected == comment(rule)
