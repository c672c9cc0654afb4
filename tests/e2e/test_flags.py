"""Every flag and field: what is in force with it, what is refused, what the action flags do."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from kproxy import process
from kproxy.cli.agent import command
from kproxy.kernel.node import sysctl
from namespaces import DIES_WITH_ITS_PARENT, fresh_namespace, inside
from running import BOUND_S, NODE, eventually, running_agent
from stubapi import StubApi
from stubapi.manifests import endpoint_slice, node, service

DEMO = Path(__file__).parents[2] / "examples" / "demo"
DEPLOY = Path(__file__).parents[2] / "deploy" / "kproxy.yaml"
KUBEADM = Path(__file__).with_name("kubeadm-config.yaml")


def written(tmp_path: Path, *flags: str) -> tuple[dict[str, Any], str]:
    """The file that --write-config-to writes, and the text on stderr."""
    file = tmp_path / "written.yaml"
    done = CliRunner().invoke(command, [*flags, f"--write-config-to={file}"], standalone_mode=False)
    if done.exception:
        raise done.exception
    return yaml.safe_load(file.read_text()), done.stderr


def at(document: dict[str, Any], path: str) -> object:
    value: Any = document
    for name in path.split("."):
        value = value[name]
    return value


FLAGS = {
    ("--bind-address=10.0.0.1",): ("bindAddress", "10.0.0.1"),
    ("--bind-address=fd00::1",): ("metricsBindAddress", "127.0.0.1:10249"),
    ("--bind-address-hard-fail",): ("bindAddressHardFail", True),
    ("--cluster-cidr=10.0.0.0/8,fd00::/48",): ("clusterCIDR", "10.0.0.0/8,fd00::/48"),
    ("--cluster_cidr=10.0.0.0/8",): ("clusterCIDR", "10.0.0.0/8"),
    ("--config-sync-period=10m",): ("configSyncPeriod", "10m0s"),
    ("--conntrack-max-per-core=0",): ("conntrack.maxPerCore", 0),
    ("--conntrack-min=7",): ("conntrack.min", 7),
    ("--conntrack-tcp-be-liberal=true",): ("conntrack.tcpBeLiberal", True),
    ("--conntrack-tcp-timeout-close-wait=2h",): ("conntrack.tcpCloseWaitTimeout", "2h0m0s"),
    ("--conntrack-tcp-timeout-established=0",): ("conntrack.tcpEstablishedTimeout", "0s"),
    ("--conntrack-udp-timeout=40s",): ("conntrack.udpTimeout", "40s"),
    ("--conntrack-udp-timeout-stream=90s",): ("conntrack.udpStreamTimeout", "1m30s"),
    ("--detect-local-mode=NodeCIDR",): ("detectLocalMode", "NodeCIDR"),
    ("--feature-gates=One=true,Two=False", "--feature-gates=Three=true"): (
        "featureGates",
        {"One": True, "Two": False, "Three": True},
    ),
    ("--healthz-bind-address=10.0.0.1",): ("healthzBindAddress", "10.0.0.1:10256"),
    ("--healthz-bind-address=",): ("healthzBindAddress", ""),
    ("--healthz-port=0",): ("healthzBindAddress", ""),
    ("--healthz-port=9", "--healthz-bind-address=fd00::1"): ("healthzBindAddress", "[fd00::1]:9"),
    ("--healthz-port=9", "--healthz-bind-address=10.0.0.1:8"): ("healthzBindAddress", "10.0.0.1:8"),
    ("--healthz-port=9",): ("healthzBindAddress", "0.0.0.0:10256"),
    ("--hostname-override=Node-9",): ("hostnameOverride", "Node-9"),
    ("--iptables-localhost-nodeports=false",): ("iptables.localhostNodePorts", False),
    ("--iptables-masquerade-bit=3",): ("iptables.masqueradeBit", 3),
    ("--iptables-min-sync-period=0",): ("iptables.minSyncPeriod", "0s"),
    ("--iptables-sync-period=1m",): ("iptables.syncPeriod", "1m0s"),
    ("--kube-api-burst=20",): ("clientConnection.burst", 20),
    ("--kube-api-content-type=application/json",): ("clientConnection.contentType", "application/json"),
    ("--kube-api-qps=2.5",): ("clientConnection.qps", 2.5),
    ("--kubeconfig=/etc/kubeconfig",): ("clientConnection.kubeconfig", "/etc/kubeconfig"),
    ("--logging-format=json",): ("logging.format", "json"),
    ("--masquerade-all",): ("iptables.masqueradeAll", True),
    ("--metrics-bind-address=[::]:9",): ("metricsBindAddress", "[::]:9"),
    ("--metrics-port=0", "--metrics-bind-address=127.0.0.1"): ("metricsBindAddress", ""),
    ("--nodeport-addresses=10.0.0.0/8,fd00::/8", "--nodeport-addresses=127.0.0.0/8"): (
        "nodePortAddresses",
        ["10.0.0.0/8", "fd00::/8", "127.0.0.0/8"],
    ),
    ("--oom-score-adj=-5",): ("oomScoreAdj", -5),
    ("--detect-local-mode=BridgeInterface", "--pod-bridge-interface=cni0"): (
        "detectLocal.bridgeInterface",
        "cni0",
    ),
    ("--detect-local-mode=InterfaceNamePrefix", "--pod-interface-name-prefix=veth"): (
        "detectLocal.interfaceNamePrefix",
        "veth",
    ),
    ("--profiling",): ("enableProfiling", True),
    ("--proxy-mode=iptables",): ("mode", "iptables"),
    ("-v=2",): ("logging.verbosity", 2),
    ("-v", "4"): ("logging.verbosity", 4),
    ("--v=6",): ("logging.verbosity", 6),
    ("--vmodule=loop=4,f*=5",): (
        "logging.vmodule",
        [{"filePattern": "loop", "verbosity": 4}, {"filePattern": "f*", "verbosity": 5}],
    ),
}


@pytest.mark.parametrize(("flags", "expected"), FLAGS.items(), ids=lambda value: str(value[0]))
def test_flag_is_in_force(flags: tuple[str, ...], expected: tuple[str, object], tmp_path: Path) -> None:
    path, value = expected
    document, _ = written(tmp_path, *flags)
    assert value == at(document, path)


def test_defaults_are_kube_proxys(tmp_path: Path) -> None:
    document, said = written(tmp_path)
    timing = {"masqueradeBit": 14, "masqueradeAll": False, "syncPeriod": "30s", "minSyncPeriod": "1s"}
    connection = {
        "kubeconfig": "",
        "acceptContentTypes": "",
        "contentType": "application/vnd.kubernetes.protobuf",
        "qps": 5,
        "burst": 10,
    }
    without_effect = ("ipvs", "winkernel", "showHiddenMetricsForVersion", "portRange")
    assert {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": connection,
        "bindAddress": "0.0.0.0",
        "healthzBindAddress": "0.0.0.0:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "bindAddressHardFail": False,
        "enableProfiling": False,
        "hostnameOverride": "",
        "mode": "iptables",
        "iptables": {**timing, "localhostNodePorts": True},
        "nftables": timing,
        "detectLocalMode": "ClusterCIDR",
        "detectLocal": {"bridgeInterface": "", "interfaceNamePrefix": ""},
        "clusterCIDR": "",
        "nodePortAddresses": None,
        "conntrack": {
            "maxPerCore": 32768,
            "min": 131072,
            "tcpEstablishedTimeout": "24h0m0s",
            "tcpCloseWaitTimeout": "1h0m0s",
            "tcpBeLiberal": False,
            "udpTimeout": "0s",
            "udpStreamTimeout": "0s",
        },
        "oomScoreAdj": -999,
        "configSyncPeriod": "15m0s",
        "logging": {
            "format": "text",
            "flushFrequency": "5s",
            "verbosity": 0,
            "options": {"text": {"infoBufferSize": "0"}, "json": {"infoBufferSize": "0"}},
        },
    } == {name: value for name, value in document.items() if name not in without_effect}
    assert "written to" in said


def test_what_is_written_is_read_as_the_same(tmp_path: Path) -> None:
    first, _ = written(
        tmp_path, "--cluster-cidr=10.0.0.0/8", "--iptables-sync-period=90s", "--vmodule=loop=4"
    )
    copy = tmp_path / "copy.yaml"
    copy.write_text(yaml.safe_dump(first))
    second, said = written(tmp_path, f"--config={copy}")
    assert first == second
    assert "unknown" not in said


@pytest.mark.parametrize(
    ("flag", "kind"),
    [
        *(
            (flag, "mode ipvs")
            for flag in ("--ipvs-scheduler=rr", "--ipvs-strict-arp=true", "--ipvs-udp-timeout=1s")
        ),
        *(
            (flag, "Windows")
            for flag in ("--windows-service=true", "--source-vip=10.0.0.1", "--enable-dsr=true")
        ),
    ],
)
def test_flag_of_another_world_is_refused_by_a_sentence(flag: str, kind: str, tmp_path: Path) -> None:
    with pytest.raises(
        Exception, match=f"{flag.partition('=')[0]} is for {kind}, which kproxy does not have"
    ):
        written(tmp_path, flag)


VOID = (
    "--cluster-cidr=10.0.0.0/8",
    "--masquerade-all",
    "--proxy-mode=iptables",
    "--oom-score-adj=0",
    "--healthz-bind-address=",
    "--metrics-port=0",
)
COUNT = (
    "--hostname-override=x",
    "-v=2",
    "--logging-format=json",
    "--vmodule=loop=4",
    "--master=https://x",
    "--state-dir=/x",
)


def test_flags_that_a_file_makes_void_are_named_and_others_count(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n")
    document, said = written(tmp_path, f"--config={config}", *VOID, *COUNT)
    for flag in VOID:
        assert (
            f"kproxy: {flag.partition('=')[0]} is ignored: the configuration file {config} overrides it\n"
            in said
        )
    for flag in COUNT:
        assert f"{flag.partition('=')[0]} is ignored" not in said
    assert ("", "x", "0.0.0.0:10256", 2, "json") == (
        document["clusterCIDR"],
        document["hostnameOverride"],
        document["healthzBindAddress"],
        document["logging"]["verbosity"],
        document["logging"]["format"],
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("iptabels: {}", "unknown field iptabels is ignored; did you mean iptables?"),
        (
            "conntrack: {maxPerCor: 1}",
            "unknown field conntrack.maxPerCor is ignored; did you mean maxPerCore?",
        ),
        ("featureGates: {Some: true}", "the feature gate Some has no effect in kproxy"),
        (
            "mode: nftables\nnodePortAddresses: [primary, localhost]",
            "nodePortAddresses[1] has no effect in kproxy: node ports never answer on localhost",
        ),
        ("enableProfiling: true", "enableProfiling has no effect in kproxy: it has no profiling pages"),
        ("configSyncPeriod: 1m", "configSyncPeriod has no effect in kproxy: its watches need no regular"),
    ],
)
def test_what_has_no_effect_is_named(line: str, says: str, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n{line}\n")
    assert says in written(tmp_path, f"--config={config}")[1]


def test_flags_of_a_cluster_beside_a_directory_of_manifests_are_named(tmp_path: Path) -> None:
    said = written(tmp_path, f"--manifests={tmp_path}", "--kubeconfig=x", "--master=https://192.0.2.1")[1]
    assert [
        f"--kubeconfig is ignored: --manifests {tmp_path} replaces the cluster",
        f"--master is ignored: --manifests {tmp_path} replaces the cluster",
    ] == re.findall("--.* is ignored: .*", said)


def test_gate_that_has_an_effect_is_not_named(tmp_path: Path) -> None:
    said = written(tmp_path, "--feature-gates=AllowServiceExternalIPs=false,WatchListClient=false,Some=true")[
        1
    ]
    assert ["the feature gate Some has no effect in kproxy"] == re.findall("the feature gate .*", said)


def test_gate_with_a_slip_is_named_with_the_one_that_is_meant(tmp_path: Path) -> None:
    said = written(tmp_path, "--feature-gates=WatchListCleint=false")[1]
    assert "the feature gate WatchListCleint has no effect in kproxy; did you mean WatchListClient?" in said


@pytest.mark.parametrize(
    "flag",
    [
        "--config-sync-period=1m",
        "--profiling",
    ],
)
def test_flag_of_an_idle_field_is_named(flag: str, tmp_path: Path) -> None:
    assert f"kproxy: {flag.partition('=')[0]} has no effect in kproxy: it" in written(tmp_path, flag)[1]


def test_what_asks_for_nothing_else_than_kproxy_does_is_not_named(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(KUBEADM.read_text())
    default = (
        *("--kube-api-qps=-1", "--kube-api-burst=11"),
        *("--kube-api-content-type=application/json", "--profiling=false"),
    )
    assert "no effect" not in written(tmp_path, f"--config={config}")[1] + written(tmp_path, *default)[1]


@pytest.mark.parametrize(
    "flag",
    [
        "--log-json-info-buffer-size=1Ki",
        "--log-json-split-stream",
        "--log-text-info-buffer-size=0",
        "--log-text-split-stream=true",
    ],
)
def test_flag_without_effect_is_named_once_and_taken(flag: str, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n")
    said = written(tmp_path, flag, "-v=2", f"--config={config}")[1]
    assert f"kproxy: {flag.partition('=')[0]} has no effect in kproxy\n" in said
    assert 1 == said.count(flag.partition("=")[0])


@pytest.mark.parametrize("flag", ["--version", "--version=true", "--version=raw"])
def test_version_is_printed(flag: str) -> None:
    done = CliRunner().invoke(command, [flag], standalone_mode=False)
    assert done.stdout.startswith("kproxy ")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def here() -> Iterator[None]:
    with fresh_namespace() as name, inside(name):
        yield


def ruleset(*programs: str) -> str:
    return "".join(process.run([f"{program}-save"]) for program in programs)


def without_counters(saved: str) -> list[str]:
    return [line.partition(" [")[0] for line in saved.splitlines() if not line.startswith("#")]


@pytest.mark.netns
@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_cleanup_leaves_only_what_others_put_there(here: None, log: Path, backend: str) -> None:
    programs = (f"iptables-{backend}", f"ip6tables-{backend}")
    for program in programs:
        process.run([program, "-t", "nat", "-N", "OTHERS"])
        process.run([program, "-t", "nat", "-A", "OUTPUT", "-j", "OTHERS"])
        comment = ["-m", "comment", "--comment", 'once "this" was -j KUBE-SERVICES here']
        process.run([program, "-A", "OUTPUT", *comment, "-j", "ACCEPT"])
        process.run([program, "-N", "KUBE-KUBELET-CANARY"])
        process.run([program, "-t", "mangle", "-N", "KUBE-IPTABLES-HINT"])
        process.run([program, "-N", "KUBE-FIREWALL"])
        process.run([program, "-A", "KUBE-FIREWALL", "-m", "mark", "--mark", "0x8000/0x8000", "-j", "DROP"])
        for chain in ("INPUT", "OUTPUT"):
            process.run([program, "-A", chain, "-j", "KUBE-FIREWALL"])
    before = without_counters(ruleset(*programs))
    process.run([programs[0], "-t", "mangle", "-N", "KUBE-PROXY-CANARY"])
    process.run(["nft", "add", "table", "ip", "kube-proxy"])
    process.run(["nft", "add", "table", "ip6", "kube-proxy"])
    process.run(["nft", "add", "table", "inet", "others"])
    flags = ["--iptables-backend", backend, "--iptables-localhost-nodeports=false"]
    with running_agent("--manifests", str(DEMO), *flags, log=log):
        eventually(lambda: "IPv6: synced" in log.read_text(), "the first sync", log)
    assert "KUBE-SERVICES" in ruleset(*programs)
    with running_agent("--cleanup", log=log, named=False) as running:
        assert 0 == running.wait(timeout=BOUND_S)
    assert before == without_counters(ruleset(*programs))
    tables = process.run(["nft", "list", "tables"])
    assert "kube-proxy" not in tables
    assert "table inet others" in tables


OF_MODE_IPVS = {
    "nat": ("KUBE-SERVICES", "KUBE-POSTROUTING", "KUBE-NODE-PORT", "KUBE-LOAD-BALANCER", "KUBE-MARK-MASQ"),
    "filter": (
        *("KUBE-FORWARD", "KUBE-NODE-PORT", "KUBE-PROXY-FIREWALL"),
        *("KUBE-SOURCE-RANGES-FIREWALL", "KUBE-IPVS-FILTER", "KUBE-IPVS-OUT-FILTER"),
    ),
}


@pytest.mark.netns
@pytest.mark.parametrize("said", ["in a file", "by flags"])
def test_cleanup_removes_the_chains_of_mode_ipvs_though_that_cannot_be_run(
    here: None, log: Path, said: str
) -> None:
    for table, chains in OF_MODE_IPVS.items():
        for chain in chains:
            process.run(["iptables-nft", "-t", table, "-N", chain])
        process.run(["iptables-nft", "-t", table, "-A", "OUTPUT", "-j", chains[0]])
        for jump, target in pairwise(chains):
            process.run(["iptables-nft", "-t", table, "-A", jump, "-j", target])
    config = log.with_name("config.yaml")
    config.write_text(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n"
    )
    by_flags = ("--ipvs-scheduler=rr", "--proxy-mode=ipvs")
    flags = ("--config", str(config)) if said == "in a file" else by_flags
    with running_agent(*flags, log=log, named=False) as running:
        assert 2 == running.wait(timeout=BOUND_S)
    with running_agent(*flags, "--cleanup", log=log, named=False) as running:
        assert 0 == running.wait(timeout=BOUND_S)
    assert (
        "'ipvs' is not a mode of kproxy; write iptables or nftables; --cleanup continues" in log.read_text()
    )
    assert "KUBE-" not in ruleset("iptables-nft")


@pytest.mark.netns
def test_cleanup_leaves_a_chain_that_others_use(here: None, log: Path) -> None:
    with running_agent("--manifests", str(DEMO), log=log):
        eventually(lambda: "IPv6: synced" in log.read_text(), "the first sync", log)
    process.run(["iptables-nft", "-t", "nat", "-N", "HOST-PORTS"])
    process.run(["iptables-nft", "-t", "nat", "-A", "HOST-PORTS", "-j", "KUBE-MARK-MASQ"])
    process.run(["iptables-nft", "-F", "KUBE-FIREWALL"])
    with running_agent("--cleanup", log=log, named=False) as running:
        assert 0 == running.wait(timeout=BOUND_S)
    nat = process.run(["iptables-nft-save", "-t", "nat"])
    assert "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000" in nat
    assert ["KUBE-MARK-MASQ"] == re.findall(r"^:(KUBE-\S+)", nat, re.MULTILINE)
    assert "KUBE-FIREWALL" not in process.run(["iptables-nft-save", "-t", "filter"]), "it held no rule"


@pytest.mark.netns
def test_init_only_sets_the_kernel_up_and_ends(here: None, log: Path) -> None:
    flags = [
        "--init-only",
        "--conntrack-tcp-timeout-established=5h",
        "--conntrack-tcp-timeout-close-wait=31m",
    ]
    flags += [
        "--conntrack-tcp-be-liberal",
        "--conntrack-udp-timeout=41s",
        "--conntrack-udp-timeout-stream=142s",
    ]
    with running_agent(*flags, log=log) as running:
        assert 0 == running.wait(timeout=BOUND_S)
    settings = {
        "net.ipv4.conf.all.route_localnet": "1",
        "net.netfilter.nf_conntrack_tcp_timeout_established": "18000",
        "net.netfilter.nf_conntrack_tcp_timeout_close_wait": "1860",
        "net.netfilter.nf_conntrack_tcp_be_liberal": "1",
        "net.netfilter.nf_conntrack_udp_timeout": "41",
        "net.netfilter.nf_conntrack_udp_timeout_stream": "142",
    }
    assert settings == {name: sysctl.read(name.replace(".", "/")) for name in settings}
    assert "KUBE-" not in ruleset("iptables-nft")


@pytest.mark.netns
@pytest.mark.parametrize(("held", "limited_to"), [("1000", "300000"), ("400000", "400000")])
@pytest.mark.parametrize(("buckets", "expected"), [("1024", "75000"), ("80000", "80000")])
def test_conntrack_limit_is_raised_and_its_table_grown_only(
    here: None, log: Path, held: str, limited_to: str, buckets: str, expected: str
) -> None:
    """Both are the machine's own; so the agent finds files of ours in their places."""
    limit, table = log.with_name("limit"), log.with_name("table")
    limit.write_text(held)
    table.write_text(buckets)
    mounting = (
        'mount --bind "$0" /proc/sys/net/netfilter/nf_conntrack_max && '
        'mount --bind "$1" /sys/module/nf_conntrack/parameters/hashsize && shift && exec "$@"'
    )
    agent = [
        sys.executable,
        "-m",
        "kproxy",
        "agent",
        "--init-only",
        "--conntrack-max-per-core=1",
        "--conntrack-min=300000",
    ]
    subprocess.run(["unshare", "--mount", "sh", "-c", mounting, str(limit), str(table), *agent], check=True)
    assert (limited_to, expected) == (limit.read_text(), table.read_text())


@pytest.mark.netns
def test_setting_that_cannot_be_written_is_a_warning_with_its_consequence(here: None, log: Path) -> None:
    with running_agent(
        "--init-only", "--conntrack-min=2000000000", log=log
    ) as running:  # a namespace other than the first may not set the limit
        assert 0 == running.wait(timeout=BOUND_S)
    assert "cannot set net.netfilter.nf_conntrack_max=" in log.read_text()
    assert "new connections are dropped once the kernel's own limit is reached" in log.read_text()


@pytest.mark.netns
@pytest.mark.parametrize(
    ("flag", "reason"),
    [
        ("--healthz-bind-address", "FailedToStartProxierHealthcheck"),
        ("--metrics-bind-address", "FailedToStartMetricServer"),
    ],
)
def test_taken_address_ends_the_agent_only_if_asked_to(here: None, log: Path, flag: str, reason: str) -> None:
    with StubApi() as api, socket.create_server(("127.0.0.1", 9999)):
        api.put("Node", node(NODE))
        api.put("Service", service("web"))
        taken = (
            "--kubeconfig",
            str(api.write_kubeconfig(log.with_name("kubeconfig"))),
            flag,
            "127.0.0.1:9999",
        )
        with running_agent(*taken, "--bind-address-hard-fail", log=log) as running:
            assert 3 == running.wait(timeout=BOUND_S)
        assert "cannot listen on 127.0.0.1:9999" in log.read_text()
        assert [reason] == [event["reason"] for event in api.created if event["type"] == "Warning"]
        with running_agent(*taken, log=log):
            eventually(lambda: "IPv6: synced" in log.read_text(), "rules come all the same", log)


@pytest.mark.netns
def test_changed_configuration_file_ends_the_agent_and_the_rules_stay(here: None, log: Path) -> None:
    config = log.with_name("config.yaml")
    text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\niptables: {minSyncPeriod: 50ms}\n"
    config.write_text(text)
    with running_agent("--manifests", str(DEMO), "--config", str(config), log=log) as running:
        eventually(lambda: "IPv6: synced" in log.read_text(), "the first sync", log)
        config.write_text(text)  # the same contents are no change
        time.sleep(1.5)
        assert running.poll() is None
        config.with_suffix(".new").write_text(text + "oomScoreAdj: 0\n")
        config.with_suffix(".new").rename(config)
        assert 1 == running.wait(timeout=BOUND_S)
    assert f"{config} has changed; the agent ends to be started again with it" in log.read_text()
    assert "KUBE-SERVICES" in ruleset("iptables-nft")


@pytest.mark.netns
def test_host_that_cannot_program_ipv6_runs_ipv4(
    here: None, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = log.with_name("ip6tables-nft")
    stand_in.write_text("#!/bin/sh\necho 'table nat: Table does not exist' >&2\nexit 3\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{log.parent}:{os.environ['PATH']}")
    with running_agent("--manifests", str(DEMO), log=log):
        eventually(lambda: "IPv4: synced" in log.read_text(), "IPv4 is programmed", log)
    assert "IPv6: no rules are programmed: table nat: Table does not exist" in log.read_text()


@pytest.mark.netns
@pytest.mark.parametrize(("verbosity", "told"), [("-v=2", False), ("-v=4", True), ("--vmodule=loop=4", True)])
def test_log_is_json_and_as_verbose_as_asked(here: None, log: Path, verbosity: str, told: bool) -> None:
    with running_agent(
        "--manifests", str(DEMO), "--logging-format=json", verbosity, "--iptables-sync-period=100ms", log=log
    ):
        eventually(lambda: "IPv6: synced" in log.read_text(), "the first sync", log)
        time.sleep(1.0)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert all({"ts", "caller", "msg"} <= line.keys() for line in lines)
    idle = [line for line in lines if "IPv4: synced" in line["msg"] and line["v"] > 0]
    assert told == bool(idle)


def _of_kubeadm() -> tuple[list[str], str]:
    return [
        "kube-proxy",
        "--config=/var/lib/kube-proxy/config.conf",
        "--hostname-override=$(NODE_NAME)",
    ], KUBEADM.read_text()


def _of_ours() -> tuple[list[str], str]:
    manifests = {manifest["kind"]: manifest for manifest in yaml.safe_load_all(DEPLOY.read_text())}
    (container,) = manifests["DaemonSet"]["spec"]["template"]["spec"]["containers"]
    assert {"name": "config", "mountPath": "/var/lib/kube-proxy"} in container["volumeMounts"]
    return container["command"], manifests["ConfigMap"]["data"]["config.conf"]


@pytest.mark.netns
@pytest.mark.parametrize("daemon_set", [_of_kubeadm, _of_ours])
def test_command_and_files_of_a_daemonset_start_the_agent(
    here: None, log: Path, daemon_set: Callable[[], tuple[list[str], str]]
) -> None:
    (program, *arguments), config = daemon_set()
    mounted = log.with_name("mounted")
    mounted.mkdir()
    (mounted / "config.conf").write_text(config)
    with StubApi() as api:
        api.put("Node", node(NODE))
        api.put("Service", service("web"))
        api.put("EndpointSlice", endpoint_slice("web-a", "web", "10.244.1.5"))
        api.write_kubeconfig(mounted / "kubeconfig.conf")
        mounting = (
            "mount -t tmpfs none /run && "  # where the agent has its record: no other test's agent finds it
            "mount -t tmpfs none /var/lib && mkdir /var/lib/kube-proxy && "
            'mount --bind "$0" /var/lib/kube-proxy && exec "$@"'
        )
        as_in_the_pod = [str(Path(sys.executable).with_name(program))]
        as_in_the_pod += [argument.replace("$(NODE_NAME)", NODE) for argument in arguments]
        command = [
            *DIES_WITH_ITS_PARENT,
            "unshare",
            "--mount",
            "sh",
            "-c",
            mounting,
            str(mounted),
            *as_in_the_pod,
        ]
        with log.open("wb") as output:
            running = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            eventually(lambda: "10.244.1.5:8080" in ruleset("iptables-nft"), "the Service is programmed", log)
            running.send_signal(signal.SIGTERM)
            assert 0 == running.wait(timeout=BOUND_S)
        finally:
            running.kill()
            running.wait(timeout=BOUND_S)
    assert "unknown" not in log.read_text()
    assert "is ignored" not in log.read_text()


@pytest.mark.netns
def test_agent_in_nftables_mode_answers_as_in_the_other(here: None, log: Path) -> None:
    with running_agent("--manifests", str(DEMO), "--proxy-mode=nftables", log=log):
        eventually(lambda: "IPv6: synced" in log.read_text(), "the first sync", log)
        connection = HTTPConnection("127.0.0.1", 10249, timeout=10)
        connection.request("GET", "/proxyMode")
        assert b"nftables" == connection.getresponse().read()
        connection.close()
    with running_agent("--cleanup", log=log, named=False) as running:
        assert 0 == running.wait(timeout=BOUND_S)
    assert "kproxy" not in process.run(["nft", "list", "tables"])


@pytest.mark.netns
@pytest.mark.parametrize("turned_off", [False, True])
def test_nftables_mode_refuses_an_old_kernel_unless_told_otherwise(
    here: None, log: Path, monkeypatch: pytest.MonkeyPatch, turned_off: bool
) -> None:
    """A process whose personality says so is told of Linux 2.6."""
    monkeypatch.setenv("KUBE_PROXY_NFTABLES_SKIP_KERNEL_VERSION_CHECK", "1" if turned_off else "")
    old = subprocess.run(
        ["setarch", "--uname-2.6", "uname", "-r"], check=True, capture_output=True, text=True
    )
    flags = ["--manifests", str(DEMO), "--proxy-mode=nftables"]
    with running_agent(*flags, log=log, before=("setarch", "--uname-2.6")) as running:
        if turned_off:
            eventually(lambda: "IPv6: synced" in log.read_text(), "the first sync", log)
        else:
            assert 3 == running.wait(timeout=BOUND_S)
    assert f"kernel {old.stdout.strip()} is older than 5.13" in log.read_text()
    assert turned_off == ("kproxy" in process.run(["nft", "list", "tables"]))
