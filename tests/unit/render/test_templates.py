"""Templates: our own, templates of users, and wrong templates."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from facts import a_view
from kproxy.errors import InputError
from kproxy.model.settings import Settings
from kproxy.render.templates import rule_templates
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.iptables.compiler import node_chains


def with_node_template(directory: Path, text: str) -> dict[Chain, str]:
    (directory / "iptables").mkdir()
    (directory / "iptables" / "node.j2").write_text(text)
    return node_chains(a_view(), Settings(), rule_templates(directory))


def test_template_of_the_user_replaces_ours(tmp_path: Path) -> None:
    chains = with_node_template(tmp_path, "*nat\n-A KUBE-MINE -m mark --mark {{ mark }} -j RETURN\n")
    assert {Chain("nat", "KUBE-MINE"): "-A KUBE-MINE -m mark --mark 0x4000 -j RETURN\n"} == chains


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{% if mark %}", r"node\.j2, line 1: Unexpected end of template"),
        ("-A KUBE-MINE\n{{ marc }}", r"/node\.j2, line 2: 'marc' is undefined"),
        ("iptables -F", r"template iptables/node\.j2: 'iptables -F' is neither"),
        ("*mangle\n-A KUBE-MINE -j RETURN", r"template iptables/node\.j2: .*'mangle'"),
        ("\n\n{{ 1 / 0 }}", r"/node\.j2, line 3: ZeroDivisionError: division by zero"),
        ("{{ mark + 1 }}", r"/node\.j2, line 1: TypeError: "),
        ("{{ mark.__class__.__mro__ }}", r"/node\.j2, line 1: access to attribute '__class__' .* is unsafe"),
        ("{{ node_port_addresses.append(1) }}", r"/node\.j2, line 1: .*'append'"),
        ("{{ 9 ** 9 ** 9 ** 9 }}", r"/node\.j2, line 1: .*numbers"),
        ("{{ 'x' * 999999999999 }}", r"/node\.j2, line 1: .*numbers"),
        ("{{ [0] * 999999999999 }}", r"/node\.j2, line 1: .*numbers"),
        ("{% for a in range(10**9) %}x{% endfor %}", r"/node\.j2, line 1: "),
        ("{% for a in range(99999999) %}x{% endfor %}", r"/node\.j2, line 1: OverflowError: "),
        (
            "{% for a in range(9999) %}{% for b in range(9999) %}{{ mark }}\n{% endfor %}{% endfor %}",
            r"/node\.j2: it makes more than \d+ characters",
        ),
        ("{% macro m() %}{{ m() }}{% endmacro %}\n{{ m() }}", r"/node\.j2, line 1: RecursionError: "),
        ("\n{% include 'iptables/none.j2' %}", r"/node\.j2, line 2: there is no template iptables/none\.j2"),
        ("{% include 'nftables/way.j2' %}", r"templates/nftables/way\.j2, line \d+: "),
        ("{{ mark | nosuch }}", r"/node\.j2, line 1: No filter named 'nosuch'"),
    ],
)
def test_template_that_cannot_be_used_is_refused_by_name(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        with_node_template(tmp_path, text)


class Short:
    """A value for whose text there is no memory."""

    def __str__(self) -> str:
        raise MemoryError


def test_shortage_of_memory_is_not_blamed_on_our_templates() -> None:
    with pytest.raises(MemoryError):
        rule_templates()("iptables/dispatch.j2", {"chain": Short(), "jumps": (), "rules": ("-j RETURN",)})


def test_template_of_the_user_that_takes_all_memory_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "iptables").mkdir()
    (tmp_path / "iptables" / "dispatch.j2").write_text("\n{{ chain }}")
    with pytest.raises(InputError, match=r"/dispatch\.j2, line 2: MemoryError"):
        rule_templates(tmp_path)("iptables/dispatch.j2", {"chain": Short()})


def test_template_that_is_not_text_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "iptables").mkdir()
    (tmp_path / "iptables" / "node.j2").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"/node\.j2: UnicodeDecodeError"):
        node_chains(a_view(), Settings(), rule_templates(tmp_path))


def test_template_of_the_user_cannot_change_our_values(tmp_path: Path) -> None:
    """The template cannot reach Python through any name either."""
    (tmp_path / "iptables").mkdir()
    for text in (
        "{{ cycler.__init__.__globals__ }}",
        "{{ self._TemplateReference__context }}",
        "{{ lipsum.__globals__ }}",
        "{{ ''['__class__'] }}",
        "{{ ''|attr('__class__') }}",
        "{{ '{0.__class__}'.format(mark) }}",
    ):
        (tmp_path / "iptables" / "node.j2").write_text(text)
        with pytest.raises(InputError, match=r"/node\.j2, line 1: "):
            node_chains(a_view(), Settings(), rule_templates(tmp_path))


def test_directory_that_overrides_nothing_is_refused_with_the_names_of_templates(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=rf"{re.escape(str(tmp_path))} overrides nothing.* iptables/node\.j2"
    ):
        rule_templates(tmp_path)
    (tmp_path / "iptables").mkdir()
    (tmp_path / "iptables" / "nodes.j2").write_text("")
    (tmp_path / "iptables" / "node.j2").mkdir()
    with pytest.raises(InputError, match="overrides nothing"):
        rule_templates(tmp_path)
    with pytest.raises(InputError, match="overrides nothing"):
        rule_templates(tmp_path / "none")


@pytest.mark.parametrize(("mode", "other"), [("iptables", "nftables"), ("nftables", "iptables")])
def test_directory_with_templates_of_the_other_mode_alone_is_refused(
    tmp_path: Path, mode: str, other: str
) -> None:
    (tmp_path / other).mkdir()
    (tmp_path / other / "node.j2").write_text("")
    with pytest.raises(InputError, match=rf"overrides nothing in {mode} mode: it holds none of {mode}/"):
        rule_templates(tmp_path, mode)
    rule_templates(tmp_path, other)


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("service-port.j2", ("iptables", "nftables")),
        ("node.j2", ("iptables", "nftables")),
        ("dispatch.j2", ("iptables",)),
        ("way.j2", ("nftables",)),
    ],
)
def test_template_beside_the_directories_of_the_modes_is_refused_with_its_place(
    tmp_path: Path, name: str, places: tuple[str, ...]
) -> None:
    (tmp_path / "iptables").mkdir()
    (tmp_path / "iptables" / "node.j2").write_text("")
    (tmp_path / name).write_text("")
    with pytest.raises(InputError) as refused:
        rule_templates(tmp_path)
    assert str(refused.value).startswith(f"{tmp_path / name} overrides nothing")
    assert all(str(tmp_path / place / name) in str(refused.value) for place in places)


def overriding(directory: Path) -> Path:
    template = directory / "mine" / "iptables" / "node.j2"
    template.parent.mkdir(parents=True)
    template.write_text("")
    return template


def for_a_group(template: Path) -> None:
    os.chown(template, -1, 12345)
    template.chmod(0o664)


LOOSE: dict[str, Callable[[Path], object]] = {
    "template of everybody": lambda template: template.chmod(0o646),
    "template of a group": for_a_group,
    "template of a user": lambda template: os.chown(template, 12345, -1),
    "directory of everybody": lambda template: template.parent.chmod(0o757),
    "directory with the sticky bit": lambda template: template.parent.chmod(0o1777),
    "whole of everybody": lambda template: template.parents[1].chmod(0o777),
    "directory of a user": lambda template: os.chown(template.parents[1], 12345, -1),
    "directory above": lambda template: template.parents[2].chmod(0o777),
}


@pytest.mark.parametrize("loosen", LOOSE.values(), ids=LOOSE)
def test_templates_that_others_may_write_are_refused(
    tmp_path: Path, loosen: Callable[[Path], object]
) -> None:
    template = overriding(tmp_path)
    rule_templates(tmp_path / "mine")
    loosen(template)
    with pytest.raises(InputError, match=r"may write .*; ch(mod go-w|own root) /"):
        rule_templates(tmp_path / "mine")


def test_link_to_templates_that_others_may_write_is_refused(tmp_path: Path) -> None:
    overriding(tmp_path / "loose").chmod(0o666)
    (tmp_path / "link").symlink_to(tmp_path / "loose" / "mine")
    with pytest.raises(InputError, match="everybody may write"):
        rule_templates(tmp_path / "link")


@pytest.mark.netns
def test_templates_on_a_file_system_that_is_mounted_read_only_may_have_any_mode(tmp_path: Path) -> None:
    """A ConfigMap's volume gives everybody the permission to write, but is mounted read-only."""
    template = overriding(tmp_path)
    template.parents[1].chmod(0o777)
    volume = tmp_path / "mine"
    script = (
        f"mount --bind {volume} {volume} && mount -o remount,bind,ro {volume} && "
        f"exec {sys.executable} -c 'from pathlib import Path; from kproxy.render.templates import rule_templates; "
        f'rule_templates(Path("{volume}"))\''
    )
    subprocess.run(["unshare", "--mount", "sh", "-c", script], check=True)
