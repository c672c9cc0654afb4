"""What commands read: manifests or a cluster, a configuration, and the name of the node."""

import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from kproxy.cli.visible import indented
from kproxy.configuration import Configuration, decode_configuration
from kproxy.errors import InputError, InvalidField
from kproxy.ruleset.layout import LAYOUTS
from kproxy.sources import manifests, yaml
from kproxy.state.objects import Kind
from kproxy.state.store import Store
from kproxy.state.validate import dns_subdomain

dispatch_option = click.option(
    "--dispatch",
    type=click.Choice(list(LAYOUTS)),
    default="auto",
    show_default=True,
    help="Chains that are asked from top to bottom, as kube-proxy's, or trees; auto: trees where they pay.",
)


def tell(sentence: object) -> None:
    """A remark for the person at the terminal, out of the way of what is piped on."""
    click.echo(f"kproxy: {indented(str(sentence))}", err=True)


def load_configuration(path: Path | None) -> Configuration:
    """The configuration file, or all defaults without one."""
    return decode_file(path, read_file(path)) if path else Configuration()


def read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as failed:
        raise InputError(f"cannot read {path}: {failed.strerror}") from failed


def decode_file(path: Path, text: bytes) -> Configuration:
    """The configuration that was read there; warnings go to stderr. InputError begins with the path."""
    try:
        configuration, warnings = decode_configuration(_only_document(text))
    except InputError as wrong:
        raise InputError(f"{path}: {wrong}") from wrong
    for warning in warnings:
        tell(f"{path}: {warning}")
    return configuration


def _only_document(text: bytes) -> object:
    documents = yaml.load_documents(text)
    if len(documents) != 1:
        raise InputError(f"this holds {len(documents)} documents; a configuration is one")
    return documents[0].data


def node_name(configuration: Configuration, chosen: str | None = None) -> str:
    """The chosen one, else hostnameOverride, else this host's name; in lower case as kube-proxy has it.

    InputError where that is no name of a Node. An empty hostnameOverride stands for none, as kube-proxy has it.
    """
    if chosen is not None:
        return _node_name(chosen, "--node", "give the name of a Node, as `kubectl get nodes` shows it")
    override = configuration.hostname_override
    if override:
        return _node_name(override, "hostnameOverride", "give the name of this Node, or leave it out")
    return _node_name(
        socket.gethostname(),
        "this host's name",
        "give the name of its Node with --hostname-override or --node",
    )


def _node_name(text: str, origin: str, remedy: str) -> str:
    """Blanks around it do not count, as kube-proxy has it; what it holds otherwise goes into requests and log lines."""
    try:
        return dns_subdomain(text.strip(" ").lower(), origin)
    except InvalidField as wrong:
        raise InputError(f"{wrong}; {remedy}") from wrong


def store_from_files(files: Sequence[str], *, may_be_nothing: bool = False) -> Store:
    """All objects of the files and directories; what is left out or passed over is told on stderr.

    InputError where they hold no object at all, unless they may.
    """
    stdin = _read_stdin() if "-" in files else None
    found = manifests.read([Path(name) for name in files if name != "-"], stdin=stdin)
    if found.is_nothing and not may_be_nothing:
        raise InputError(f"there is nothing to render: {'; '.join(map(str, found.remarks))}")
    for rejection in found.rejections:
        tell(rejection)
    for sentence in found.sentences():
        tell(sentence)
    store = Store()
    for kind in Kind:
        store.apply(found.listed(kind))
    return store


def _read_stdin() -> bytes:
    if sys.stdin is None:  # it was closed before this program began
        raise InputError("-f - reads stdin, and stdin is closed; pipe manifests into it, or name a file")
    try:
        return sys.stdin.buffer.read()
    except OSError as failed:
        raise InputError(
            f"-f - cannot read stdin: {failed.strerror}; pipe manifests into it, or name a file"
        ) from failed


def store_from_cluster(kubeconfig: Path | None, node: str, *, service_cidrs: bool) -> Store:
    """The Services, EndpointSlices and the Node of the kubeconfig's current context, listed once."""
    from kproxy.cli.logs import log_warnings_as_remarks
    from kproxy.client import connection  # half a second, spent only with a cluster
    from kproxy.sources import kube

    log_warnings_as_remarks()
    store = Store()
    for listed in kube.list_once(connection.connect(kubeconfig), node, service_cidrs=service_cidrs):
        for rejection in listed.rejections:
            tell(rejection)
        store.apply(listed)
    return store
