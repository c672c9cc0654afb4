"""An agent that is asked to end does, also where its main thread hangs."""

import signal
import subprocess
import sys

import pytest

SCRIPT = """
import signal, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is to be ignored
from kproxy.agent import shutdown
shutdown._PATIENCE_S = shutdown._LONGEST_S = 0.2
shutdown.end_on_signals(lambda: None)
print("ready", flush=True)
while True:
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_process_whose_main_thread_hangs_ends_and_says_where(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout is not None
            assert "ready\n" == running.stdout.readline()
            running.send_signal(number)
            _, complaint = running.communicate(timeout=30)
        finally:
            running.kill()
    assert 1 == running.returncode
    assert "most recent call first" in complaint
