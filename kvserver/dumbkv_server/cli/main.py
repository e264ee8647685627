"""What a user types. Values go to standard output as they are, all else to standard error."""

import hashlib
import json
import os
import re
import secrets
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from dumbkv_server import __version__

from .api import FAILED, Api, CommandError

EPILOG = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no such key, 4 the condition does not hold."
MIN_TOKEN_LENGTH = 32
MAX_INPUT_BYTES = 64 * 1024 * 1024
TOKEN = "DUMBKV_TOKEN"  # noqa: S105 - the name of a variable
SCOPES = ("read", "write", "admin")

app = typer.Typer(
    name="dumbkv",
    help="Talk to a DumbKV: a key-value store whose keys are secrets.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Output(StrEnum):
    """How an answer is printed."""

    TEXT = "text"
    JSON = "json"


Key = Annotated[str, typer.Argument(help="The key; - reads it from standard input, out of the history.")]
Url = Annotated[str, typer.Option(envvar="DUMBKV_URL", help="Where the server is.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(envvar="DUMBKV_TOKEN_FILE", help="The file that holds the token; or set DUMBKV_TOKEN."),
]
Database = Annotated[int, typer.Option("--database", "-d", min=0, help="The database's number.")]
Format = Annotated[Output, typer.Option("--output", "-o", help="How the answer is printed.")]
IfRevision = Annotated[int | None, typer.Option(min=1, help="Only if the key has this revision.")]
DEFAULT_URL = "http://127.0.0.1:8000"


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def get(
    key: Key,
    database: Database = 0,
    output: Format = Output.TEXT,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Print a key's value, exactly as it was stored."""
    answer = _api(url, token_file).send("POST", "/kv", _address(key, database))
    if output is Output.JSON:
        _print_json(answer)
        return
    value = str(answer["value"])
    # A terminal's prompt belongs on a line of its own; a file gets not one byte more than was stored.
    end = "\n" if sys.stdout.isatty() and not value.endswith("\n") else ""
    sys.stdout.buffer.write((value + end).encode())


@app.command()
def put(
    key: Key,
    value: Annotated[str | None, typer.Argument(help="The value; without it, --file or input.")] = None,
    file: Annotated[Path | None, typer.Option(help="Read the value from this file.")] = None,
    database: Database = 0,
    ttl: Annotated[float | None, typer.Option(help="Seconds after which the key expires.")] = None,
    if_revision: IfRevision = None,
    if_absent: Annotated[bool, typer.Option("--if-absent", help="Only if there is no such key.")] = False,
    output: Format = Output.TEXT,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Store a value: an argument, a file, or standard input."""
    if value is not None and file is not None:
        raise typer.BadParameter("give the value as an argument or with --file, not both")
    if key == "-" and value is None and file is None:
        raise typer.BadParameter("standard input has the key: give the value as an argument or with --file")
    body = _address(key, database)
    body["value"] = _text(file) if value is None else value
    wanted = {"ttl": ttl, "if_revision": if_revision, "if_absent": if_absent or None}
    body |= {name: given for name, given in wanted.items() if given is not None}
    answer = _api(url, token_file).send("PUT", "/kv", body)
    _print(output, answer, f"stored, revision {answer['revision']}")


@app.command()
def delete(
    key: Key,
    database: Database = 0,
    if_revision: IfRevision = None,
    output: Format = Output.TEXT,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Delete a key. One that is not there is no error."""
    body = _address(key, database)
    if if_revision is not None:
        body["if_revision"] = if_revision
    answer = _api(url, token_file).send("DELETE", "/kv", body)
    _print(output, answer, "deleted" if answer["deleted"] else "there was no such key")


@app.command()
def batch(
    file: Annotated[
        Path, typer.Argument(help="JSON: a list of operations, or {'operations': […]}; - is input.")
    ],
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Do several operations, all or none, and print what each answered as JSON."""
    try:
        operations = json.loads(_text(None if str(file) == "-" else file))
    except (ValueError, RecursionError):
        raise CommandError(f"{file} is not JSON") from None
    body = {"operations": operations} if isinstance(operations, list) else operations
    _print_json(_api(url, token_file).send("POST", "/kv/batch", body))


@app.command("hash-token")
def hash_token(
    name: Annotated[str, typer.Argument(help="Whose token it is; the log and metrics never show it.")],
    scope: Annotated[list[str] | None, typer.Option(help="read, write or admin; may be repeated.")] = None,
) -> None:
    """Print a line for the server's token file; a new token goes to standard error, once.

    To hash a token that you have, set DUMBKV_TOKEN.
    """
    token = os.environ.get(TOKEN)
    scopes = scope or ["read", "write"]
    if unknown := sorted(set(scopes) - set(SCOPES)):
        raise typer.BadParameter(f"{', '.join(unknown)}: a scope is {', '.join(SCOPES)}")
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,63}", name):
        raise typer.BadParameter("a name has letters, digits, dots and dashes, at most 63")
    if token is not None and len(token) < MIN_TOKEN_LENGTH:
        raise CommandError(f"the token has fewer than {MIN_TOKEN_LENGTH} characters: it could be guessed")
    if token is None:
        token = secrets.token_urlsafe(32)
        typer.echo(f"token (shown once): {token}", err=True)
    typer.echo(
        f"{name} {','.join(dict.fromkeys(scopes))} sha256:{hashlib.sha256(token.encode()).hexdigest()}"
    )


@app.command()
def doctor(url: Url = DEFAULT_URL, token_file: TokenFile = None) -> None:
    """Look whether the server can be reached, is ready and takes the token; say what to do where not."""
    api = _api(url, token_file)
    failures = 0
    for path, meaning in (("/livez", "the process answers"), ("/readyz", "the database serves")):
        status, text = api.status(path)
        failures += _report(status == 200, meaning, f"{path} answered {status}: {text.strip()[:200]}")
    try:
        api.send("GET", "/databases")
    except CommandError as error:
        failures += _report(False, "the token may read", str(error))
    else:
        failures += _report(True, "the token may read", "")
    if failures:
        raise typer.Exit(FAILED)


def _report(good: bool, what: str, why: str) -> int:
    typer.echo(f"ok      {what}" if good else f"FAILED  {what}: {why}")
    return 0 if good else 1


def _api(url: str, token_file: Path | None) -> Api:
    # No option takes the token itself: every user of a machine can read the arguments of its processes.
    return Api(url, os.environ.get(TOKEN) if token_file is None else _text(token_file).strip())


def _address(key: str, database: int) -> dict[str, Any]:
    # The newline that ends a line of input is not the key's.
    return {"database": database, "key": _text(None).removesuffix("\n") if key == "-" else key}


def _text(path: Path | None) -> str:
    """A file's text, or that of standard input."""
    name = "standard input" if path is None else str(path)
    try:
        if path is None:
            data = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1)
        else:
            with path.open("rb") as file:
                data = file.read(MAX_INPUT_BYTES + 1)
        if len(data) > MAX_INPUT_BYTES:
            raise CommandError(f"{name} has more than {MAX_INPUT_BYTES} bytes")
        return data.decode()
    except OSError as error:
        raise CommandError(f"cannot read {name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CommandError(f"{name} is not UTF-8 text, and values are") from None


def _print(output: Output, answer: dict[str, Any], text: str) -> None:
    if output is Output.JSON:
        _print_json(answer)
    else:
        typer.echo(text, err=True)


def _print_json(answer: dict[str, Any]) -> None:
    typer.echo(json.dumps(answer, ensure_ascii=False))


def run() -> NoReturn:
    """The process: an error is one line, an interrupt none."""
    try:
        app()
    except CommandError as error:
        sys.stderr.write(f"dumbkv: {error}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(FAILED)
    sys.exit(0)
