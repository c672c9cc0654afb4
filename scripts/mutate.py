"""Mutation check: would the tests notice if one decision, or one word of a template, were wrong?

Each mutant is tried in a copy of the checkout, with the tests that judge rules by their effect on packets. Unit tests
and kube-proxy's recorded rules come first, because they take two seconds, unless only packets are asked for.
"""

import ast
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
PLACES = (
    *(
        "kproxy/model",
        "kproxy/oracle",
        "kproxy/ruleset",
        "kproxy/ruleset/iptables",
        "kproxy/ruleset/nftables",
    ),
    *("kproxy/transaction", "kproxy/transaction/iptables", "kproxy/transaction/nftables"),
    *("templates/iptables", "templates/nftables"),
)
REASONS = ROOT / "tests" / "mutation" / "survivors.toml"
LIMIT_S = 240
Stages = tuple[tuple[str, list[str]], ...]
PACKETS = ("oracle = tracer", ["tests/property/test_packets.py", "tests/property/test_endpoint_reasons.py"])
STAGES = (
    ("unit", ["tests/unit/model", "tests/unit/oracle", "tests/unit/ruleset", "tests/unit/transaction"]),
    ("recorded", ["tests/conformance/test_text.py"]),
    PACKETS,
    (
        "kernel",
        [
            *("tests/netns/test_nftables_churn.py", "tests/netns/test_nftables_sync.py"),
            *("tests/netns/test_nftables_packets.py", "tests/netns/test_nftables_transitions.py"),
            "tests/netns/test_conntrack.py",
        ],
    ),
)
"""The cheapest stage first: a mutant goes no further than the first stage that notices it."""

ONLY_IPTABLES = ("recorded", PACKETS[0])
"""Stages that notice nothing if nftables mode is broken."""


class Mutant(NamedTuple):
    """One change of one line. `key` names the mutant, also if its line number changes."""

    path: str
    line: int
    before: str
    after: str

    @property
    def key(self) -> str:
        return f"{self.path}: {self.before.strip()} => {self.after.strip()}"


_SWAPS = {
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.Lt: ">=",
    ast.LtE: ">",
    ast.Gt: "<=",
    ast.GtE: "<",
}
_TWINS = {
    "ready": "serving",
    "serving": "ready",
    "cluster": "local",
    "local": "cluster",
    "node_hints": "zone_hints",
    "zone_hints": "node_hints",
    "external_policy_local": "internal_policy_local",
    "internal_policy_local": "external_policy_local",
    "external_ips": "load_balancer_vips",
    "load_balancer_vips": "external_ips",
}


def python_mutants(path: str, text: str) -> Iterator[Mutant]:
    """One mutant for each decision that is on one line."""
    lines = text.splitlines()

    def replaced(node: ast.expr, by: str) -> Mutant:
        line = lines[node.lineno - 1].encode()
        after = line[: node.col_offset] + by.encode() + line[node.end_col_offset :]
        return Mutant(path, node.lineno, line.decode(), after.decode())

    tree = ast.parse(text)
    decorators = _decorators(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.expr) or node.lineno != node.end_lineno or node in decorators:
            continue
        source = ast.get_source_segment(text, node) or ""
        match node:
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _SWAPS:
                yield replaced(node, f"{ast.unparse(left)} {_SWAPS[type(op)]} {ast.unparse(right)}")
            case ast.BoolOp(op=op, values=[first, *rest]):
                other = " or " if isinstance(op, ast.And) else " and "
                yield replaced(
                    node, "(" + other.join(f"({ast.unparse(each)})" for each in (first, *rest)) + ")"
                )
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                yield replaced(node, f"bool({ast.unparse(operand)})")
            case ast.IfExp(test=test, body=body, orelse=other_case):
                yield replaced(
                    node, f"{ast.unparse(other_case)} if {ast.unparse(test)} else {ast.unparse(body)}"
                )
            case ast.Constant(value=bool(value)):
                yield replaced(node, str(not value))
            case ast.Attribute(attr=attribute) if attribute in _TWINS and isinstance(node.ctx, ast.Load):
                yield replaced(node, source.removesuffix(attribute) + _TWINS[attribute])


def _decorators(tree: ast.Module) -> set[ast.AST]:
    """Everything in decorators: whether a class has slots or is frozen decides nothing about packets."""
    return {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
        for decorator in node.decorator_list
        for inner in ast.walk(decorator)
    }


_TEMPLATE_SWAPS = (
    (r"\{% if not ", "{% if "),
    (r"\{% (el)?if (?!not )(\w+) ", r"{% \1if not \2 "),
    (r" and ", " or "),
    (r"-j ACCEPT", "-j DROP"),
    (r"-j DROP", "-j ACCEPT"),
    (r"-j RETURN", "-j ACCEPT"),
    (r" ! ", " "),
    (r" -m statistic .*?\}\} ", " "),
    (r" --dport \{\{ \w+ \}\}", " --dport 1"),
    (r" (-[sd]) ", r" ! \1 "),
    (r"-m conntrack --ctstate NEW ", ""),
    (r"--dst-type", "--src-type"),
    (r"--src-type", "--dst-type"),
    (r"internal_chain", "external_chain"),
    (r"external_policy_chain", "cluster_chain"),
    (r"vip_chain", "external_chain"),
    (r"\{\{ backend\.target \}\}", "{{ backend.address }}"),
    (r"/0x0", "/{{ mark }}"),
    (r"loop\.revindex", "loop.index"),
    (r"^-A [^%]*$", ""),
    (r"^\t[^%]*$", ""),
    (r"\breject\b", "drop"),
    (r"\bdrop\b", "reject"),
    (r"ct state new ", ""),
    (r"@service", "@unserved"),
    (r"@unserved", "@service"),
    (r"(jump|goto) (unserved|unknown|services|\{\{ pick \}\})", r"return"),
    (r"policy accept", "policy drop"),
    (r"priority (\S+);", "priority 200;"),
    (r"hook (prerouting|output|input|forward|postrouting)", "hook input"),
    (r"daddr", "saddr"),
    (r"saddr", "daddr"),
    (r" != ", " "),
    (r" - 10;", " + 10;"),
    (r"mod \{\{ count \}\}", "mod 1"),
    (r"revindex \+ 1", "revindex"),
    (r"fully-random", ""),
    (r"flags dynamic,timeout", "flags dynamic"),
    (r"timeout \{\{ \w+ \}\}s", ""),
    (r"local_pick \}\}", "pick }}"),
)


_DECLARATIONS = ("\ttypeof", "\tcomment", "\tsize")
"""Lines of nftables that are not rules: without them nothing can be loaded, or nothing differs."""


def template_mutants(path: str, text: str) -> Iterator[Mutant]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.startswith(("-A", "{%", "\t")) or line.startswith(_DECLARATIONS):
            continue
        for pattern, by in _TEMPLATE_SWAPS:
            changed = re.sub(pattern, by, line, count=1)
            if changed != line:
                yield Mutant(path, number, line, changed)


def all_mutants() -> list[Mutant]:
    found: list[Mutant] = []
    for place in PLACES:
        for path in sorted((ROOT / place).glob("*")):
            make = {".py": python_mutants, ".j2": template_mutants}.get(path.suffix)
            if make:
                found += make(str(path.relative_to(ROOT)), path.read_text())
    return [mutant for mutant in found if mutant.after != mutant.before]


def copy_checkout(to: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


def passes(copy: Path, tests: list[str]) -> bool:
    """Whether the tests notice nothing. A test that takes too long has noticed the mutant."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "--hypothesis-profile",
        "no-shrinking",
        *tests,
    ]
    environment = {**os.environ, "CI": "true", "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def expect_pass(copy: Path, stages: Stages, advice: str) -> None:
    if not all(passes(copy, tests) for _, tests in stages):
        raise click.ClickException(f"the tests fail without any mutant: {advice}")


def catcher(copy: Path, mutant: Mutant, stages: Stages) -> str:
    """The stage that notices the mutant, or an empty text."""
    path = copy / mutant.path
    original = path.read_text()
    lines = original.splitlines()
    lines[mutant.line - 1] = mutant.after
    path.write_text("\n".join(lines) + "\n")
    try:
        return next(
            (
                name
                for name, tests in stages
                if not ("nftables" in mutant.path and name in ONLY_IPTABLES) and not passes(copy, tests)
            ),
            "",
        )
    finally:
        path.write_text(original)


@click.command(help=__doc__)
@click.option("--count", default=80, show_default=True, help="How many mutants; 0 for all.")
@click.option(
    "--seed", type=int, help="Decides which mutants are chosen.  [default: a random one, which is printed]"
)
@click.option(
    "--only", default="", metavar="TEXT", help="Only mutants of files with this text in their path."
)
@click.option("--packets-only", is_flag=True, help="Judge by packets alone: no unit test, no recorded rule.")
@click.option("--list", "only_list", is_flag=True, help="Print the mutants, and try none.")
def main(count: int, seed: int | None, only: str, packets_only: bool, only_list: bool) -> None:
    seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    mutants = [mutant for mutant in all_mutants() if only in mutant.path]
    chosen = random.Random(seed).sample(mutants, min(count or len(mutants), len(mutants)))  # noqa: S311 # no secret
    if only_list:
        for mutant in chosen:
            click.echo(mutant.key)
        return
    reasons = tomllib.loads(REASONS.read_text())["survivors"]
    stages = (PACKETS,) if packets_only else STAGES
    caught: dict[str, Counter[str]] = {}
    survivors: list[Mutant] = []
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="kproxy-mutants-") as directory:
        copy = Path(directory)
        copy_checkout(copy)
        expect_pass(copy, stages, "run scripts/test first")
        for mutant in track(chosen, description=f"seed {seed}", console=console):
            by = catcher(copy, mutant, stages)
            caught.setdefault(mutant.path, Counter())[by or "survived"] += 1
            if not by:
                survivors.append(mutant)
                console.print(f"survived: {mutant.key}", markup=False)
        expect_pass(copy, stages, "was .venv changed meanwhile? what was caught does not count")
    report(caught, survivors, reasons)
    share = 1 - len(survivors) / len(chosen)
    click.echo(f"{len(chosen)} of {len(mutants)} mutants, seed {seed}: {share:.1%} caught")
    if share < 0.95 or any(mutant.key not in reasons for mutant in survivors):
        raise click.exceptions.Exit(1)


def report(caught: dict[str, Counter[str]], survivors: list[Mutant], reasons: dict[str, str]) -> None:
    columns = sorted({name for counts in caught.values() for name in counts})
    table = Table("file", *columns)
    for path, counts in sorted(caught.items()):
        table.add_row(path, *(str(counts[name]) for name in columns))
    Console().print(table)
    for mutant in survivors:
        click.echo(f"survived, {mutant.path}:{mutant.line}")
        click.echo(f"  - {mutant.before.strip()}\n  + {mutant.after.strip()}")
        click.echo(f"  {reasons.get(mutant.key, 'no reason is given in ' + str(REASONS.relative_to(ROOT)))}")


if __name__ == "__main__":
    main()
