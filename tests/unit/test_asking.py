"""Programs that answer a question: real programs with every kind of end, and the processes that they leave."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from kproxy import process

MOST_BYTES = 1 << 20
BOUND_S = 20.0


def ask(script: str, *arguments: str, timeout_s: float = BOUND_S) -> process.Answer:
    return process.ask(
        Path("/bin/sh"),
        ["-c", script, "sh", *arguments],
        {**os.environ, "GIVEN": "some thing"},
        has_terminal=False,
        timeout_s=timeout_s,
        most_bytes=MOST_BYTES,
    )


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def eventually(holds: Callable[[], bool]) -> bool:
    give_up_at = time.monotonic() + BOUND_S
    while not (held := holds()) and time.monotonic() < give_up_at:
        time.sleep(0.01)
    return held


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def read_pids(path: Path, count: int) -> list[int]:
    def written() -> list[int]:
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    assert eventually(lambda: len(written()) >= count)
    return written()


def test_answer_is_all_output_until_the_end() -> None:
    said = ask("echo answer; echo complaint >&2; exit 3")
    assert process.Answer(3, b"answer\n", b"complaint\n", "") == said


def test_arguments_and_environment_arrive_unchanged() -> None:
    assert b"a b\n$(id)\nsome thing\n" == ask('printf "%s\\n" "$1" "$2" "$GIVEN"', "a b", "$(id)").output


def test_stdin_is_empty_and_not_ours() -> None:
    assert b"0\n" == ask("wc -c").output


def test_answer_of_exactly_the_most_bytes_is_whole() -> None:
    said = ask(f"head -c {MOST_BYTES} /dev/zero")
    assert (MOST_BYTES, "") == (len(said.output), said.problem)


@pytest.mark.parametrize("script", [f"head -c {MOST_BYTES + 1} /dev/zero", "exec cat /dev/zero"])
def test_longer_answer_ends_the_program_and_is_reported(script: str) -> None:
    said = ask(script)
    assert "it wrote more than 1024 KiB" == said.problem
    assert len(said.output) <= MOST_BYTES + (1 << 16)


def test_endless_complaint_takes_no_memory_and_its_end_is_kept() -> None:
    said = ask("head -c 3000000 /dev/zero | tr '\\0' x >&2; echo last words >&2")
    assert said.complaint.endswith(b"xx" + b"last words\n")
    assert len(said.complaint) <= 1 << 16


def test_program_with_an_endless_complaint_is_ended_and_reported() -> None:
    said = ask("exec cat /dev/zero >&2")
    assert "it wrote more than 16384 KiB to stderr" == said.problem


CLOSED = """
import os, pathlib
for each in (0, 1, 2):
    os.close(each)
from kproxy import process
said = process.ask(pathlib.Path("/bin/sh"), ["-c", "wc -c; echo complaint >&2"], os.environ, has_terminal=False,
    timeout_s=20, most_bytes=99)
pathlib.Path("{told}").write_bytes(said.output + said.complaint)
"""


def test_process_without_stdin_stdout_and_stderr_can_ask(tmp_path: Path) -> None:
    told = tmp_path / "told"
    subprocess.run([sys.executable, "-c", CLOSED.format(told=told)], timeout=BOUND_S, check=False)
    assert b"0\ncomplaint\n" == told.read_bytes()


@pytest.mark.parametrize(
    "script",
    [
        "sleep 60",
        "exec >&- 2>&-; sleep 60",
        "trap '' TERM INT HUP; sleep 60; sleep 60",
        "sleep 60 | sleep 60",
        "kill -STOP $$",
    ],
)
def test_program_that_does_not_end_is_killed_in_time(script: str) -> None:
    began_at = time.monotonic()
    said = ask(script, timeout_s=0.3)
    assert "it did not end within 0.3 s" == said.problem
    assert -signal.SIGKILL == said.exit_code
    assert time.monotonic() - began_at < 2


@pytest.mark.parametrize(
    "script",
    [
        "sleep 60 & echo $! >> {pids}; sleep 60",
        "timeout 60 sh -c 'echo $$ >> {pids}; sleep 60'",
        "setsid sh -c 'echo $$ >> {pids}; sleep 60' & sleep 60",
        "sh -c 'sh -c \"echo \\$\\$ >> {pids}; sleep 60\" & sleep 60' & sleep 60",
    ],
)
def test_program_that_hangs_takes_its_children_with_it_whatever_group_they_made(
    script: str, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    ask(script.format(pids=pids), timeout_s=0.5)
    assert [] == [pid for pid in read_pids(pids, 1) if is_alive(pid)]


def test_child_that_keeps_stdout_open_is_not_waited_for_and_is_ended(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    began_at = time.monotonic()
    said = ask(f"sleep 60 & echo $! > {pids}; echo answer")
    assert (0, b"answer\n") == (said.exit_code, said.output)
    assert time.monotonic() - began_at < 5
    assert [] == [pid for pid in read_pids(pids, 1) if is_alive(pid)]


def test_child_that_writes_for_ever_does_not_delay_the_answer() -> None:
    began_at = time.monotonic()
    said = ask("echo answer; (while :; do echo noise; done) >&2 & exit 0")
    assert (0, b"answer\n") == (said.exit_code, said.output)
    assert time.monotonic() - began_at < 5


def test_daemon_that_left_parent_and_session_lives_on(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    daemon = f"import os, time\nif os.fork() == 0:\n os.setsid()\n open('{pids}', 'w').write(str(os.getpid()))\n time.sleep(30)"
    process.ask(
        Path(sys.executable),
        ["-c", daemon],
        os.environ,
        has_terminal=False,
        timeout_s=BOUND_S,
        most_bytes=MOST_BYTES,
    )
    if (
        pids.exists()
    ):  # otherwise its parent would end before the daemon leaves the session, and the daemon would be killed
        [pid] = read_pids(pids, 1)
        assert is_alive(pid)
        os.kill(pid, signal.SIGKILL)


def test_program_gets_the_signals_that_the_agent_blocks() -> None:
    with_a_child = "timeout -k 5 0.2 sleep 30; echo $?"
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    try:
        said = ask(f"grep SigBlk /proc/self/status; {with_a_child}")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    assert b"SigBlk:\t0000000000000000\n124\n" == said.output


def test_program_dies_with_the_process_that_asked_even_if_that_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    asking = (
        "import os, pathlib, sys, threading\n"
        "from kproxy import process\n"
        f"run = lambda: process.ask(pathlib.Path('/bin/sh'), ['-c', 'echo $$ > {pids}; exec sleep 60'], os.environ,\n"
        "    has_terminal=False, timeout_s=60, most_bytes=99)\n"
        "threading.Thread(target=run).start()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", asking])
    try:
        [pid] = read_pids(pids, 1)
        assert is_alive(pid)
    finally:
        parent.kill()
        parent.wait()
    assert eventually(lambda: not is_alive(pid))


@pytest.mark.parametrize("content", [b"\x7fELF broken", b"#!/nonexistent/interpreter\n"])
def test_file_that_is_not_a_program_fails(content: bytes, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(content)
    program.chmod(0o755)
    said = process.ask(program, [], os.environ, has_terminal=False, timeout_s=BOUND_S, most_bytes=MOST_BYTES)
    assert said.exit_code > 0
    assert said.complaint


def test_environment_that_the_system_refuses_is_reported() -> None:
    with pytest.raises(process.NotStarted, match="it cannot be started: Argument list too long"):
        process.ask(
            Path("/bin/true"),
            [],
            {"LARGE": "x" * (1 << 18)},
            has_terminal=False,
            timeout_s=BOUND_S,
            most_bytes=MOST_BYTES,
        )


def test_text_that_the_locale_cannot_write_is_reported() -> None:
    with pytest.raises(process.NotStarted, match="this system's locale cannot write"):
        ask("true", "half a character \ud800")


def test_system_without_notice_of_the_end_is_polled(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_pid: int) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "pidfd_open", forbidden)
    began_at = time.monotonic()
    assert (0, b"answer\n") == ask("sleep 0.2; echo answer")[:2]
    assert time.monotonic() - began_at < 2
    assert "it did not end within 0.3 s" == ask("exec >&- 2>&-; sleep 60", timeout_s=0.3).problem


def test_process_that_cannot_be_killed_is_waited_for_one_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = tmp_path / "pids"
    with monkeypatch.context() as patched:
        patched.setattr("kproxy.process.descendants.end", lambda _leader, **_: None)
        began_at = time.monotonic()
        said = ask(f"echo $$ > {pids}; exec sleep 60", timeout_s=0.3)
    [pid] = read_pids(pids, 1)
    assert ("it did not end within 0.3 s", -signal.SIGKILL) == (said.problem, said.exit_code)
    assert time.monotonic() - began_at < 3
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.mark.parametrize("spare", range(6))
def test_lack_of_descriptors_is_reported_and_leaves_none_open(spare: int) -> None:
    ask("true")
    with scarce_descriptors(spare):
        before = descriptors_by_trying()
        with pytest.raises(process.NotStarted, match="it cannot be started: Too many open files"):
            ask("true")
        assert before == descriptors_by_trying()
    assert 0 == ask("true").exit_code


@contextmanager
def scarce_descriptors(spare: int) -> Iterator[None]:
    """Leave only `count` descriptors free."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    taken = take_all_descriptors()
    try:
        for _ in range(spare):
            os.close(taken.pop())
        yield
    finally:
        for each in taken:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def take_all_descriptors() -> list[int]:
    taken = []
    with suppress(OSError):
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    return taken


def descriptors_by_trying() -> int:
    taken = take_all_descriptors()
    for each in taken:
        os.close(each)
    return len(taken)


def test_system_without_setpriv_still_runs_programs() -> None:
    asking = (
        "import pathlib\n"
        "from kproxy import process\n"
        "said = process.ask(pathlib.Path('/bin/sh'), ['-c', 'echo answer; exit 4'], {}, has_terminal=False,\n"
        "    timeout_s=20, most_bytes=99)\n"
        "print(said.exit_code, said.output, process.find('setpriv'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", asking],
        env={**os.environ, "PATH": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=True,
    )
    assert "4 b'answer\\n' None\n" == done.stdout


def test_asking_leaves_no_descriptor_open_and_no_zombie() -> None:
    ask("true")
    before = descriptors()
    for script in ("true", "exit 1", "sleep 60 & exit 0"):
        ask(script)
    assert before == descriptors()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


ENDING = """
import os, pathlib, sys, threading, time
from kproxy import process

def ask():
    return process.ask(pathlib.Path("/bin/sh"), ["-c", "echo $$ > {pids}; sleep 60 & sleep 60"], os.environ,
        has_terminal=False, timeout_s=60, most_bytes=99)

said = []
asking = threading.Thread(target=lambda: said.append(ask()))
asking.start()
while not os.path.exists("{pids}"):
    time.sleep(0.01)
began_at = time.monotonic()
process.end_asked()
asking.join()
print(said[0].problem, time.monotonic() - began_at < 1)
try:
    ask()
except process.NotStarted as refused:
    print(refused)
print(process.run(["echo", "acts still"]))
"""


def test_end_of_asking_ends_asked_programs_and_starts_none_while_others_still_act(tmp_path: Path) -> None:
    text = ENDING.format(pids=tmp_path / "pids")
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=BOUND_S, check=True
    )
    about_to_end = "kproxy is ending"
    assert [f"{about_to_end} True", about_to_end, "acts still"] == done.stdout.split("\n")[:3]


def test_many_at_once_each_get_their_own_answer() -> None:
    answers: dict[int, bytes] = {}

    def take(number: int) -> None:
        answers[number] = ask(f"sleep 0.05; echo {number}").output

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {number: b"%d\n" % number for number in range(8)} == answers
