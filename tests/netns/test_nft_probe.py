"""Before it writes a rule, the agent tells what this kernel or this nft has not."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kproxy import process
from kproxy.errors import EnvironmentLacking
from kproxy.kernel.programs.nft import NftTable
from kproxy.kernel.programs.nft_probe import require_expressions
from kproxy.values import Family
from namespaces import fresh_namespace, inside

pytestmark = pytest.mark.netns


@pytest.fixture(autouse=True)
def kernel() -> Iterator[None]:
    with fresh_namespace() as name, inside(name):
        yield


@pytest.mark.parametrize("family", Family)
def test_probe_passes_here_and_leaves_nothing(family: Family) -> None:
    table = NftTable(family)
    before = table.generation()
    require_expressions(table)
    assert (before, "") == (table.generation(), process.run(["nft", "list", "tables"]))


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("masquerade", "masquerade fully-random: needs the kernel options NFT_MASQ and nft 0.6"),
        ("fib", "fib: needs the kernel options NFT_FIB_IPV4 and nft 0.7"),
        ("typeof", "maps with concatenated keys: needs the kernel options NF_TABLES and nft 0.9.4"),
    ],
)
def test_expression_that_is_missing_is_named_with_what_has_it(
    word: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an nft that knows the word, on a kernel that has it not."""
    program = tmp_path / "nft"
    program.write_text(
        "#!/bin/sh\n"
        "text=$(cat)\n"
        f"case $text in *{word}*) echo 'Error: Could not process rule: No such file or directory' >&2; exit 1;; esac\n"
        f'echo "$text" | {shutil.which("nft")} "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(EnvironmentLacking) as lacking:
        require_expressions(NftTable(Family.IPV4))
    assert said in str(lacking.value)
    assert "reject" not in str(lacking.value)
    assert "use --proxy-mode iptables" in str(lacking.value)
