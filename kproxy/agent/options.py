"""The options of an agent: the configuration, and the flags that stand for none of its fields."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kproxy.agent.configuration_watch import ConfigurationFile
from kproxy.configuration import Configuration
from kproxy.kernel.programs.iptables import Variant
from kproxy.ruleset.layout import AUTO, Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The task of an agent. Its source is the directory `manifests` if that is set, else a cluster.

    Without `kubeconfig` and `master` the cluster is the one in which this pod runs. `variant` None means the variant
    that this host uses. `configuration_file` is set if the configuration comes from a file. `other_flags` are the flags
    that stand for no field of the configuration, as a page may show them: without secrets.
    """

    configuration: Configuration
    node_name: str
    configuration_file: ConfigurationFile | None = None
    manifests: Path | None = None
    kubeconfig: Path | None = None
    master: str = ""
    variant: Variant | None = None
    layout: Layout = AUTO
    templates: Path | None = None
    state_directory: Path = Path("/run/kproxy")
    init_only: bool = False
    other_flags: Mapping[str, str] = field(default_factory=dict)
