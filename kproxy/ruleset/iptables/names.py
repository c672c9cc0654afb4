"""Chain names, composed as kube-proxy does it, so that a node can be handed over in place.

The hash covers the service port's name and protocol in lower case and, for a backend, its target;
16 characters of base32, of 10 bytes, keep a name under the kernel's limit of 28 (XT_EXTENSION_MAXNAMELEN - 1).
"""

import base64
import hashlib
import re

from kproxy.values import ServicePortName

CLUSTER_POLICY = "KUBE-SVC-"
LOCAL_POLICY = "KUBE-SVL-"
EXTERNAL = "KUBE-EXT-"
FIREWALL = "KUBE-FW-"
BACKEND = "KUBE-SEP-"

_TREES = {
    "KUBE-SERVICES": "KUBE-S-",
    "KUBE-NODEPORTS": "KUBE-N-",
    "KUBE-EXTERNAL-SERVICES": "KUBE-X-",
    "KUBE-PROXY-FIREWALL": "KUBE-F-",
}
_IN_A_TREE = re.compile(r"KUBE-[SNXF]-([0-9.]+|[A-Z2-7]{16}|(tcp|udp|sctp)-[0-9]+)/(?P<bits>[0-9]{1,3})")

_LONGEST = 28
"""The characters of a chain name that iptables takes (XT_EXTENSION_MAXNAMELEN - 1)."""

PER_SERVICE = (FIREWALL, EXTERNAL, CLUSTER_POLICY, LOCAL_POLICY, BACKEND)
"""The prefixes of chains that come and go with Services; a chain jumps only to prefixes on its right."""


def service_port_hash(name: ServicePortName) -> str:
    """The end of the names of all chains that one service port has for itself."""
    return _hash(f"{name}{name.protocol.lower()}")


def backend_hash(name: ServicePortName, target: str) -> str:
    """The end of the name of a backend's chain; `target` is `address:port`."""
    return _hash(f"{name}{name.protocol.lower()}{target}")


def tree_chain(root: str, part: str) -> str:
    """The chain below the dispatch chain `root` for `part` of its packets: a network, or ports with a prefix length."""
    name = _TREES[root] + part
    if len(name) <= _LONGEST and ":" not in name:
        return name
    return f"{_TREES[root]}{_hash(part)}/{part.rpartition('/')[2]}"


def depth_in_tree(name: str) -> int | None:
    """The length of the prefix that leads to a chain that `tree_chain` named; None for any other name."""
    found = _IN_A_TREE.fullmatch(name)
    return int(found["bits"]) if found else None


def group(chain: str, backend_chain: str, depth: int) -> str:
    """The chain for those backends of `chain` whose hashes begin alike, up to the digit of number `depth`."""
    return f"{chain}-{backend_chain[len(BACKEND) :][: depth + 1]}"


def _hash(text: str) -> str:
    return base64.b32encode(hashlib.sha256(text.encode()).digest()[:10]).decode()
