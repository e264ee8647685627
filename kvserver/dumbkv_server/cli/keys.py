"""The commands on keys: get, put, delete, batch."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .api import CommandError
from .options import DEFAULT_URL, Database, Format, IfRevision, Key, Output, TokenFile, Url, api
from .streams import print_json, read_text


def get(
    key: Key,
    database: Database = 0,
    output: Format = Output.TEXT,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Print a key's value, exactly as it was stored."""
    answer = api(url, token_file).send("POST", "/kv", _address(key, database))
    if output is Output.JSON:
        print_json(answer)
        return
    value = str(answer["value"])
    # A terminal's prompt belongs on a line of its own; a file gets not one byte more than was stored.
    end = "\n" if sys.stdout.isatty() and not value.endswith("\n") else ""
    sys.stdout.buffer.write((value + end).encode())
    sys.stdout.buffer.flush()


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
    """Store a value: an argument, a file, or standard input.

    Example: `dumbkv put greeting hello --ttl 3600`

    Example: `dumbkv put certificate --file tls.crt`
    """
    if value is not None and file is not None:
        raise typer.BadParameter("give the value as an argument or with --file, not both")
    if key == "-" and value is None and file is None:
        raise typer.BadParameter("standard input has the key: give the value as an argument or with --file")
    body = _address(key, database)
    body["value"] = read_text(file) if value is None else value
    wanted = {"ttl": ttl, "if_revision": if_revision, "if_absent": if_absent or None}
    body |= {name: given for name, given in wanted.items() if given is not None}
    answer = api(url, token_file).send("PUT", "/kv", body)
    _print(output, answer, f"stored, revision {answer['revision']}")


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
    answer = api(url, token_file).send("DELETE", "/kv", body)
    _print(output, answer, "deleted" if answer["deleted"] else "there was no such key")


def batch(
    file: Annotated[
        Path, typer.Argument(help="JSON: a list of operations, or {'operations': […]}; - is input.")
    ],
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Do several operations, all or none, and print what each answered as JSON.

    Example: `echo '[{"op": "put", "key": "k", "value": "v"}, {"op": "get", "key": "k"}]' | dumbkv batch -`
    """
    try:
        operations = json.loads(read_text(None if str(file) == "-" else file))
    except (ValueError, RecursionError):
        raise CommandError(f"{file} is not JSON") from None
    body = {"operations": operations} if isinstance(operations, list) else operations
    print_json(api(url, token_file).send("POST", "/kv/batch", body))


def _address(key: str, database: int) -> dict[str, Any]:
    # The newline that ends a line of input is not the key's.
    return {"database": database, "key": read_text(None).removesuffix("\n") if key == "-" else key}


def _print(output: Output, answer: dict[str, Any], text: str) -> None:
    if output is Output.JSON:
        print_json(answer)
    else:
        typer.echo(text, err=True)
