"""iptables and its kin, and nft, as the agent finds them on its PATH: the real ones, behind a switch for what can go wrong."""

from enum import StrEnum
from pathlib import Path

from kproxy import process
from statemachine.filters import Filter


class Purpose(StrEnum):
    """The purpose for which the agent runs a program."""

    WRITE = "write"
    READ = "read"


_IPTABLES = {
    f"{family}-{backend}{suffix}": purpose
    for family in ("iptables", "ip6tables")
    for backend in ("nft", "legacy")
    for suffix, purpose in (("-restore", Purpose.WRITE), ("-save", Purpose.READ), ("", Purpose.READ))
}
_NFT = {"nft": Purpose.WRITE}
_ONLY_CHECKS = "--check"
"""A program that writes does not with this as its first argument."""

_ONLY_LISTS = "--noflush"
"""With this as its first argument, iptables-nft-restore is asked to list chains."""

LATE_S = 1.5
"""The delay of a killed agent's program that works late: by then a new agent has looked at the rules."""

_WRAPPER = """#!/bin/sh
ulimit -c 0
fault=none
due='{due}'
if [ "$1" = {only_checks} ]; then due=/nowhere; fi
if [ "$1" = {only_lists} ]; then due='{due_to_read}'; fi
for token in "$due"/*; do
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
    {half}
    fail 4 ;;
  killed-before)
    kill -9 $$ ;;
  segfaults)
    kill -SEGV $$ ;;
  killed-amid)
    {amid}
    kill -SEGV $$ ;;
  killed-after)
    '{real}' "$@"
    kill -9 $$ ;;
  crawls)
    {slow} ;;
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

_HALF = {
    Purpose.WRITE: """awk '{ print } /^COMMIT/ { exit }' | 'REAL' "$@\"""",
    Purpose.READ: """'REAL' "$@" | head -n 9""",
}
_AMID_IN_ALL = """'REAL' "$@" <&0 & sleep 0.005; kill -SEGV $!; wait"""
_SLOW_IN_ALL = """sleep 0.1; 'REAL' "$@\""""
_SLOW = {
    Purpose.WRITE: """awk '{ print } /^COMMIT/ { fflush(); system("sleep 0.1") }' | 'REAL' "$@\"""",
    Purpose.READ: """sleep 0.3; 'REAL' "$@\"""",
}


class Fault(StrEnum):
    """A fault of one run of a program: the run does this instead of its work, or besides its work."""

    REFUSES = "refuses"
    DENIES = "denies"
    DIES_HALF_WAY = "dies-half-way"
    KILLED_BEFORE = "killed-before"
    SEGFAULTS = "segfaults"
    KILLED_AMID = "killed-amid"
    KILLED_AFTER = "killed-after"
    CRAWLS = "crawls"
    HANGS = "hangs"
    WORKS_LATE = "works-late"


FAULTS_OF_NFT = tuple(fault for fault in Fault if fault is not Fault.DIES_HALF_WAY)
"""A run of nft is one transaction, of which there is no half."""

FAULTS_OF_IPTABLES = tuple(Fault)


class Programs:
    """A directory to put first on the agent's PATH."""

    def __init__(self, directory: Path, chosen: Filter) -> None:
        self.path, self._begun = directory / "bin", directory / "begun"
        self._due = {purpose: directory / f"due-{purpose}" for purpose in Purpose}
        for made in (self.path, self._begun, *self._due.values()):
            made.mkdir()
        for name, purpose in (_IPTABLES if chosen.variant else _NFT).items():
            wrapper = self.path / name
            real = str(process.find(name))
            half = _HALF[purpose].replace("REAL", real)
            amid = half if chosen.variant else _AMID_IN_ALL.replace("REAL", real)
            slow = (_SLOW[purpose] if chosen.variant else _SLOW_IN_ALL).replace("REAL", real)
            due = self._due[purpose]
            wrapper.write_text(
                _WRAPPER.format(
                    real=real,
                    half=half,
                    amid=amid,
                    slow=slow,
                    late=LATE_S,
                    due=due,
                    begun=self._begun,
                    only_checks=_ONLY_CHECKS,
                    only_lists=_ONLY_LISTS,
                    due_to_read=self._due[Purpose.READ],
                )
            )
            wrapper.chmod(0o755)

    def fail(self, fault: Fault, runs: int, purpose: Purpose = Purpose.WRITE, *, after: int = 0) -> None:
        """Let this fault befall the next runs for this purpose, but for the first `after` of them."""
        for number in range(after + runs):
            (self._due[purpose] / f"{number}.{fault if number >= after else ''}").touch()

    def well(self) -> None:
        """No more faults; what hangs fails."""
        for directory in (*self._due.values(), self._begun):
            for token in directory.iterdir():
                token.unlink(missing_ok=True)

    @property
    def befallen(self) -> int:
        """How many runs met a fault, or had to come before, since all was well."""
        return sum(1 for _ in self._begun.iterdir())
