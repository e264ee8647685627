import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from devcluster.errors import ClusterError
from devcluster.local.download import Release, UnreachableError, checksum, fetch
from devcluster.local.programs import unpack

CONTENT = b"a program" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder; what is below /truncated/ breaks off in the middle."""

    def do_GET(self) -> None:
        if self.path.startswith("/truncated/") and not self.path.endswith(".sha256"):
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[:100])
            return
        super().do_GET()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A real HTTP server and the folder that it serves."""
    folder = tmp_path / "served"
    (folder / "truncated").mkdir(parents=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", folder
        http.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def test_what_was_published_is_taken(server: tuple[str, Path], target: Path) -> None:
    url, folder = server
    (folder / "program").write_bytes(CONTENT)
    (folder / "program.sha256").write_text(f"{DIGEST}\n")
    path = fetch(Release(f"{url}/program", f"{url}/program.sha256"), target)
    assert path.read_bytes() == CONTENT


def test_another_content_than_published_is_refused_and_not_kept(
    server: tuple[str, Path], target: Path
) -> None:
    url, folder = server
    (folder / "program").write_bytes(CONTENT + b"!")
    (folder / "program.sha256").write_text(DIGEST)
    with pytest.raises(ClusterError, match="refused"):
        fetch(Release(f"{url}/program", f"{url}/program.sha256"), target)
    assert list(target.iterdir()) == []


def test_a_transfer_that_breaks_off_is_not_kept(server: tuple[str, Path], target: Path) -> None:
    url, folder = server
    (folder / "truncated" / "program.sha256").write_text(DIGEST)
    release = Release(f"{url}/truncated/program", f"{url}/truncated/program.sha256")
    with pytest.raises(UnreachableError):
        fetch(release, target)
    assert list(target.iterdir()) == []


def test_what_is_not_there_is_unreachable(server: tuple[str, Path], target: Path) -> None:
    url, folder = server
    (folder / "program").write_bytes(CONTENT)
    with pytest.raises(UnreachableError, match="404"):
        fetch(Release(f"{url}/program", f"{url}/program.sha256"), target)


def test_a_server_that_is_not_there_is_unreachable(target: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        port = http.server_port
    with pytest.raises(UnreachableError):
        fetch(Release(f"http://127.0.0.1:{port}/a", f"http://127.0.0.1:{port}/b"), target)


def test_the_right_line_of_a_list_of_checksums_is_taken() -> None:
    other = "0" * 64
    assert checksum(f"{other}  other.tar.gz\n{DIGEST} *program.tar.gz\n", "program.tar.gz") == DIGEST
    with pytest.raises(UnreachableError, match="no SHA-256"):
        checksum(f"{other}  other.tar.gz\n", "program.tar.gz")
    with pytest.raises(UnreachableError, match="no SHA-256"):
        checksum("<html>moved</html>", "program.tar.gz")


def test_an_archive_gives_its_executables_and_nothing_else(target: Path) -> None:
    archive = target / "release.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, mode in (("release/etcd", 0o755), ("release/README.md", 0o644)):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(CONTENT), mode
            tar.addfile(info, io.BytesIO(CONTENT))
    unpack([archive], target)
    assert [path.name for path in target.iterdir()] == ["etcd"]
    assert (target / "etcd").stat().st_mode & 0o111
