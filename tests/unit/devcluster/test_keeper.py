"""The keeper is process 1 of a namespace: here, of a plain process."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.eventually import eventually

SCRIPT = """
import pathlib, sys
from devcluster.local.keeper import Keeper, Process
folder = pathlib.Path(sys.argv[1])
def wanted():
    names = (folder / "wanted").read_text().split()
    return [Process(name, ["/bin/sh", "-c", (folder / name).read_text()], folder / f"{name}.log",
                    restart=name != "once") for name in names]
Keeper(folder / "state.json", wanted).run()
"""


def test_what_ends_is_started_again_and_what_is_added_is_started(tmp_path: Path) -> None:
    (tmp_path / "wanted").write_text("short once")
    (tmp_path / "short").write_text("echo ran; exit 3")
    (tmp_path / "once").write_text("exit 0")
    (tmp_path / "long").write_text("exec sleep 60")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    keeper = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path)], env=environment)

    def state() -> dict[str, dict[str, Any]]:
        path = tmp_path / "state.json"
        return json.loads(path.read_text()) if path.exists() else {}

    try:
        eventually(lambda: state().get("short", {}).get("exits", 0) >= 2, "a restart", timeout=10)
        assert state()["short"]["last"] == "exit status 3"
        assert state()["once"] == {"pid": 0, "exits": 1, "last": "exit status 0"}
        (tmp_path / "wanted").write_text("short once long")
        keeper.send_signal(signal.SIGHUP)
        pid = eventually(lambda: state().get("long", {}).get("pid"), "the added one", timeout=10)
        assert Path(f"/proc/{pid}").exists()
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: state()["long"]["last"] == "signal 9", "its end seen", timeout=10)
    finally:
        keeper.kill()
        keeper.wait()
        if left := state().get("long", {}).get("pid"):
            os.kill(left, signal.SIGKILL)
