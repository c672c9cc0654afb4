"""`kproxy render`: the ruleset of a clean node, without root and without touching anything."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import click
import msgspec

from kproxy.cli.inputs import (
    dispatch_option,
    load_configuration,
    node_name,
    store_from_cluster,
    store_from_files,
    tell,
)
from kproxy.configuration import Mode
from kproxy.configuration.rules import rule_settings
from kproxy.errors import InputError
from kproxy.kernel.accounting import have_counters
from kproxy.model.node import view_node
from kproxy.model.plan import is_proxied
from kproxy.render.templates import rule_templates
from kproxy.ruleset.desired import Circumstances, DesiredRuleset
from kproxy.ruleset.failures import place_of, why
from kproxy.ruleset.iptables import Render
from kproxy.ruleset.nftables.desired import DesiredTable
from kproxy.ruleset.tree import LAYOUTS
from kproxy.state.events import Cost, Rejection
from kproxy.state.objects import Node
from kproxy.state.store import Store
from kproxy.transaction.nftables import change_table, clean_table
from kproxy.transaction.plan import clean_node, plan
from kproxy.values import Address, Family, NamespacedName, family_of, parse_address

_LOOPBACK = (Address("127.0.0.1"), Address("::1"))
_FAMILY = {"ipv4": Family.IPV4, "ipv6": Family.IPV6}


@click.command()
@click.option(
    "files", "-f", "--filename", multiple=True, metavar="FILE|DIR|-", help="Manifests, YAML or JSON."
)
@click.option("use_cluster", "--from-cluster", is_flag=True, help="Read a cluster instead of manifests.")
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path),
    default=Path.home() / ".kube" / "config",
    envvar="KUBECONFIG",
    help="For --from-cluster.  [default: $KUBECONFIG, then ~/.kube/config]",
)
@click.option("--config", type=click.Path(path_type=Path), help="A KubeProxyConfiguration file.")
@click.option("--node", help="The node to render for.  [default: hostnameOverride, then this host's name]")
@click.option(
    "node_ips",
    "--node-ip",
    multiple=True,
    metavar="ADDRESS",
    help="The node's addresses, instead of its Node's.",
)
@click.option("--family", type=click.Choice(list(_FAMILY)), default="ipv4", show_default=True)
@click.option(
    "--mode", type=click.Choice([*map(str, Mode)]), help="[default: the configuration's, else iptables]"
)
@dispatch_option
@click.option(
    "--before", multiple=True, metavar="FILE|DIR|-", help="Print only the change from these manifests."
)
@click.option(
    "--nfacct",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    show_default=True,
    help="Count packets in nfacct objects, which must exist; auto: if they do here.",
)
@click.option(
    "--templates",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A directory whose templates, in iptables/ or nftables/, win over ours.",
)
def command(
    files: tuple[str, ...],
    use_cluster: bool,
    kubeconfig: Path,
    config: Path | None,
    node: str | None,
    node_ips: tuple[str, ...],
    family: str,
    mode: str | None,
    dispatch: str,
    before: tuple[str, ...],
    nfacct: str,
    templates: Path | None,
) -> None:
    """Print a node's rules, as iptables-restore or nft reads them.

    \b
    kproxy render -f cluster.yaml --node node-1 | iptables-restore --noflush
    kproxy render -f cluster.yaml --node node-1 --mode nftables | nft -f -
    kproxy render -f new/ --before old/ --node node-1

    Needs no root and touches nothing. Exit code 1 means that an object was left out, or its newest rules; stderr says which, and why.
    """  # noqa: D301 # click takes the backspace as: do not wrap
    if bool(files) == use_cluster:
        raise InputError("say where the Services are: -f FILE, -f DIR, -f - for stdin, or --from-cluster")
    configuration = load_configuration(config)
    if mode:
        configuration = msgspec.structs.replace(configuration, mode=Mode(mode))
    name = node_name(configuration, node)
    counted = have_counters() if nfacct == "auto" and os.geteuid() == 0 else nfacct == "on"
    settings = rule_settings(configuration, accounting=counted, conntrack_tcp_be_liberal=False)
    render = rule_templates(templates)

    def circumstances(store: Store) -> Circumstances:
        known = _node(store, name, node_ips)
        local = (*_LOOPBACK, *(known.addresses if known else ()))
        view = view_node(name, known, local, settings, _FAMILY[family])
        return Circumstances(view, settings, LAYOUTS[dispatch], store.service_networks(_FAMILY[family]))

    nftables = configuration.mode is Mode.NFTABLES
    store = (
        store_from_cluster(kubeconfig, name, service_cidrs=nftables)
        if use_cluster
        else store_from_files(files)
    )
    known = store_from_files(before) if before else None
    rules, not_computed = (_nftables if nftables else _iptables)(store, known, circumstances, render)
    click.echo(rules, nl=False)
    for key, failed in sorted(not_computed.items()):
        cost = Cost.CHANGE if known and key in known.services else Cost.OBJECT
        tell(Rejection(place_of(_FAMILY[family]), "Service", str(key), *why(failed), key, cost))
    for remark in _remarks(store, name, _FAMILY[family]):
        tell(remark)
    if store.rejections or not_computed:
        raise click.exceptions.Exit(1)


_Depend = Callable[[Store], Circumstances]
_Rendered = tuple[str, Mapping[NamespacedName, Exception]]
"""The rules, and the Services of which none or old ones are in them, each with the reason."""


def _iptables(store: Store, before: Store | None, depend: _Depend, render: Render) -> _Rendered:
    ruleset = DesiredRuleset(render)
    if before is None:
        ruleset.update(store, store.services, depend(store))
        return clean_node(ruleset.chains, ruleset.jumps), ruleset.take_not_computed()
    ruleset.update(before, before.services, depend(before))
    known = dict(ruleset.chains)
    ruleset.update(store, {*store.services, *before.services}, depend(store))
    return str(plan(known, ruleset.chains, {}, section_size=None)), ruleset.take_not_computed()


def _nftables(store: Store, before: Store | None, depend: _Depend, render: Render) -> _Rendered:
    first = store if before is None else before
    table = DesiredTable(render, depend(first))
    table.update(first, first.services, depend(first))
    family = depend(store).node.family
    if before is None:
        return str(clean_table(family, table.blocks, table.contents())), table.take_not_computed()
    table.settle()
    table.update(store, {*store.services, *before.services}, depend(store))
    return str(change_table(family, table.blocks, table.changes())), table.take_not_computed()


def _node(store: Store, name: str, node_ips: tuple[str, ...]) -> Node | None:
    known = store.node(name)
    if not node_ips:
        return known
    try:
        addresses = tuple(parse_address(text) for text in node_ips)
    except ValueError as wrong:
        raise InputError(f"--node-ip: {wrong}") from wrong
    if known is None:
        return Node(key=NamespacedName("", name), addresses=addresses)
    return Node(key=known.key, addresses=addresses, pod_cidrs=known.pod_cidrs, zone=known.zone)


def _remarks(store: Store, node: str, family: Family) -> list[str]:
    """What a reader of the rules should know about what is not in them."""
    remarks = []
    names = store.node_names()
    if names and node not in names:
        remarks.append(
            f"node {node!r} is not among the given Nodes ({', '.join(sorted(names))}): nothing counts as local, "
            "and its zone and addresses are unknown; choose one with --node"
        )
    proxied = [service for service in store.services.values() if is_proxied(service)]
    elsewhere = [s for s in proxied if all(family_of(ip) is not family for ip in s.cluster_ips)]
    if elsewhere:
        other = "ipv6" if family is Family.IPV4 else "ipv4"
        remarks.append(f"{len(elsewhere)} Services have no {family} address; see them with --family {other}")
    unsliced = [s for s in proxied if s.selector and not store.slices_of(s.key)]
    for service in unsliced:
        matching = [
            pod
            for pod in store.pods.values()
            if pod.key.namespace == service.key.namespace and set(service.selector) <= set(pod.labels)
        ]
        if matching:
            remarks.append(
                f"{len(matching)} Pods match the selector of Service {service.key}, but no EndpointSlice lists them, "
                "so traffic is refused; kproxy does not play the EndpointSlice controller: give its slices too"
            )
    return remarks
