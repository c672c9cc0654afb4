"""Console transcripts in the documentation: run as they stand, their output compared or, as a program, renewed.

In a ```console block each line that begins with `$ ` is a command, and what follows is what it printed.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from namespaces import fresh_namespace, inside

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"(?<=```console\n)(.*?)(?=^```$)", re.DOTALL | re.MULTILINE)
_PROMPT = "$ "
_BOUND_S = 60


def replayed(text: str) -> str:
    """The text with every transcript as it comes out now, in a network namespace of its own."""
    with fresh_namespace() as name, inside(name):
        return _BLOCK.sub(lambda block: "".join(map(_run, _commands(block[0]))), text)


def _commands(block: str) -> list[str]:
    return [line.removeprefix(_PROMPT) for line in block.splitlines() if line.startswith(_PROMPT)]


def _run(command: str) -> str:
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env={**os.environ, "PATH": programs, "LC_ALL": "C", "NO_COLOR": "1", "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_BOUND_S,
        check=False,
    )
    return f"{_PROMPT}{command}\n{done.stdout}"


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(replayed(path.read_text()))
