"""Documents, templates and scripts have short lines, and none of the words that people learn late."""

import re
from pathlib import Path

import pytest

from transcripts import ROOT

LONGEST = 120
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "templates").rglob("*.md")])
FOLDERS = ("benchmarks", "deploy", "docs", "examples", "kproxy", "scripts", "templates")
HARD = re.compile(
    r"\b(anew|afresh|shall|whoever|whomever|thereof|whereas|hence|lest|amid|naught|in vain|for want of|be it)\b",
    re.IGNORECASE,
)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_prose_of_documents_has_short_lines(path: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    lines = [line for line in prose.splitlines() if not line.startswith("|")]
    assert [] == [line for line in lines if len(line) > LONGEST]


@pytest.mark.parametrize("folder", FOLDERS)
def test_texts_have_no_hard_words(folder: str) -> None:
    paths = [
        path
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix not in (".pyc", ".svg") and path.is_file()
    ]
    assert paths
    assert [] == [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in paths
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if HARD.search(line)
    ]
