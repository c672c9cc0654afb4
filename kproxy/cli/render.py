"""The command `kproxy render`: the ruleset of a clean node, without root and without any change to this host."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
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
from kproxy.kernel.netlink.accounting import have_counters
from kproxy.kernel.programs.iptables import Variant
from kproxy.model.node import view_node
from kproxy.model.plan import is_proxied
from kproxy.model.silent import silences, yields_rules
from kproxy.render.templates import rule_templates
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.failures import place_of, why
from kproxy.ruleset.inputs import Circumstances, Render
from kproxy.ruleset.iptables.desired import DesiredRuleset
from kproxy.ruleset.layout import LAYOUTS
from kproxy.ruleset.nftables.desired import DesiredTable
from kproxy.state.events import Cost, Rejection
from kproxy.state.objects import Node
from kproxy.state.store import Store
from kproxy.transaction.delta import Delta
from kproxy.transaction.iptables.plan import clean_node, plan
from kproxy.transaction.nftables.change import change
from kproxy.transaction.nftables.table_delta import TableDelta
from kproxy.transaction.nftables.whole import whole_table
from kproxy.values import Address, Family, NamespacedName, family_of, parse_address

_LOOPBACK = (Address("127.0.0.1"), Address("::1"))
_MOST_SILENCES = 100
"""So many lines fit in a terminal's history. The rest is counted."""

_FAMILY = {"ipv4": Family.IPV4, "ipv6": Family.IPV6}


@click.command()
@click.option(
    "files", "-f", "--filename", multiple=True, metavar="FILE|DIR|-", help="Manifests, YAML or JSON."
)
@click.option("use_cluster", "--from-cluster", is_flag=True, help="Read a cluster instead of manifests.")
@click.option(
    "--kubeconfig",
    # several files with colons are not a path, and the reader of the file reports errors with a remedy
    type=click.Path(path_type=Path, readable=False),
    default=Path.home() / ".kube" / "config",
    envvar="KUBECONFIG",
    help="The kubeconfig for --from-cluster.  [default: $KUBECONFIG, then ~/.kube/config]",
)
@click.option("--config", type=click.Path(path_type=Path), help="A KubeProxyConfiguration file.")
@click.option("--node", help="The node to render for.  [default: hostnameOverride, then this host's name]")
@click.option(
    "node_ips",
    "--node-ip",
    multiple=True,
    metavar="ADDRESS",
    help="An address of the node; replaces the addresses in the Node object.",
)
@click.option(
    "--family",
    type=click.Choice(list(_FAMILY)),
    default="ipv4",
    show_default=True,
    help="The address family of the rules.",
)
@click.option(
    "--mode",
    type=click.Choice([*map(str, Mode)]),
    help="The proxy mode.  [default: the configuration's, else iptables]",
)
@dispatch_option
@click.option(
    "--before",
    multiple=True,
    metavar="FILE|DIR|-",
    help="Print only what an agent would write after a change from these manifests.",
)
@click.option(
    "--iptables-backend",
    "variant",
    type=click.Choice([*map(str, Variant)]),
    default=str(Variant.NFT),
    show_default=True,
    help="With --before, print the sections that an agent would write for this iptables.",
)
@click.option(
    "--nfacct",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    show_default=True,
    help="Count packets in nfacct objects, which must exist. auto: on if they exist on this host.",
)
@click.option(
    "--templates",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A directory with templates that replace kproxy's own, in iptables/ or nftables/.",
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
    variant: str,
    nfacct: str,
    templates: Path | None,
) -> None:
    """Print a node's rules, as iptables-restore or nft reads them.

    \b
    kproxy render -f cluster.yaml --node node-1 | iptables-restore --noflush
    kproxy render -f cluster.yaml --node node-1 --mode nftables | nft -f -
    kproxy render -f new/ --before old/ --node node-1

    Needs no root and changes nothing on this host. Exit code 1: an object or its newest version was left out, or no
    Service of the manifests yields a rule; stderr names it and the reason. Exit code 2: the manifests hold no object.
    """  # noqa: D301 # click takes the backspace as: do not wrap
    _check_sources(files, before, use_cluster=use_cluster)
    configuration = load_configuration(config)
    if mode:
        configuration = msgspec.structs.replace(configuration, mode=Mode(mode))
    name = node_name(configuration, node)
    counted = have_counters() if nfacct == "auto" and os.geteuid() == 0 else nfacct == "on"
    settings = rule_settings(configuration, accounting=counted, conntrack_tcp_be_liberal=False)
    render = rule_templates(templates, configuration.mode)

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
    known = store_from_files(before, may_be_nothing=True) if before else None
    rendered = _nftables if nftables else partial(_iptables, variant=Variant(variant))
    rules, not_computed = rendered(store, known, circumstances, render)
    _print(rules)
    _tell_not_computed(not_computed, known, _FAMILY[family])
    for remark in (*_remarks(store, name, _FAMILY[family]), *_silences(store, is_cluster=use_cluster)):
        tell(remark)
    is_left_out = bool(store.rejections or not_computed or (known and known.rejections))
    if is_left_out or (not use_cluster and _is_bare(store)):
        raise click.exceptions.Exit(1)


def _tell_not_computed(
    not_computed: Mapping[NamespacedName, Exception], known: Store | None, family: Family
) -> None:
    """Name the Services whose rules could not be computed; with `known`, one of its Services keeps its last rules."""
    for key, failed in sorted(not_computed.items()):
        cost = Cost.CHANGE if known and key in known.services else Cost.OBJECT
        tell(Rejection(place_of(family), "Service", str(key), *why(failed), key, cost))


def _print(text: str) -> None:
    """Write the whole text, or raise OSError.

    With PYTHONUNBUFFERED set, Python's own stdout drops the rest if the disk is full.
    """
    rest = memoryview(text.encode()) if sys.stdout else memoryview(b"")
    while rest:
        rest = rest[sys.stdout.buffer.write(rest) or 0 :]


def _check_sources(files: Sequence[str], before: Sequence[str], *, use_cluster: bool) -> None:
    if files and use_cluster:
        raise InputError("-f and --from-cluster exclude each other: leave out one of them")
    if not files and not use_cluster:
        raise InputError(
            "name the source of the Services: -f FILE, -f DIR, -f - for stdin, or --from-cluster"
        )
    if "-" in files and "-" in before:
        raise InputError("-f - and --before - would both read stdin; write one of the two into a file")


_Depend = Callable[[Store], Circumstances]
_Rendered = tuple[str, Mapping[NamespacedName, Exception]]
"""The rules, and the Services whose rules are missing or old, each with the reason."""


def _iptables(
    store: Store, before: Store | None, depend: _Depend, render: Render, *, variant: Variant
) -> _Rendered:
    chains = Delta[Chain, str]()
    ruleset = DesiredRuleset(render, chains.desired)
    if before is None:
        ruleset.update(store, store.services, depend(store))
        return clean_node(ruleset.chains, ruleset.jumps), ruleset.take_not_computed()
    ruleset.update(before, before.services, depend(before))
    chains.settle()
    ruleset.update(store, {*store.services, *before.services}, depend(store))
    size = variant.section_size(len(chains.observed))
    planned = plan(chains.unwanted, chains.wanted, {}, section_size=size)
    return planned.marked, ruleset.take_not_computed()


def _nftables(store: Store, before: Store | None, depend: _Depend, render: Render) -> _Rendered:
    first = store if before is None else before
    delta = TableDelta()
    table = DesiredTable(render, depend(first), delta.desired)
    table.update(first, first.services, depend(first))
    family = depend(store).node.family
    if before is None:
        return str(whole_table(family, table.blocks, table.contents())), table.take_not_computed()
    delta.settle()
    table.update(store, {*store.services, *before.services}, depend(store))
    return change(family, table.blocks, delta.change()).marked, table.take_not_computed()


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
    """Remarks on Services and addresses that are not in the rules."""
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
        counted = (
            f"{len(elsewhere)} Services have" if len(elsewhere) > 1 else f"Service {elsewhere[0].key} has"
        )
        remarks.append(f"{counted} no {family} address; --family {other} prints what there is")
    return remarks


def _silences(store: Store, *, is_cluster: bool) -> Iterator[str]:
    """Why objects yield no rule. For a cluster, reasons that healthy clusters have too are left out."""
    keys = sorted({*store.services, *store.services_of_slices()})
    found = (each for each in silences(store, keys) if not (is_cluster and each.is_usual))
    yield from map(str, islice(found, _MOST_SILENCES))
    more = sum(1 for _ in found)
    if more:
        yield f"{more} more objects yield no rule or have no endpoints; give fewer of them to see why"
    if not is_cluster and not store.rejections and _is_bare(store):
        lacking = "no Service yields a rule" if store.services else "no Service is among what was given"
        yield f"{lacking}, so these are only the rules that every node has"


def _is_bare(store: Store) -> bool:
    return not any(map(yields_rules, store.services.values()))
