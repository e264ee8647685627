"""The options and arguments that several commands share."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from dumbkv_server.api.types import LAST_DATABASE

from .api import Api
from .streams import read_text

TOKEN: Final = "DUMBKV_TOKEN"  # noqa: S105 - the name of a variable
DEFAULT_URL: Final = "http://127.0.0.1:8000"


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
Database = Annotated[
    int, typer.Option("--database", "-d", min=0, max=LAST_DATABASE, help="The database's number.")
]
Format = Annotated[Output, typer.Option("--output", "-o", help="How the answer is printed.")]
IfRevision = Annotated[int | None, typer.Option(min=1, help="Only if the key has this revision.")]


def api(url: str, token_file: Path | None) -> Api:
    """The server at `url`, with the user's token."""
    # No option takes the token itself: every user of a machine can read the arguments of its processes.
    token = os.environ.get(TOKEN) if token_file is None else read_text(token_file)
    return Api(url, token and token.strip())
