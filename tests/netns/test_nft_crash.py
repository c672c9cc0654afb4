"""A table of a newer nft on the same host, over which ours dies by a signal: what goes on, and what is told."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from facts import CLUSTER_CIDRS, a_service, a_slice, a_view, an_endpoint
from kproxy import process
from kproxy.agent.nftables_proxy import NftablesProxy
from kproxy.agent.proxy import SyncReport
from kproxy.cleanup.clean_up import end_iptables_mode, end_nftables_mode
from kproxy.errors import EnvironmentLacking, KproxyError, ProgramFailed
from kproxy.kernel.netlink.chains import delete_table, generation, has_table
from kproxy.kernel.netlink.nfnetlink import CREATE, NFPROTO, Message, Netlink, attribute, text_attribute
from kproxy.kernel.programs.nft import NftTable
from kproxy.kernel.programs.nft_failures import foreign_tables, tables_of_newer_nft
from kproxy.kernel.programs.nft_probe import require_expressions
from kproxy.model.settings import Settings
from kproxy.observed.nftables import Commits
from kproxy.ruleset.inputs import Circumstances
from kproxy.state.events import Changed, Deleted
from kproxy.state.objects import Kind
from kproxy.state.store import Store
from kproxy.values import Address, Family, NamespacedName
from namespaces import fresh_namespace, inside
from newer_nft import add_table_of_newer_nft, let_nft_crash, remove_table_of_newer_nft
from scenarios import RENDER

pytestmark = pytest.mark.netns


@pytest.fixture(autouse=True)
def kernel() -> Iterator[None]:
    with fresh_namespace() as name, inside(name):
        yield


@pytest.fixture
def crashing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_table_of_newer_nft()
    let_nft_crash(tmp_path, monkeypatch)
    with pytest.raises(ProgramFailed, match="ended by signal SIGSEGV"):
        process.run(["nft", "list", "ruleset"])


class Node:
    """A node with Services, each with two endpoints, whose proxy writes nftables rules."""

    def __init__(self, family: Family = Family.IPV4) -> None:
        self.store = Store()
        self.table = NftTable(family)
        self.proxy = NftablesProxy(self.table, RENDER, Commits())
        self.serve("web", 10, "10.128.1.1", "10.128.2.1")

    def serve(self, name: str, number: int, *endpoints: str) -> None:
        self.store.apply(Changed(a_service(name, cluster_ips=(Address(f"10.96.0.{number}"),))))
        addresses = [an_endpoint(address) for address in endpoints]
        self.store.apply(Changed(a_slice(*addresses, name=f"{name}-a", service=name)))

    def sync(self, *, verify: bool = False) -> SyncReport:
        settings = Settings(cluster_cidrs=CLUSTER_CIDRS, is_nftables=True)
        circumstances = Circumstances(a_view(), settings)
        return self.proxy.sync(self.store, self.store.take_dirty(), circumstances, verify=verify)

    def keys(self) -> set[bytes]:
        return {element.key[:4] for element in self.table.elements("service-ips")}


def key(number: int) -> bytes:
    return bytes((10, 96, 0, number))


def test_tables_of_a_newer_nft_are_told_from_others() -> None:
    process.run(
        ["nft", "-f", "-"], stdin="table ip plain {\n\tset t {\n\t\ttypeof ip saddr . tcp dport\n\t}\n}\n"
    )
    add_table_of_newer_nft("one")
    add_table_of_newer_nft("two")
    assert ["inet one", "inet two"] == tables_of_newer_nft()
    assert ["inet one", "inet two", "ip plain"] == foreign_tables()


@pytest.mark.parametrize("family", Family)
def test_crash_of_nft_at_start_is_told_by_its_cause_and_not_as_a_lack_of_the_kernel(
    crashing: None, family: Family
) -> None:
    with pytest.raises(EnvironmentLacking) as lacking:
        require_expressions(NftTable(family))
    said = str(lacking.value)
    assert "kernel options" not in said
    assert "ended by signal SIGSEGV: it reads the tables of other programs too" in said
    assert "nft 1.1.2 or newer wrote table inet host" in said
    assert "an nft of version 1.1.2 or newer" in said
    assert "--proxy-mode iptables" in said


def test_crash_of_nft_without_a_known_cause_names_the_tables_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process.run(["nft", "add table ip other"])
    let_nft_crash(tmp_path, monkeypatch)
    with pytest.raises(ProgramFailed, match="here table ip other; a newer nft may have written") as failed:
        NftTable(Family.IPV4).check("add table ip kproxy\n")
    assert "SIGSEGV" == failed.value.signal


def test_nft_that_hangs_at_start_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nft"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("kproxy.kernel.programs.nft_probe._LONGEST_S", 0.2)
    with pytest.raises(EnvironmentLacking, match="did not end in time") as lacking:
        require_expressions(NftTable(Family.IPV4))
    assert "kernel options" not in str(lacking.value)


def test_elements_go_on_by_netlink_where_nft_crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Service and endpoints that come, change and go, one that moves to another map, and one that is verified."""
    node = Node()
    node.serve("three", 13, "10.128.2.1", "10.128.2.2", "10.128.2.3")
    node.sync()
    add_table_of_newer_nft()
    let_nft_crash(tmp_path, monkeypatch)
    node.serve("web", 10, "10.128.1.1", "10.128.2.9")
    assert node.sync().error is None
    node.serve("api", 11, "10.128.1.2", "10.128.2.2")
    assert node.sync(verify=True).error is None
    assert {key(10), key(11), key(13)} == node.keys()
    node.serve("api", 11, "10.128.1.2", "10.128.2.2", "10.128.2.4")
    assert node.sync().error is None
    node.store.apply(Deleted(Kind.SERVICE, NamespacedName("default", "web")))
    report = node.sync(verify=True)
    assert (None, 0) == (report.error, report.drifted)
    assert {key(11), key(13)} == node.keys()


def test_crash_of_nft_is_no_refusal_of_a_service_and_all_comes_when_it_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node()
    assert node.sync().error is None
    before = node.keys()
    with monkeypatch.context() as meanwhile:
        add_table_of_newer_nft()
        let_nft_crash(tmp_path, meanwhile)
        node.serve("four", 14, *(f"10.128.2.{number}" for number in range(4)))  # needs a new map
        for _ in range(2):
            report = node.sync(verify=True)
            assert report.error is not None
            assert "nft 1.1.2 or newer wrote table inet host" in str(report.error)
            assert () == report.quarantined
        assert before == node.keys()
    remove_table_of_newer_nft()
    assert node.sync().error is None
    assert before | {key(14)} == node.keys()


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("end", [end_nftables_mode, end_iptables_mode])
def test_tables_of_another_mode_go_where_nft_crashes_or_is_missing(
    end: Callable[[Family], None], family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ip = "ip" if family is Family.IPV4 else "ip6"
    for name in ("kproxy", "kube-proxy", "other"):
        process.run(["nft", f"add table {ip} {name}; add chain {ip} {name} some"])
    add_table_of_newer_nft()
    let_nft_crash(tmp_path, monkeypatch)
    end(family)
    assert not has_table(family, "kube-proxy")
    assert (end is end_iptables_mode) == has_table(family, "kproxy")
    assert has_table(family, "other")
    assert ["inet host"] == tables_of_newer_nft()


def test_table_that_a_running_program_owns_stays_and_that_is_told() -> None:
    owned = text_attribute(1, "kproxy") + attribute(
        2, struct.pack(">I", 2)
    )  # NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER
    with Netlink() as owner:
        owner.commit(10, [Message(10 << 8, NFPROTO[Family.IPV4], owned, CREATE)])
        with pytest.raises(KproxyError, match="a program that runs owns it"):
            end_nftables_mode(Family.IPV4)
        assert has_table(Family.IPV4, "kproxy")


def test_agent_whose_table_a_running_program_owns_says_so_and_goes_on_when_that_ends() -> None:
    owned = text_attribute(1, "kproxy") + attribute(
        2, struct.pack(">I", 2)
    )  # NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER
    node = Node()
    with Netlink() as owner:
        owner.commit(10, [Message(10 << 8, NFPROTO[Family.IPV4], owned, CREATE)])
        report = node.sync()
        assert "table ip kproxy belongs to a program that runs" in str(report.error)
        assert () == report.quarantined
    assert node.sync().error is None
    assert {key(10)} == node.keys()


def test_table_that_is_not_there_is_deleted_without_a_commit() -> None:
    before = generation()
    assert not delete_table(Family.IPV4, "kproxy")
    assert before == generation()
