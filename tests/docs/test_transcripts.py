"""Every command in the documentation is run, and prints what the documentation says."""

import re

import pytest

from transcripts import ROOT, replayed

DOCUMENTS = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "templates").rglob("*.md"),
    ]
)


@pytest.mark.netns
@pytest.mark.parametrize("name", [str(path.relative_to(ROOT)) for path in DOCUMENTS])
def test_transcripts_print_what_the_document_says(name: str) -> None:
    text = (ROOT / name).read_text()
    assert text == replayed(text), f"renew it with: python tests/transcripts.py {name}"


@pytest.mark.parametrize("name", [str(path.relative_to(ROOT)) for path in DOCUMENTS])
def test_links_to_files_lead_somewhere(name: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / name).read_text())
    assert [] == [link for link in links if not (ROOT / name).parent.joinpath(link).exists()]
