"""iptables-restore as the agent finds it on its PATH: the real one, behind a switch for what can go wrong."""

from enum import StrEnum
from pathlib import Path

from kproxy.kernel import process

_PROGRAMS = tuple(
    f"{family}-{backend}-restore" for family in ("iptables", "ip6tables") for backend in ("nft", "legacy")
)

LATE_S = 1.5
"""By when a killed agent's program works late: a new agent has looked at the rules then."""

_WRAPPER = """#!/bin/sh
fault=none
for token in '{due}'/*; do
  befallen='{begun}'/"${{token##*/}}"
  if mv "$token" "$befallen" 2>/dev/null; then
    fault="${{token##*.}}"
    break
  fi
done
fail() {{
  echo "a fault: $fault" >&2
  exit $1
}}
case "$fault" in
  refuses)
    cat >/dev/null
    fail 1 ;;
  denies)
    '{real}' "$@"
    fail 4 ;;
  dies-half-way)
    awk '{{ print }} /^COMMIT/ {{ exit }}' | '{real}' "$@"
    fail 4 ;;
  crawls)
    awk '{{ print }} /^COMMIT/ {{ fflush(); system("sleep 0.1") }}' | '{real}' "$@" ;;
  hangs)
    while [ -e "$befallen" ]; do sleep 0.05; done
    fail 4 ;;
  works-late)
    sleep {late}
    exec '{real}' "$@" ;;
  *)
    exec '{real}' "$@" ;;
esac
"""


class Fault(StrEnum):
    """What a run of iptables-restore does instead of its work, or besides it."""

    REFUSES = "refuses"
    DENIES = "denies"
    DIES_HALF_WAY = "dies-half-way"
    CRAWLS = "crawls"
    HANGS = "hangs"
    WORKS_LATE = "works-late"


class Programs:
    """A directory to put first on the agent's PATH."""

    def __init__(self, directory: Path) -> None:
        self.path, self._due, self._begun = (directory / name for name in ("bin", "due", "begun"))
        for made in (self.path, self._due, self._begun):
            made.mkdir()
        for name in _PROGRAMS:
            wrapper = self.path / name
            real = process.find(name)
            wrapper.write_text(_WRAPPER.format(real=real, late=LATE_S, due=self._due, begun=self._begun))
            wrapper.chmod(0o755)

    def fail(self, fault: Fault, runs: int) -> None:
        """Let this fault befall the next runs."""
        for number in range(runs):
            (self._due / f"{number}.{fault}").touch()

    def well(self) -> None:
        """No more faults; what hangs fails."""
        for directory in (self._due, self._begun):
            for token in directory.iterdir():
                token.unlink(missing_ok=True)

    @property
    def befallen(self) -> int:
        """How many runs met a fault since all was well."""
        return sum(1 for _ in self._begun.iterdir())
