"""A temporary, real PostgreSQL on 127.0.0.1, stopped and removed however its use ends.

As a context manager (`with postgres.running() as server: server.uri`) or around a command, in whose arguments
`{uri}` is replaced: `python -m tests.support.postgres -- pytest tests/server --database-location={uri}`.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

# Speed for tests of behaviour; a test of durability turns `durable` on.
CARELESS = ("-c", "fsync=off", "-c", "full_page_writes=off")


@dataclass
class Server:
    """One server with its own data folder. `uri` is for libpq; `stop` and `start` keep data and port."""

    binaries: Path
    data: Path
    port: int
    options: Sequence[str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Return once the server takes connections."""
        command = [
            str(self.binaries / "postgres"),
            *("-D", str(self.data), "-p", str(self.port), "-k", str(self.data), "-h", "127.0.0.1"),
            *self.options,
        ]
        with (self.data / "log").open("ab") as log:
            self.process = subprocess.Popen(
                _as_postgres(command), stdout=log, stderr=log, cwd=self.data, start_new_session=True
            )
        ready = [str(self.binaries / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port), "-t", "20", "-q"]
        for _ in range(200):
            if subprocess.run(ready, check=False).returncode == 0:
                return
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.1)
                break
        raise RuntimeError(f"PostgreSQL did not start:\n{(self.data / 'log').read_text()[-2000:]}")

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """End the server and wait for it; SIGINT disconnects its clients and shuts down in order."""
        if self.process is not None:
            self._signal(number)
            self.process.wait(60)
            self.process = None

    def _signal(self, number: signal.Signals) -> None:
        # Under root the child is `setpriv`, which has become the server itself by execve.
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)


@contextmanager
def running(*, durable: bool = False) -> Iterator[Server]:
    """A new PostgreSQL with an empty database, gone at the end."""
    binaries = _binaries()
    folder = Path(tempfile.mkdtemp(prefix="dumbkv-postgres-"))
    try:
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(folder, account.pw_uid, account.pw_gid)
        data = folder / "data"
        initialise = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust"]
        initialise += ["-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        made = subprocess.run(
            _as_postgres(initialise), capture_output=True, text=True, check=False, cwd=folder
        )
        if made.returncode != 0:
            raise RuntimeError(f"initdb failed:\n{made.stdout}{made.stderr}")
        server = Server(binaries, data, _free_port(), () if durable else CARELESS)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_postgres(command: list[str]) -> list[str]:
    """PostgreSQL refuses to run as root. The server dies with whoever started it, also after kill -9."""
    death = ["setpriv", "--pdeathsig", "INT"]
    if os.geteuid() != 0:
        return [*death, *command]
    return [*death, "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]


def _binaries() -> Path:
    """The folder of the newest PostgreSQL: Debian's place, or PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    if on_path is None:
        raise RuntimeError("PostgreSQL is not installed; on Debian: apt-get install postgresql")
    return Path(on_path).resolve().parent


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _stopped(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main(arguments: Sequence[str]) -> int:
    """Run a command beside a temporary PostgreSQL; its exit code."""
    command = list(arguments[1:] if arguments[:1] == ["--"] else arguments)
    if not command:
        print("usage: python -m tests.support.postgres -- COMMAND … {uri} …", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _stopped)
    with running() as server:
        child = subprocess.Popen([part.replace("{uri}", server.uri) for part in command])
        try:
            return child.wait()
        except KeyboardInterrupt:
            # The terminal has told the child too.
            return child.wait()
        except SystemExit:
            child.terminate()
            child.wait()
            raise


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
