"""What a crash leaves behind: no image of the process' memory, in which keys and values are."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

from tests.support import server

PR_GET_DUMPABLE = 3
ASK = f"""
import ctypes, resource
print(ctypes.CDLL(None).prctl({PR_GET_DUMPABLE}, 0, 0, 0, 0))
from dumbkv_server.lifecycle import forbid_core_dumps
forbid_core_dumps()
print(ctypes.CDLL(None).prctl({PR_GET_DUMPABLE}, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))
"""


def test_a_crash_leaves_no_core(tmp_path: Path) -> None:
    with server.running(tmp_path / "log", {"DATABASE_LOCATION": ":memory:"}) as process:
        assert resource.prlimit(process.popen.pid, resource.RLIMIT_CORE) == (0, 0)
        process.popen.send_signal(signal.SIGABRT)
        ended = os.waitid(os.P_PID, process.popen.pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        # And not CLD_DUMPED.
        assert (ended.si_status, ended.si_code) == (signal.SIGABRT, os.CLD_KILLED)


def test_the_kernel_is_told_that_the_process_is_not_to_be_dumped() -> None:
    """The limit alone does not hold where core_pattern names a program (core(5))."""
    asked = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True)
    assert asked.stdout.splitlines() == ["1", "0 (0, 0)"]
