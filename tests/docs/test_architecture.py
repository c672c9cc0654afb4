"""docs/architecture.md and CONTRIBUTING.md say what the code says."""

import re
from pathlib import Path

import grimp
import pytest

from drawings import DOCUMENTS, layers, pure, redrawn
from kproxy.agent.http.page import Page
from kproxy.agent.pages.metrics_pages import metrics_pages
from kproxy.configuration import Configuration
from transcripts import ROOT

ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
MOST_STATIONS = 20
PATH = re.compile(r"`((?:kproxy|templates|tests|scripts|docs|examples|benchmarks|deploy)/[\w/.-]+)[` ]")
MAKES_PROXIES = "kproxy.agent.proxies"
SHARED, IPTABLES, NFTABLES = (
    re.findall(r"^\| \d+ \| `(.*?)` \| .+ \|$", part, re.MULTILINE)
    for part in re.split(
        r"### The rest of the way in \w+ mode",
        ARCHITECTURE.partition("## The way of a Service")[2].partition("\n## ")[0],
    )
)
WAYS = pytest.mark.parametrize("way", [SHARED + IPTABLES, SHARED + NFTABLES], ids=["iptables", "nftables"])


@pytest.mark.parametrize("name", DOCUMENTS)
def test_drawings_are_those_of_the_code(name: str) -> None:
    text = (ROOT / name).read_text()
    assert redrawn(text) == text, "renew them with: python tests/drawings.py"


def test_folders_have_one_row_each_in_the_order_of_the_layers() -> None:
    expected = [folder for layer in layers() for folder in layer]
    table = ARCHITECTURE.partition("| folder | job |")[2].partition("\n\n")[0]
    assert sorted(expected) == sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))


def test_files_that_documents_name_exist() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "templates").rglob("*.md")]
    named = [(document.name, path) for document in documents for path in PATH.findall(document.read_text())]
    assert len(named) > 100
    assert [] == [each for each in named if not (ROOT / each[1]).exists()]


@WAYS
def test_way_of_a_service_is_short(way: list[str]) -> None:
    assert 12 < len(way) <= MOST_STATIONS
    assert len(way) == len({*way})


@WAYS
def test_way_of_a_service_never_goes_back_in_the_core(way: list[str]) -> None:
    """No station of the core imports one that the Service comes to later."""
    graph = grimp.build_graph("kproxy", exclude_type_checking_imports=True, cache_dir=None)
    stations = [_module(path) for path in way if path.endswith(".py")]
    core = [station for station in stations if station.split(".")[1] in pure()]
    assert len(core) > 6
    assert [] == [
        f"{station} imports {later}"
        for number, station in enumerate(core)
        for later in core[number + 1 :]
        if graph.direct_import_exists(importer=station, imported=later)
    ]


@WAYS
def test_way_of_a_service_has_no_station_that_the_others_do_not_know(way: list[str]) -> None:
    """The kernel is handed to the proxies, so that the module that makes them knows its stations, and no other one does."""
    graph = grimp.build_graph("kproxy", exclude_type_checking_imports=True, cache_dir=None)
    stations = {_module(path) for path in way if path.endswith(".py")}
    assert [] == [
        each for each in sorted(stations) if not _neighbours(graph, each) & (stations | {MAKES_PROXIES})
    ]


def test_change_table_has_enough_rows() -> None:
    table = ARCHITECTURE.partition("| to change | open |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| [^-].* \| .*`.+` ?.*\|$", table, re.MULTILINE)
    assert len(rows) >= 20


def test_names_that_a_row_places_in_a_file_are_defined_there() -> None:
    placed = re.findall(r"`(\w+)` in `(kproxy/[\w/]+\.py)`", ARCHITECTURE)
    assert placed
    assert [] == [
        f"{path} defines no {name}"
        for name, path in placed
        if not re.search(rf"^(def|class) {name}\b|^{name}\b.* =", (ROOT / path).read_text(), re.MULTILINE)
    ]


def test_pages_to_inspect_are_answered() -> None:
    answer = metrics_pages(Configuration(), {}, lambda: Page(""), lambda: Page(""))
    pages = re.findall(r"curl 127\.0\.0\.1:10249(/[\w/]+)", ARCHITECTURE)
    assert len(pages) >= 4
    assert [] == [page for page in pages if answer(page) is None]


def test_chain_names_to_inspect_are_those_of_the_code() -> None:
    names = (ROOT / "kproxy" / "ruleset" / "iptables" / "names.py").read_text()
    told = re.findall(r"`(KUBE-[A-Z]+-)\.\.\.`", ARCHITECTURE)
    assert {*re.findall(r'"(KUBE-[A-Z]+-)"', names)} == {*told}


def _module(path: str) -> str:
    return ".".join(Path(path).with_suffix("").parts).removesuffix(".__init__")


def _neighbours(graph: grimp.ImportGraph, module: str) -> set[str]:
    return graph.find_modules_directly_imported_by(module) | graph.find_modules_that_directly_import(module)
