"""The `dumbkv` command as a user types it, on the real server."""

import json
import os
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from tests.support import server
from tests.support.command import PROGRAM, dumbkv
from tests.support.server import Process

pytestmark = pytest.mark.slow

TOKEN = "a token that is long enough to be one"
SECRET = "what nobody may read in an error"


def test_a_key_is_put_got_and_deleted(shared: Process, key: str) -> None:
    at = {"DUMBKV_URL": shared.url}
    put = dumbkv("put", key, "ünïcode", **at)
    assert (put.returncode, put.stdout) == (0, "")
    assert put.stderr.startswith("stored, revision ")
    got = dumbkv("get", key, **at)
    assert (got.returncode, got.stdout, got.stderr) == (0, "ünïcode", "")
    answer = json.loads(dumbkv("get", key, "-o", "json", **at).stdout)
    assert answer["value"] == "ünïcode"
    assert dumbkv("get", key, "--database", "7", **at).returncode == 3
    assert json.loads(dumbkv("delete", key, "-o", "json", **at).stdout)["deleted"] is True
    assert dumbkv("delete", key, **at).returncode == 0
    gone = dumbkv("get", key, **at)
    assert (gone.returncode, gone.stdout) == (3, "")
    assert gone.stderr.startswith("dumbkv: There is no such key")


def test_keys_and_values_come_from_standard_input_and_files(
    shared: Process, key: str, tmp_path: Path
) -> None:
    at = {"DUMBKV_URL": shared.url}
    assert dumbkv("put", key, given="two\nlines\n", **at).returncode == 0
    assert dumbkv("get", "-", given=f"{key}\n", **at).stdout == "two\nlines\n"
    value = tmp_path / "value"
    value.write_text("from a file")
    assert dumbkv("put", "-", "--file", str(value), given=key, **at).returncode == 0
    assert dumbkv("get", key, **at).stdout == "from a file"


def test_conditions_have_an_exit_code(shared: Process, key: str) -> None:
    at = {"DUMBKV_URL": shared.url}
    first = json.loads(dumbkv("put", key, "v", "--if-absent", "-o", "json", **at).stdout)
    assert dumbkv("put", key, "v", "--if-absent", **at).returncode == 4
    assert dumbkv("delete", key, "--if-revision", str(first["revision"] + 1), **at).returncode == 4
    assert (
        dumbkv("put", key, "v", "--if-revision", str(first["revision"]), "--ttl", "60", **at).returncode == 0
    )
    assert json.loads(dumbkv("get", key, "-o", "json", **at).stdout)["expires_at"]


def test_a_batch_is_a_file_of_operations(shared: Process, key: str, tmp_path: Path) -> None:
    operations = [{"op": "put", "key": key, "value": "v"}, {"op": "get", "key": key}]
    file = tmp_path / "operations.json"
    file.write_text(json.dumps({"operations": operations}))
    for done in (
        dumbkv("batch", str(file), DUMBKV_URL=shared.url),
        dumbkv("batch", "-", given=json.dumps(operations), DUMBKV_URL=shared.url),
    ):
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["results"][1]["value"] == "v"


def test_hash_token_makes_a_line_that_the_server_takes(tmp_path: Path) -> None:
    made = dumbkv("hash-token", "ci", "--scope", "read", "--scope", "write")
    token = made.stderr.removeprefix("token (shown once): ").strip()
    assert token not in made.stdout
    assert sha256(token.encode()).hexdigest() in made.stdout
    file = tmp_path / "token"
    file.write_text(token + "\n")
    environment = {"DATABASE_LOCATION": ":memory:", "DUMBKV_AUTH_TOKENS": made.stdout}
    with server.running(tmp_path / "log", environment) as process:
        at = {"DUMBKV_URL": process.url}
        assert dumbkv("put", "k", "v", DUMBKV_TOKEN=token, **at).returncode == 0
        assert dumbkv("get", "k", "--token-file", str(file), **at).stdout == "v"
        well = dumbkv("doctor", DUMBKV_TOKEN=token, **at)
        assert (well.returncode, well.stdout.count("ok ")) == (0, 3)
        answer = json.loads(dumbkv("doctor", "-o", "json", DUMBKV_TOKEN=token, **at).stdout)
        assert (answer["healthy"], len(answer["checks"])) == (True, 3)
        refused = dumbkv("get", "k", **at)
        assert refused.returncode == 1
        assert "DUMBKV_TOKEN" in refused.stderr
        ill = dumbkv("doctor", DUMBKV_TOKEN=TOKEN, **at)
        assert (ill.returncode, ill.stdout.count("FAILED")) == (1, 1)
        assert TOKEN not in ill.stdout + ill.stderr
    given = dumbkv("hash-token", "ci", DUMBKV_TOKEN=TOKEN)
    assert given.stdout == f"ci read,write sha256:{sha256(TOKEN.encode()).hexdigest()}\n"
    assert dumbkv("hash-token", "ci", DUMBKV_TOKEN="guessable").returncode == 1
    answer = json.loads(dumbkv("hash-token", "ci", "--scope", "admin", "-o", "json").stdout)
    assert answer["line"] == f"ci admin sha256:{sha256(answer['token'].encode()).hexdigest()}"


def test_doctor_says_what_is_wrong_where_nobody_answers() -> None:
    done = dumbkv("doctor", "-o", "json", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["healthy"] is False
    assert "no server answers" in answer["checks"][0]["problem"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("get", "k", "--url", "http://127.0.0.1:9"), 1, "no server answers"),
        (("get", "k", "--url", "127.0.0.1"), 1, "is no URL"),
        (("get", "k", "--url", "http://[::1"), 1, "is no URL"),
        (("put", "k", "v", "--file", "f"), 2, "not both"),
        (("put", "-"), 2, "standard input has the key"),
        (("put", "k", "--file", "/nonexistent"), 1, "cannot read /nonexistent"),
        (("put", "k", "--file", "/"), 1, "cannot read /"),
        (("get", "k", "--token-file", "/nonexistent"), 1, "cannot read"),
        (("batch", "-"), 1, "is not JSON"),
        (("hash-token", "ci", "--scope", "root"), 2, "is not one of"),
        (("hash-token", "two words"), 2, "a name has"),
        (("put", "k", "v", "--ttl", "nan"), 1, "not finite"),
        (("export", "/nonexistent/file"), 1, "no server answers"),
        (("export", "-", "-o", "json"), 2, "give a file"),
        (("import", "/nonexistent"), 1, "cannot read /nonexistent"),
        (("import", "/"), 1, "cannot read /"),
        (("import", "-"), 1, "no whole line"),
        (("import", "f", "--existing", "merge"), 2, "is not one of"),
        (("bench", "--seconds", "0"), 2, "--seconds"),
        (("bench", "--url", "ftp://h"), 1, "is no URL"),
        (("bench",), 1, "no server answers"),
        (("get", "k", "-d", "-1"), 2, "--database"),
        (("frobnicate",), 2, "No such command"),
    ],
)
def test_a_mistake_is_told_in_a_line(arguments: tuple[str, ...], code: int, says: str) -> None:
    done = dumbkv(*arguments, given="{", DUMBKV_TOKEN=TOKEN, COLUMNS="200", DUMBKV_URL="http://127.0.0.1:9")
    assert done.returncode == code
    assert says in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert TOKEN not in done.stderr


def test_what_the_server_refuses_names_no_secret(shared: Process, key: str) -> None:
    at = {"DUMBKV_URL": shared.url}
    for done in (
        dumbkv("put", SECRET + "k" * 1024, "v", **at),
        dumbkv("put", key, SECRET, "--ttl=-1", **at),
        dumbkv("put", key, given=SECRET + "\0" * 2_000_000, **at),
    ):
        assert done.returncode == 1
        assert done.stderr.startswith("dumbkv: ")
        assert done.stderr.count("\n") == 1
        assert SECRET not in done.stderr
    binary = subprocess.run(
        [PROGRAM, "put", key],
        env=os.environ | at,
        input=b"\xff",
        check=False,
    )
    assert binary.returncode == 1
