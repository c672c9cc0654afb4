"""A node in a user namespace, as rootless ones and those in LXC are: no socket holds more than net.core.wmem_default gives it.

Each test runs itself in a namespace of its own, in which sockets of ours get no more than those of programs.
"""

import re
import subprocess
import sys

import pytest

from facts import CLUSTER_CIDRS, a_service, a_slice, a_view, an_endpoint
from kproxy import process
from kproxy.agent.iptables_proxy import IptablesProxy
from kproxy.agent.nftables_proxy import NftablesProxy
from kproxy.agent.proxy import Proxy
from kproxy.cleanup.clean_up import clean_up
from kproxy.kernel.netlink.nfnetlink import Netlink, send_room
from kproxy.kernel.programs.iptables import Iptables, Variant
from kproxy.kernel.programs.nft import DoesNotFit, NftTable
from kproxy.model.settings import Settings
from kproxy.observed.iptables_nft import NftChains
from kproxy.observed.nftables import Commits
from kproxy.observed.record import Record
from kproxy.ruleset.inputs import Circumstances
from kproxy.ruleset.layout import FLAT, TREE
from kproxy.state.events import Changed
from kproxy.state.store import Store
from kproxy.values import Address, Family
from namespaces import DIES_WITH_ITS_PARENT
from scenarios import RENDER

pytestmark = pytest.mark.netns

SERVICES = 500


def address(family: Family, kind: int, service: int) -> str:
    """The address of a Service (kind 0) or of one of its endpoints."""
    high, low = service // 200 + 1, service % 200 + 1
    if family is Family.IPV4:
        return f"10.96.{high}.{low}" if not kind else f"10.{127 + kind}.{high}.{low}"
    return f"fd00:96::{high}:{low}" if not kind else f"fd00:{kind}::{high}:{low}"


def fill(store: Store, family: Family, first_endpoint: int, endpoints: int) -> None:
    kinds = range(first_endpoint, first_endpoint + endpoints)
    for number in range(SERVICES):
        name = f"s{number}"
        sticky = {"affinity_timeout_s": 10800} if number % 10 == 0 else {}
        store.apply(Changed(a_service(name, cluster_ips=(Address(address(family, 0, number)),), **sticky)))
        held = [an_endpoint(address(family, kind, number), "node-2") for kind in kinds]
        store.apply(Changed(a_slice(*held, name=f"{name}-a", service=name)))


def a_proxy(mode: str, family: Family) -> Proxy:
    if mode == "nftables":
        return NftablesProxy(NftTable(family), RENDER, Commits())
    return IptablesProxy(Iptables(Variant.NFT, family), NftChains(family, Record(None)), RENDER)


def program_and_change(mode: str, family: Family) -> None:
    """A first sync, one by an agent that starts again, and two of which each changes all."""
    assert send_room() is not None
    setattr(Netlink, "_make_room", lambda *_: None)  # noqa: B010 - as where net.core.wmem_max is no greater
    store = Store()
    layout = TREE if mode == "tree" else FLAT
    settings = Settings(cluster_cidrs=CLUSTER_CIDRS, is_nftables=mode == "nftables")
    circumstances = Circumstances(a_view(family), settings, layout)
    former, proxy = a_proxy(mode, family), a_proxy(mode, family)
    for syncing, first, endpoints in ((former, 1, 10), (proxy, 1, 10), (proxy, 11, 10), (proxy, 11, 9)):
        fill(store, family, first, endpoints)
        report = syncing.sync(store, store.take_dirty(), circumstances, verify=True)
        assert report.error is None, report.error
        syncing.record()
        held = held_endpoints(mode, family)
        for kind in range(1, 21):
            expected = SERVICES if first <= kind < first + endpoints else 0
            found = sum(address(family, kind, number) in held for number in range(SERVICES))
            assert expected == found, f"endpoint {kind}"
    clean_up()
    assert set() == held_endpoints(mode, family)


def held_endpoints(mode: str, family: Family) -> set[str]:
    """All that stands where an endpoint's address does."""
    if mode == "nftables":
        listed = process.run(["nft", "list", "ruleset"])
        return set(re.findall(r"(?: : | dnat (?:ip6? )?to \[?)([0-9a-f.:]+?)(?: \. 8080|\]?:8080)", listed))
    saved = process.run([f"{Iptables(Variant.NFT, family).program}-save", "-t", "nat"])
    ends = (line.split()[-1] for line in saved.splitlines() if "--to-destination" in line)
    return {end.rpartition(":")[0].strip("[]") for end in ends}


def refuse_what_cannot_be_divided(_mode: str, family: Family) -> None:
    rules = "".join(f"\t\tip saddr 10.0.{number // 250}.{number % 250} accept\n" for number in range(2000))
    with pytest.raises(DoesNotFit) as failed:
        NftTable(family).check(f"table inet kproxy {{\n\tchain long {{\n{rules}\t}}\n}}\n")
    room = send_room() or 0
    assert f"Message too long; net.core.wmem_default is {room + 32}" in str(failed.value)
    needed = int(str(failed.value).rpartition("sysctl -w net.core.wmem_default=")[2])
    assert 2 * room < needed < 20 * room
    assert not failed.value.is_verdict


CASES = {each.__name__: each for each in (program_and_change, refuse_what_cannot_be_divided)}


def run_in_user_namespace(case: str, mode: str, family: Family) -> None:
    command = ["unshare", "--user", "--map-root-user", "--net", *DIES_WITH_ITS_PARENT, sys.executable]
    paths = ":".join(sys.path)
    ended = subprocess.run(
        [*command, __file__, case, mode, family.name],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": paths},
    )
    assert 0 == ended.returncode, ended.stderr[-3000:]


@pytest.mark.parametrize(
    ("mode", "family"),
    [*(("nftables", family) for family in Family), ("flat", Family.IPV4), ("tree", Family.IPV6)],
)
def test_services_are_programmed_where_no_socket_may_be_enlarged(mode: str, family: Family) -> None:
    run_in_user_namespace("program_and_change", mode, family)


def test_change_that_fits_no_socket_is_told_with_the_setting_and_the_value_that_it_needs() -> None:
    run_in_user_namespace("refuse_what_cannot_be_divided", "nftables", Family.IPV4)


if __name__ == "__main__":
    CASES[sys.argv[1]](sys.argv[2], Family[sys.argv[3]])
