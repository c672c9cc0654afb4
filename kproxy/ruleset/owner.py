"""The owners that a chain of iptables can have; `kproxy.ruleset.iptables.ownership` finds the owner."""

from enum import Enum


class Owner(Enum):
    """The program that makes a chain, and the reason for it, judged by the chain's table and name alone.

    `reason` is one sentence for people. `source` is the place that gives these names, in kproxy or in Kubernetes.
    """

    SERVICE = (
        "kproxy and kube-proxy make it for a Service, and nobody else uses it",
        "pkg/proxy/iptables/proxier.go; kproxy/ruleset/iptables/names.py",
    )
    NODE = (
        "kproxy and kube-proxy make it on every node, with or without Services",
        "pkg/proxy/iptables/proxier.go",
    )
    IPVS = ("kube-proxy makes it in its mode ipvs", "pkg/proxy/ipvs/proxier.go")
    SHARED_WITH_PLUGINS = (
        "kproxy and kube-proxy make it, and plugins that open host ports may send packets there",
        "pkg/proxy/iptables/proxier.go; externalSetMarkChain of the CNI plugin portmap",
    )
    SHARED_WITH_KUBELET = (
        "the kubelet, kproxy and kube-proxy keep the same rule there, which guards 127.0.0.1",
        "pkg/kubelet/kubelet_network_linux.go; pkg/proxy/iptables/proxier.go",
    )
    KUBELET = (
        "the kubelet makes it, and other programs look for it",
        "pkg/kubelet/kubelet_network_linux.go",
    )
    KUBERNETES = (
        "its name begins as those of Kubernetes do; another version or a template of the user may have made it",
        "templates/iptables/README.md",
    )
    BUILT_IN = ("it is part of its table in every kernel", "iptables(8)")
    FOREIGN = ("it is of another program", "no program of Kubernetes uses this name")

    def __init__(self, reason: str, source: str) -> None:
        self.reason = reason
        self.source = source
