"""The edges to the kernel: which variant a host uses, what programs say, counters, addresses, sysctls."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kproxy import process
from kproxy.errors import EnvironmentLacking, KproxyError, ProgramFailed
from kproxy.kernel.netlink.accounting import ensure_counters, have_counters
from kproxy.kernel.node import sysctl
from kproxy.kernel.node.addresses import local_addresses
from kproxy.kernel.programs.iptables import Variant
from kproxy.kernel.programs.variant import find_variant
from namespaces import fresh_namespace, inside

pytestmark = pytest.mark.netns


@pytest.fixture(autouse=True)
def _kernel() -> Iterator[None]:
    with fresh_namespace() as name, inside(name):
        yield


def iptables(variant: Variant, *arguments: str) -> None:
    process.run([f"iptables-{variant}", *arguments])


@pytest.mark.parametrize("variant", Variant)
@pytest.mark.parametrize("hint", ["KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"])
def test_backend_is_the_one_that_holds_the_kubelets_hint(variant: Variant, hint: str) -> None:
    other = next(each for each in Variant if each is not variant)
    iptables(other, "-A", "INPUT", "-j", "ACCEPT")
    iptables(variant, "-t", "mangle", "-N", hint)
    assert variant is find_variant()


def test_backend_without_a_hint_is_the_one_with_more_rules() -> None:
    iptables(Variant.NFT, "-A", "INPUT", "-j", "ACCEPT")
    for _ in range(2):
        iptables(Variant.LEGACY, "-A", "INPUT", "-j", "ACCEPT")
    assert Variant.LEGACY is find_variant()


@pytest.mark.parametrize(
    ("version", "variant"),
    [
        ("iptables v1.8.9 (nf_tables)", Variant.NFT),
        ("iptables v1.8.9 (legacy)", Variant.LEGACY),
        ("iptables v1.6.1", Variant.LEGACY),
        ("", Variant.NFT),
        ("BusyBox v1.36", Variant.NFT),
    ],
)
def test_backend_where_nobody_has_rules_is_the_one_of_the_program_iptables(
    version: str, variant: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "iptables"
    program.write_text(f"#!/bin/sh\necho '{version}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert variant is find_variant()
    iptables(variant, "-t", "nat", "-N", "EMPTY")
    assert variant is find_variant()
    iptables(Variant.NFT, "-A", "INPUT", "-j", "ACCEPT")
    assert Variant.NFT is find_variant()


@pytest.mark.parametrize("variant", Variant)
def test_backend_of_an_alternative_is_told_by_the_real_program(
    variant: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "iptables").symlink_to(process.find(f"iptables-{variant}") or "")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert variant is find_variant()


def test_backend_of_a_program_whose_backend_is_not_installed_is_nft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "iptables"
    program.write_text("#!/bin/sh\necho iptables v1.6.1\n")
    program.chmod(0o755)
    monkeypatch.setattr(process, "find", lambda name: program if name == "iptables" else None)
    assert Variant.NFT is find_variant()


@pytest.mark.parametrize("variant", Variant)
@pytest.mark.parametrize("program", ["iptables", "ip6tables"])
def test_backend_without_a_hint_is_nft_where_a_service_proxy_has_rules_there(
    variant: Variant, program: str
) -> None:
    for _ in range(3):
        iptables(Variant.LEGACY, "-A", "INPUT", "-j", "ACCEPT")
    process.run([f"{program}-{variant}", "-t", "nat", "-N", "KUBE-SERVICES"])
    assert variant is find_variant()


def test_backend_search_creates_no_legacy_table() -> None:
    find_variant()
    with open("/proc/net/ip_tables_names", encoding="ascii") as tables:  # noqa: PTH123 # of this thread's namespace
        assert "" == tables.read()


def test_counters_exist_once_ensured_and_are_kept() -> None:
    assert not have_counters()
    assert ensure_counters()
    assert ensure_counters()
    assert have_counters()


def test_local_addresses_are_those_of_this_namespace() -> None:
    process.run(["ip", "address", "add", "10.199.0.2/24", "dev", "lo"])
    process.run(["ip", "address", "add", "::ffff:10.199.0.3/128", "dev", "lo"])  # no rule can match it
    assert {"127.0.0.1", "::1", "10.199.0.2"} == set(local_addresses())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("#!/bin/sh\necho 1: lo: mtu 65536\n", "ip does not list addresses as iproute2 does"),
        ("no program", "ip cannot be started: Exec format error"),
    ],
)
def test_ip_of_another_kind_is_an_error_with_its_reason(
    text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ip"
    program.write_text(text)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(KproxyError, match=says):
        local_addresses()


def test_failed_program_keeps_its_code_its_words_and_the_lines_around_the_one_it_named() -> None:
    text = "*filter\n:KUBE-A - [0:0]\n-A KUBE-A -j NOWHERE\n-A KUBE-A -j ACCEPT\nCOMMIT\n"
    with pytest.raises(ProgramFailed) as failed:
        process.run(["iptables-nft-restore", "--noflush"], stdin=text)
    assert failed.value.exit_code == 2
    assert "NOWHERE" in failed.value.stderr
    assert "-A KUBE-A -j NOWHERE" in failed.value.excerpt
    assert "NOWHERE" in str(failed.value)


def test_program_that_takes_too_long_is_ended() -> None:
    with pytest.raises(ProgramFailed, match="did not end in time"):
        process.run(["sleep", "30"], timeout_s=0.2)


def test_missing_program_is_named_with_its_remedy() -> None:
    with pytest.raises(
        EnvironmentLacking, match="no-such-program is not installed; on Debian: apt-get install"
    ):
        process.run(["no-such-program"])


def test_sysctl_that_cannot_be_set_names_the_consequence() -> None:
    with pytest.raises(EnvironmentLacking, match=r"kernel\.osrelease=1.*: nothing works"):
        sysctl.ensure("kernel/osrelease", "1", consequence="nothing works")


def test_sysctl_is_set_and_read_in_this_namespace() -> None:
    sysctl.ensure(sysctl.ROUTE_LOCALNET, "1", consequence="none")
    assert "1" == sysctl.read(sysctl.ROUTE_LOCALNET)
    assert sysctl.read("net/no/such/setting") is None
