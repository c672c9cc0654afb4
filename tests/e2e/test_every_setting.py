"""Every flag on one running agent, and every field of a file on another: what their pages, logs and rules make of them."""

import json
import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import yaml

from kproxy import process
from kproxy.kernel.node import sysctl
from namespaces import fresh_namespace, inside
from running import NODE, eventually, running_agent
from stubapi import StubApi
from stubapi.manifests import endpoint_slice, node, service

pytestmark = pytest.mark.netns

PRIMARY = "fd00:199::2"
"""The address that bindAddress names; the Node object has another address of this family."""

FLAGS = {
    "bind-address": PRIMARY,
    "bind-address-hard-fail": "true",
    "cluster-cidr": "10.128.0.0/16,fd00:10:128::/48",
    "config-sync-period": "10m0s",
    "conntrack-max-per-core": "0",
    "conntrack-min": "7",
    "conntrack-tcp-be-liberal": "true",
    "conntrack-tcp-timeout-close-wait": "2h0m0s",
    "conntrack-tcp-timeout-established": "5h0m0s",
    "conntrack-udp-timeout": "40s",
    "conntrack-udp-timeout-stream": "1m30s",
    "detect-local-mode": "BridgeInterface",
    "feature-gates": "One=true,Two=false",
    "healthz-bind-address": "127.0.0.1:10300",
    "hostname-override": NODE,
    "iptables-localhost-nodeports": "false",
    "iptables-masquerade-bit": "3",
    "iptables-min-sync-period": "50ms",
    "iptables-sync-period": "2s",
    "kube-api-burst": "20",
    "kube-api-content-type": "application/vnd.kubernetes.protobuf",
    "kube-api-qps": "2.5",
    "logging-format": "text",
    "masquerade-all": "true",
    "metrics-bind-address": "127.0.0.1:10301",
    "nodeport-addresses": "primary",
    "oom-score-adj": "7",
    "pod-bridge-interface": "cni0",
    "pod-interface-name-prefix": "calico",
    "profiling": "true",
    "proxy-mode": "iptables",
    "v": "3",
}
NAMED_FLAGS = (*("--config-sync-period", "--profiling", "the feature gate One", "the feature gate Two"),)

FIELDS: dict[str, Any] = {
    "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
    "kind": "KubeProxyConfiguration",
    "clientConnection": {
        "kubeconfig": "",
        "acceptContentTypes": "application/vnd.kubernetes.protobuf",
        "contentType": "application/vnd.kubernetes.protobuf",
        "qps": 2.5,
        "burst": 20,
    },
    "bindAddress": PRIMARY,
    "healthzBindAddress": "127.0.0.1:10300",
    "metricsBindAddress": f"[{PRIMARY}]:10301",
    "bindAddressHardFail": True,
    "enableProfiling": True,
    "hostnameOverride": NODE,
    "mode": "nftables",
    "iptables": {
        "masqueradeBit": 3,
        "masqueradeAll": False,
        "syncPeriod": "1m0s",
        "minSyncPeriod": "2s",
        "localhostNodePorts": False,
    },
    "nftables": {"masqueradeBit": 4, "masqueradeAll": True, "syncPeriod": "500ms", "minSyncPeriod": "50ms"},
    "detectLocalMode": "InterfaceNamePrefix",
    "detectLocal": {"bridgeInterface": "cni0", "interfaceNamePrefix": "calico"},
    "clusterCIDR": "10.128.0.0/16",
    "nodePortAddresses": ["primary"],
    "conntrack": {
        "maxPerCore": 0,
        "min": 7,
        "tcpEstablishedTimeout": "5h0m0s",
        "tcpCloseWaitTimeout": "2h0m0s",
        "tcpBeLiberal": True,
        "udpTimeout": "40s",
        "udpStreamTimeout": "1m30s",
    },
    "oomScoreAdj": 7,
    "configSyncPeriod": "10m0s",
    "featureGates": {"One": True},
    "logging": {"format": "json", "verbosity": 3, "vmodule": [{"filePattern": "loop", "verbosity": 4}]},
}
NAMED_FIELDS = ("configSyncPeriod", "enableProfiling", "the feature gate One")

SETTINGS = {
    "net.ipv4.conf.all.route_localnet": "0",
    "net.netfilter.nf_conntrack_tcp_be_liberal": "1",
    "net.netfilter.nf_conntrack_tcp_timeout_close_wait": "7200",
    "net.netfilter.nf_conntrack_tcp_timeout_established": "18000",
    "net.netfilter.nf_conntrack_udp_timeout": "40",
    "net.netfilter.nf_conntrack_udp_timeout_stream": "90",
}


def objects() -> Iterator[tuple[str, dict[str, Any]]]:
    this_node = node(NODE)
    this_node["status"]["addresses"].append({"type": "InternalIP", "address": "fd00:199::3"})
    yield "Node", this_node
    web = service("web")
    web["spec"] |= {
        "type": "NodePort",
        "externalTrafficPolicy": "Local",
        "clusterIPs": ["10.96.0.10", "fd00:10:96::a"],
        "ipFamilies": ["IPv4", "IPv6"],
    }
    web["spec"]["ports"][0]["nodePort"] = 30080
    yield "Service", web
    for family, address in (("IPv4", "10.128.1.5"), ("IPv6", "fd00:10:128:1::5")):
        yield (
            "EndpointSlice",
            endpoint_slice(f"web-{family.lower()}", "web", address) | {"addressType": family},
        )


@contextmanager
def settled_agent(*flags: str, log: Path) -> Iterator[int]:
    """Its process id, once it has synced both families of a small cluster, whose kubeconfig lies beside the log."""
    with fresh_namespace() as name, inside(name), StubApi(speaks_protobuf=True) as api:
        for address in ("10.199.0.2/24", f"{PRIMARY}/64"):
            process.run(["ip", "address", "add", address, "dev", "lo"])
        for kind, manifest in objects():
            api.put(kind, manifest)
        api.write_kubeconfig(log.with_name("kubeconfig"))
        with running_agent(*flags, f"--state-dir={log.parent}", log=log, named=False) as running:
            eventually(lambda: "IPv6: synced" in log.read_text(), "the first sync", log)
            yield running.pid


def page(server: str, path: str) -> str:
    with urllib.request.urlopen(f"http://{server}{path}", timeout=10) as answer:
        return str(answer.read().decode())


def assert_is_in_the_kernel(agent: int) -> None:
    assert SETTINGS == {name: sysctl.read(name.replace(".", "/")) for name in SETTINGS}
    assert "7\n" == Path(f"/proc/{agent}/oom_score_adj").read_text()


def test_every_flag_is_in_force(tmp_path: Path) -> None:
    log = tmp_path / "log"
    flags = {**FLAGS, "kubeconfig": str(log.with_name("kubeconfig"))}
    given = [f"--{flag}={value}" for flag, value in flags.items()]
    with settled_agent(*given, "--vmodule=loop=4", "--iptables-backend=nft", log=log) as agent:
        listed = dict(
            line.split("=", 1) for line in page("127.0.0.1:10301", "/flagz").splitlines() if "=" in line
        )
        shown = flags | {"vmodule": "loop=4", "iptables-backend": "nft", "dispatch": "auto", "manifests": ""}
        shown |= {"config": "", "state-dir": str(log.parent)}
        assert shown == {flag: listed[flag] for flag in shown}
        assert json.loads(page("127.0.0.1:10300", "/healthz"))["nodeEligible"], "it knows its Node"
        assert_is_in_the_kernel(agent)
        v4, v6 = (process.run([f"{program}-nft-save"]) for program in ("iptables", "ip6tables"))
    for flag in NAMED_FLAGS:
        assert f"kproxy: {flag} has no effect in kproxy" in log.read_text()
    assert "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x8/0x8\n" in v4
    assert re.search(r"-A KUBE-SVC-\w+ -d 10.96.0.10/32 -p tcp .*cluster IP\" .*-j KUBE-MARK-MASQ\n", v4), (
        "all are masqueraded"
    )
    assert re.search(r"-A KUBE-EXT-\w+ -i cni0 .*-j KUBE-SVC-", v4), "who comes by the bridge is a pod"
    assert re.search(r"-A KUBE-SERVICES -d 10.199.0.2/32 .*-j KUBE-NODEPORTS\n", v4)
    assert re.search(rf"-A KUBE-SERVICES -d {PRIMARY}/128 .*-j KUBE-NODEPORTS\n", v6)
    assert "fd00:199::3" not in v6


def in_configz(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields, and beside them what kube-proxy's page has for fields that change nothing here."""
    recorded = json.loads((Path(__file__).parents[1] / "pages" / "configz.txt").read_text())
    (group, content), *_ = recorded.items()
    return {group: content | fields | {"logging": content["logging"] | fields["logging"]}}


def test_every_field_of_a_file_is_in_force(tmp_path: Path) -> None:
    log, config = tmp_path / "log", tmp_path / "config.yaml"
    connection = {**FIELDS["clientConnection"], "kubeconfig": str(log.with_name("kubeconfig"))}
    fields = {**FIELDS, "clientConnection": connection}
    config.write_text(yaml.safe_dump({**fields, "portRange": "", "nodePortAdresses": []}))
    with settled_agent(f"--config={config}", "--masquerade-all=false", log=log) as agent:
        server = f"[{PRIMARY}]:10301"
        assert in_configz(fields) == json.loads(page(server, "/configz"))
        assert "nftables" == page(server, "/proxyMode")
        assert json.loads(page("127.0.0.1:10300", "/healthz"))["nodeEligible"], "it knows its Node"
        assert_is_in_the_kernel(agent)
        v4, v6 = (process.run(["nft", "list", "table", family, "kproxy"]) for family in ("ip", "ip6"))
    said = log.read_text()
    assert "kproxy: --masquerade-all is ignored" in said
    assert "unknown field nodePortAdresses is ignored; did you mean nodePortAddresses?" in said
    assert "portRange" not in said
    for field in NAMED_FIELDS:
        assert f"kproxy: {field} has no effect in kproxy" in said
    assert all(json.loads(line) for line in said.splitlines() if line.startswith("{"))
    assert "0x00000010" in v4
    assert 'comment "masquerade"\n' in v4, "all are masqueraded"
    assert 'iifname "calico*"' in v4, "who comes by such an interface is a pod"
    assert "elements = { 10.199.0.2 }" in v4
    assert f"elements = {{ {PRIMARY} }}" in v6


def test_servers_of_a_file_are_by_default_of_the_family_of_its_bind_address(tmp_path: Path) -> None:
    log, config = tmp_path / "log", tmp_path / "config.yaml"
    kind = {name: FIELDS[name] for name in ("apiVersion", "kind", "hostnameOverride")}
    kubeconfig = str(log.with_name("kubeconfig"))
    config.write_text(
        yaml.safe_dump({**kind, "bindAddress": "::", "clientConnection": {"kubeconfig": kubeconfig}})
    )
    with settled_agent(f"--config={config}", log=log):
        assert "ok" == page("[::1]:10249", "/healthz")
        assert json.loads(page(f"[{PRIMARY}]:10256", "/livez"))["healthy"]
        with pytest.raises(URLError, match="refused"):
            page("127.0.0.1:10249", "/healthz")


@pytest.mark.parametrize("wanted", [True, False])
def test_node_ports_are_on_localhost_only_where_wanted(*, wanted: bool, tmp_path: Path) -> None:
    log = tmp_path / "log"
    given = (f"--kubeconfig={log.with_name('kubeconfig')}", f"--hostname-override={NODE}")
    flag = f"--iptables-localhost-nodeports={str(wanted).lower()}"
    with settled_agent(*given, flag, "--iptables-backend=nft", log=log):
        rules = process.run(["iptables-nft-save"])
        assert wanted == ("-A KUBE-SERVICES -m comment" in rules), "the others exclude it"
        assert wanted == ("-A KUBE-FIREWALL" in rules), "then strangers are kept out"
        assert str(int(wanted)) == sysctl.read(sysctl.ROUTE_LOCALNET)
