"""A kernel that refuses to answer, as it does a process without CAP_NET_ADMIN: each message becomes a KernelRefused."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from errno import EPERM
from pathlib import Path

import pytest

from kproxy import process
from namespaces import DIES_WITH_ITS_PARENT, fresh_namespace, inside

pytestmark = pytest.mark.netns

ROOT = Path(__file__).parents[2]
WITHOUT_PRIVILEGE = ("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin")


@pytest.fixture(autouse=True)
def _kernel() -> Iterator[None]:
    with fresh_namespace() as name, inside(name):
        yield


def answers(code: str) -> object:
    """The JSON that the code prints as its last line, run here by a process without the privilege."""
    command = [*DIES_WITH_ITS_PARENT, *WITHOUT_PRIVILEGE, sys.executable, "-c", code]
    path = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert 0 == ended.returncode, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


CALLS = """
import json
from kproxy.errors import KernelRefused
from kproxy.kernel.netlink import chains, conntrack, jumps
from kproxy.model.udp import Frontend
from kproxy.kernel.programs.nft import NftTable
from kproxy.ruleset.chain import Chain
from kproxy.values import Family

four, table = Family.IPV4, NftTable(Family.IPV4)
refused = {}
for name, call in {
    "generation": chains.generation,
    "chains": lambda: chains.chains(four),
    "has_table": lambda: chains.has_table(four, "kproxy"),
    "delete_table": lambda: chains.delete_table(four, "kproxy"),
    "jumps_in": lambda: jumps.jumps_in(four, Chain("nat", "OUTPUT")),
    "count_iptables_rules": lambda: jumps.count_iptables_rules(four, "nat"),
    "blocks": table.blocks,
    "elements": lambda: table.elements("service-ips"),
    "is_dormant": table.is_dormant,
    "forget": lambda: table.forget("clients-3", [1]),
    "table's generation": table.generation,
    "flows": lambda: list(conntrack.UdpFlows(four).to([Frontend(None, 53)])),
}.items():
    try:
        call()
    except KernelRefused as failed:
        refused[name] = [failed.errno, failed.said]
    else:
        refused[name] = None
print(json.dumps(refused))
"""


def test_every_message_that_is_refused_has_the_number_of_the_error() -> None:
    found = answers(CALLS)
    assert isinstance(found, dict)
    assert 12 == len(found)
    assert {name: [EPERM, "Operation not permitted"] for name in found} == found


SYNCS = """
import json
from facts import CLUSTER_CIDRS, a_view
from kproxy.agent.nftables_proxy import NftablesProxy
from kproxy.kernel.programs.nft import NftTable
from kproxy.model.settings import Settings
from kproxy.observed.nftables import Commits
from kproxy.ruleset.inputs import Circumstances
from kproxy.state.store import Store
from kproxy.values import Family
from scenarios import RENDER

proxy = NftablesProxy(NftTable(Family.IPV4), RENDER, Commits())
reports = [proxy.sync(Store(), set(), Circumstances(a_view(), Settings()), verify=True) for _ in range(2)]
print(json.dumps([[type(each.error).__name__, getattr(each.error, "errno", 0)] for each in reports]))
"""


def test_sync_that_cannot_read_the_kernel_reports_it_and_goes_on() -> None:
    assert [["KernelRefused", EPERM]] * 2 == answers(SYNCS)


CLEANUP = """
import json, logging
from kproxy.cleanup.clean_up import end_nftables_mode
from kproxy.errors import KproxyError
from kproxy.values import Family

try:
    end_nftables_mode(Family.IPV4)
except KproxyError as failed:
    print(json.dumps(str(failed)))
"""


def test_cleanup_that_may_not_read_the_kernel_says_which_part_stays() -> None:
    process.run(["nft", "add table ip kproxy"])
    said = answers(CLEANUP)
    assert "nftables, IPv4: the kernel refuses to tell of table kube-proxy: Operation not permitted" == said
