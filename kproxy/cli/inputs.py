"""The inputs of commands: manifests or a cluster, a configuration, and the name of the node."""

import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from kproxy.configuration import Configuration, decode_configuration
from kproxy.errors import InputError, InvalidField
from kproxy.ruleset.layout import LAYOUTS
from kproxy.sources import manifests, yaml
from kproxy.state.objects import Kind
from kproxy.state.printable import indented
from kproxy.state.store import Store
from kproxy.state.validate import dns_subdomain

dispatch_option = click.option(
    "--dispatch",
    type=click.Choice(list(LAYOUTS)),
    default="auto",
    show_default=True,
    help="How packets find their Service: flat is a list of rules, as kube-proxy's; tree is a search tree. auto: tree for many Services.",
)


def tell(sentence: object) -> None:
    """Write a remark for the person at the terminal to stderr, so that stdout can be piped."""
    click.echo(f"kproxy: {indented(str(sentence))}", err=True)


def load_configuration(path: Path | None) -> Configuration:
    """The configuration in the file; all defaults without a file."""
    return decode_file(path, read_file(path)) if path else Configuration()


def read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as failed:
        raise InputError(f"cannot read {path}: {failed.strerror}") from failed


def decode_file(path: Path, text: bytes) -> Configuration:
    """Decode the configuration that was read from a file. Warnings go to stderr. InputError begins with the path."""
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
        raise InputError(f"this has {len(documents)} documents; write one configuration")
    return documents[0].data


def node_name(configuration: Configuration, chosen: str | None = None) -> str:
    """The chosen name, otherwise hostnameOverride, otherwise this host's name; in lower case as in kube-proxy.

    InputError if the text cannot be the name of a Node. An empty hostnameOverride counts as absent, as in kube-proxy.
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
    """Check a node's name.

    Blanks around it are removed, as in kube-proxy. The name is used in requests and log lines.
    """
    try:
        return dns_subdomain(text.strip(" ").lower(), origin)
    except InvalidField as wrong:
        raise InputError(f"{wrong}; {remedy}") from wrong


def store_from_files(files: Sequence[str], *, may_be_nothing: bool = False) -> Store:
    """All objects of the files and directories. Rejected and ignored objects are reported on stderr.

    InputError if there is no object at all, unless `may_be_nothing`.
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
    if sys.stdin is None:  # stdin was closed before this program began
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
    from kproxy.client import connection  # the import takes half a second, which only a cluster needs
    from kproxy.sources import kube

    log_warnings_as_remarks()
    store = Store()
    for listed in kube.list_once(connection.connect(kubeconfig), node, service_cidrs=service_cidrs):
        for rejection in listed.rejections:
            tell(rejection)
        store.apply(listed)
    return store
