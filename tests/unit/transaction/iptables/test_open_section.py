"""A section that is written piece by piece: its text is the same as that of the whole section."""

from kproxy.ruleset.chain import Chain
from kproxy.transaction.iptables.transaction import OpenSection, Section

A, B, C = (Chain("nat", f"KUBE-{name}") for name in "ABC")
RULES = {each: f"-A {each.name} -j RETURN\n" for each in (A, B, C)}


def test_text_of_the_pieces_and_the_ending_is_that_of_the_section() -> None:
    opened = OpenSection("nat")
    text = "*nat\n" + opened.add({A: RULES[A]}) + opened.add({B: RULES[B]})
    whole = opened.with_rest(Section("nat", {C: RULES[C]}, ("-A OUTPUT -j KUBE-C",)))
    assert text + whole.ending == str(whole)
    assert RULES == whole.written
    assert [":KUBE-A - [0:0]", RULES[A].strip(), ":KUBE-B - [0:0]"] == text.splitlines()[1:4]
    assert [":KUBE-C - [0:0]", RULES[C].strip(), "-I OUTPUT -j KUBE-C", "COMMIT"] == whole.ending.splitlines()


def test_section_without_pieces_declares_all_chains_first() -> None:
    section = Section("nat", {A: RULES[A], B: RULES[B]})
    assert ["*nat", ":KUBE-A - [0:0]", ":KUBE-B - [0:0]"] == str(section).splitlines()[:3]
    assert str(section) == f"*nat\n{section.ending}"


def test_section_that_nothing_is_added_to_is_empty() -> None:
    whole = OpenSection("nat").with_rest(Section("nat"))
    assert not whole
    assert "*nat\nCOMMIT\n" == str(whole)
