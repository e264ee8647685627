"""The `dumbkv` command as a part of a command line: pipes, signals, terminals, completion."""

import json
import os
import pty
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import PROGRAM, dumbkv, environment, start
from tests.support.eventually import eventually
from tests.support.server import DIRECTORY, Process

pytestmark = pytest.mark.slow


def test_keys_and_values_may_be_anything_that_is_text(shared: Process, key: str) -> None:
    at = {"DUMBKV_URL": shared.url}
    for name, value in ((f"{key}\nline\ttab", "v"), (f"{key} 🔑 ключ", "\n\n"), (f"{key}--", "")):
        assert dumbkv("put", "--", name, value, **at).returncode == 0
        assert dumbkv("get", "--", name, **at).stdout == value
    binary = subprocess.run([PROGRAM, "put", b"\xff", "v"], env=environment(**at), capture_output=True)
    assert (binary.returncode, binary.stderr) == (
        1,
        b"dumbkv: keys and values are UTF-8 text, and this is not\n",
    )


def test_a_reader_that_has_seen_enough_gets_no_traceback(shared: Process, key: str) -> None:
    at = {"DUMBKV_URL": shared.url}
    assert dumbkv("put", key, given="v" * 1_000_000, **at).returncode == 0
    for arguments in (("get", key), ("get", key, "-o", "json"), ("export", "-")):
        process = start(*arguments, **at)
        assert process.stdout is not None
        process.stdout.close()
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert errors == b""


def test_output_that_cannot_be_written_is_told_in_a_line(shared: Process, key: str) -> None:
    at = {"DUMBKV_URL": shared.url}
    assert dumbkv("put", key, "v", **at).returncode == 0
    for arguments in (("get", key), ("get", key, "-o", "json"), ("export", "-")):
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [PROGRAM, *arguments], env=environment(**at), stdout=full, stderr=subprocess.PIPE, text=True
            )
        assert done.returncode == 1
        assert done.stderr == "dumbkv: cannot write to standard output: No space left on device\n"


def test_a_file_has_its_name_only_when_it_is_whole(shared: Process, key: str, tmp_path: Path) -> None:
    file = tmp_path / "export"
    file.write_text("the former one")
    at = {"DUMBKV_URL": shared.url}
    assert dumbkv("put", key, given="v" * 1_000_000, **at).returncode == 0

    def full() -> None:
        # As a disk that is full: whoever ignores the signal is told so by write.
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run(
        [PROGRAM, "export", str(file)],
        env=environment(**at),
        capture_output=True,
        text=True,
        preexec_fn=full,
    )
    assert done.returncode == 1
    assert done.stderr == f"dumbkv: cannot write {file}: File too large\n"
    assert file.read_text() == "the former one"
    assert list(tmp_path.iterdir()) == [file]
    assert dumbkv("export", "/dev/null", **at).returncode == 0
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_export_that_is_stopped_leaves_nothing(
    shared: Process, key: str, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """The server stands still in the middle of it: more is to come than is under way."""
    file = tmp_path / "export"
    with shared.client() as client:
        for each in range(32):
            client.put("/kv", json={"key": f"{key}{each}", "value": "v" * 1024 * 1024})
    process = start("export", str(file), DUMBKV_URL=shared.url)
    # All of it takes some tenths of a second.
    eventually(lambda: list(tmp_path.glob(".export.*")), "the file is begun", every=0.001)
    shared.popen.send_signal(signal.SIGSTOP)
    try:
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == code
        assert b"Traceback" not in errors
        assert list(tmp_path.iterdir()) == []
    finally:
        shared.popen.send_signal(signal.SIGCONT)
        with shared.client() as client:
            for each in range(32):
                client.request("DELETE", "/kv", json={"key": f"{key}{each}"})


def test_an_import_that_is_interrupted_tells_what_it_did(shared: Process) -> None:
    row = {"database": 987654, "expires_at": None, "blob": "AQAA" + "A" * 36}
    header = {"format": "dumbkv-export/1", "last_revision": 1500, "legacy_rows": 0, "peppers": []}
    lines = [header] + [{"row_id": f"{n:064x}", "revision": n + 1, **row} for n in range(1500)]
    process = start("import", "-", "--existing", "keep", DUMBKV_URL=shared.url)
    assert process.stdin is not None
    for line in lines:
        process.stdin.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
    process.stdin.flush()

    def there() -> bool:
        with shared.client() as client:
            return {"database": 987654, "keys": 1000} in client.get("/databases").json()["databases"]

    eventually(there, "the first thousand rows are imported")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    with shared.client() as client:
        client.delete("/databases/987654")
    assert process.returncode == 130
    assert b"interrupted (before that: imported 1000 rows" in errors


def test_bench_measures_and_leaves_no_key(shared: Process) -> None:
    at = {"DUMBKV_URL": shared.url}
    done = dumbkv("bench", "-s", "1", "-c", "4", "--keys", "700", "-d", "123456", "-o", "json", **at)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["seconds"] >= 1
    for kind in ("reads", "writes"):
        assert answer[kind]["answered"] > 0
        assert answer[kind]["errors"] == {}
        assert 0 < answer[kind]["p50_ms"] <= answer[kind]["p99_ms"]
        assert answer[kind]["per_second"] == pytest.approx(answer[kind]["answered"] / answer["seconds"], 0.01)
    only_reads = dumbkv("bench", "-s", "0.5", "--reads", "100", "-d", "123456", **at)
    assert [line.split()[1] for line in only_reads.stdout.splitlines() if "writes" in line] == ["writes"]
    with shared.client() as client:
        assert 123456 not in {each["database"] for each in client.get("/databases").json()["databases"]}


def test_bench_tells_what_it_measured_when_it_is_interrupted(shared: Process) -> None:
    process = start("bench", "-s", "600", "--keys", "3", "-d", "123457", "-o", "json", DUMBKV_URL=shared.url)

    def under_way() -> bool:
        with shared.client() as client:
            text = client.get("/metrics").text
            found = [line for line in text.splitlines() if line.startswith("dumbkv_requests_total{")]
            return any('method="PUT"' in line and float(line.split()[1]) > before + 100 for line in found)

    before = 0.0
    with shared.client() as client:
        for line in client.get("/metrics").text.splitlines():
            if line.startswith('dumbkv_requests_total{method="PUT",route="/kv",status="200"}'):
                before = float(line.split()[1])
    eventually(under_way, "the load is under way")
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert json.loads(output)["writes"]["answered"] > 0
    with shared.client() as client:
        assert 123457 not in {each["database"] for each in client.get("/databases").json()["databases"]}


def test_progress_is_shown_on_a_terminal_only(shared: Process, tmp_path: Path) -> None:
    at = {"DUMBKV_URL": shared.url}
    file = tmp_path / "export"
    plain = dumbkv("export", str(file), **at)
    assert plain.stderr.startswith("exported ")
    assert plain.stdout == ""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, "export", str(file)], env=environment(**at, TERM="xterm", COLUMNS="120"), stderr=theirs
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:
        # Linux says that nobody has the other end any more.
        pass
    os.close(ours)
    assert process.wait(60) == 0
    assert b"exporting" in shown
    assert b"exported " in shown


def in_bash(script: str, **settings: str) -> str:
    """What a script prints. The command looks for the shell that started it, so the shell must stay."""
    path = f"{PROGRAM.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env=environment(PATH=path, **settings),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_bash_completes_commands_options_and_values() -> None:
    script = in_bash("dumbkv --show-completion; exit $?")
    assert "complete" in script

    def completed(*words: str) -> list[str]:
        line = " ".join(f"'{word}'" for word in words)
        given = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}"
        ask = f'{given}; _dumbkv_completion dumbkv; printf "%s\\n" "${{COMPREPLY[@]}}"'
        return in_bash(f"{script}\n{ask}").split()

    assert completed("dumbkv", "ex") == ["export"]
    assert {"get", "put", "import", "bench", "doctor"} <= set(completed("dumbkv", ""))
    assert completed("dumbkv", "import", "--exi") == ["--existing"]
    assert set(completed("dumbkv", "import", "f", "--existing", "")) == {"refuse", "keep", "replace"}
    assert completed("dumbkv", "hash-token", "ci", "--scope", "ad") == ["admin"]


def test_completion_is_installed_for_bash(tmp_path: Path) -> None:
    in_bash("dumbkv --install-completion; exit $?", HOME=str(tmp_path))
    assert "_dumbkv_completion" in in_bash(
        f"source {tmp_path}/.bashrc; complete -p dumbkv", HOME=str(tmp_path)
    )


def test_every_command_explains_itself() -> None:
    listing = dumbkv("--help", COLUMNS="120").stdout
    assert "Exit codes: 0 done" in listing
    for command in ("get", "put", "delete", "batch", "export", "import", "bench", "hash-token", "doctor"):
        assert command in listing
        done = dumbkv(command, "--help", COLUMNS="120")
        assert done.returncode == 0
        assert "Usage: dumbkv" in done.stdout


def test_the_server_does_not_load_the_command() -> None:
    ask = "import sys, main; print(*{'typer', 'rich', 'httpx', 'dumbkv_server.cli'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", ask],
        cwd=DIRECTORY,
        env=environment(DATABASE_LOCATION=":memory:"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr
