"""Commands about elements: their text, and their parts where a socket is too small for all of them."""

import pytest
from msgspec.structs import replace

from kproxy.ruleset.nftables.table import Element, Key, Numbered, Target, spelled_out
from kproxy.transaction.nftables.elements import ElementCommand, apart
from kproxy.values import Address, Family
from nft_elements import a_key, an_element

CREATE = ElementCommand("create", Family.IPV4, "endpoints-2", ())
DELETE = CREATE._replace(verb="delete")
TARGETS = (Target(Address("10.128.1.1"), 8080), Target(Address("10.128.1.2"), 8081))
NUMBERED = Numbered("endpoints-2", a_key("10.96.0.10 . tcp . 80"), TARGETS)


def command(verb: str, holder: str, *elements: str) -> ElementCommand:
    pairs = [each.partition(" : ") for each in elements]
    return ElementCommand(
        verb, Family.IPV4, holder, tuple(an_element(holder, key, value) for key, _, value in pairs)
    )


A, B, C, D = (f"10.96.0.{number} . tcp . 80" for number in range(4))


def test_element_that_gets_another_value_does_so_in_one_part() -> None:
    old, new = f"{B} . 1", f"{B} . 1 : 10.128.1.2 . 80"
    added = f"{C} . 0 : 10.128.1.1 . 80"
    parts = apart(
        [
            command("delete", "service-ips", A, D),
            command("delete", "endpoints-2", old),
            command("create", "endpoints-2", new, added),
            command("create", "service-ips", f"{A} : goto y", f"{C} : goto z"),
        ]
    )
    assert [
        (command("create", "endpoints-2", added),),
        (command("delete", "endpoints-2", old), command("create", "endpoints-2", new)),
        (command("delete", "service-ips", A), command("create", "service-ips", f"{A} : goto y")),
        (command("create", "service-ips", f"{C} : goto z"),),
        (command("delete", "service-ips", D),),
    ] == parts


def test_numbered_elements_are_parts_of_which_each_is_there_as_a_whole_or_replaced_one_by_one() -> None:
    assert [(CREATE._replace(elements=(NUMBERED,)),)] == apart([CREATE._replace(elements=(NUMBERED,))])
    old = an_element("endpoints-2", "10.96.0.10 . tcp . 80 . 1")
    parts = apart([DELETE._replace(elements=(old,)), CREATE._replace(elements=(NUMBERED,))])
    first, second = spelled_out([NUMBERED])
    assert [
        (CREATE._replace(elements=(first,)),),
        (DELETE._replace(elements=(old,)), CREATE._replace(elements=(second,))),
    ] == parts


@pytest.mark.parametrize(
    "text",
    [
        "10.96.0.10",
        "fd00::1 . fd00::2 . sctp . 1",
        "tcp . 30080 : goto external-2",
        "10.96.0.10 . udp . 53 : drop",
        "10.96.0.10 . tcp . 80 . 0 : 10.128.1.5 . 8080",
        "tcp . 30080 . 12 : fd00::5 . 65535",
    ],
)
def test_element_reads_as_nft_prints_it(text: str) -> None:
    each = command("create", "holder", text)
    assert f"create element ip kproxy holder {{\n\t{text},\n}}\n" == str(each)
    assert 1 == each.line_count


def test_numbered_elements_read_as_each_of_them() -> None:
    lines = (
        "\t10.96.0.10 . tcp . 80 . 0 : 10.128.1.1 . 8080,\n",
        "\t10.96.0.10 . tcp . 80 . 1 : 10.128.1.2 . 8081,\n",
    )
    each = CREATE._replace(elements=(NUMBERED,))
    assert f"create element ip kproxy endpoints-2 {{\n{''.join(lines)}}}\n" == str(each)
    assert str(each) == str(CREATE._replace(elements=tuple(spelled_out([NUMBERED]))))
    assert 2 == each.line_count


def test_parts_of_a_key_are_told_apart_by_their_names() -> None:
    key = Key(protocol="tcp", port=80, number=0)
    assert ("\ttcp . 80 . 0,", "\ttcp . 80,") == tuple(
        str(CREATE._replace(elements=(Element("x", each),))).splitlines()[1]
        for each in (key, replace(key, number=None))
    )
