"""The commands about getting in: hash-token and doctor."""

import hashlib
import os
import re
import secrets
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Annotated, Final

import typer

from .api import FAILED, Api, CommandError
from .options import DEFAULT_URL, TOKEN, Format, Output, TokenFile, Url, api
from .streams import print_json

MIN_TOKEN_LENGTH: Final = 32


class Scope(StrEnum):
    """What a token may do."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


def hash_token(
    name: Annotated[str, typer.Argument(help="Whose token it is; the log and metrics never show it.")],
    scope: Annotated[
        list[Scope] | None, typer.Option(help="May be repeated; default: read and write.")
    ] = None,
    output: Format = Output.TEXT,
) -> None:
    """Print a line for the server's token file; a new token goes to standard error, once.

    To hash a token that you have, set DUMBKV_TOKEN.

    Example: `dumbkv hash-token ci --scope read >> tokens`
    """
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,63}", name):
        raise typer.BadParameter("a name has letters, digits, dots and dashes, at most 63")
    given = os.environ.get(TOKEN)
    if given is not None and len(given) < MIN_TOKEN_LENGTH:
        raise CommandError(f"the token has fewer than {MIN_TOKEN_LENGTH} characters: it could be guessed")
    token = secrets.token_urlsafe(32) if given is None else given
    scopes = ",".join(dict.fromkeys(scope or [Scope.READ, Scope.WRITE]))
    line = f"{name} {scopes} sha256:{hashlib.sha256(token.encode()).hexdigest()}"
    if output is Output.JSON:
        print_json({"line": line} if given is not None else {"line": line, "token": token})
        return
    if given is None:
        typer.echo(f"token (shown once): {token}", err=True)
    typer.echo(line)


@dataclass(frozen=True)
class Check:
    """Something that must hold for the server to be of use; `problem` says why it does not."""

    what: str
    ok: bool
    problem: str | None = None


def doctor(output: Format = Output.TEXT, url: Url = DEFAULT_URL, token_file: TokenFile = None) -> None:
    """Look whether the server can be reached, is ready and takes the token; say what to do where not."""
    checks = _checks(api(url, token_file))
    healthy = all(check.ok for check in checks)
    if output is Output.JSON:
        print_json({"healthy": healthy, "checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            typer.echo(f"ok      {check.what}" if check.ok else f"FAILED  {check.what}: {check.problem}")
    if not healthy:
        raise typer.Exit(FAILED)


def _checks(server: Api) -> list[Check]:
    """What was found, as far as it could be asked."""
    checks: list[Check] = []
    meaning = "the process answers"
    try:
        with server.session() as session:
            for path, meaning in (("/livez", "the process answers"), ("/readyz", "the database serves")):
                status, text = session.status(path)
                why = None if status == 200 else f"{path} answered {status}: {' '.join(text.split())[:200]}"
                checks.append(Check(meaning, why is None, why))
            meaning = "the token may read"
            session.send("GET", "/databases")
            checks.append(Check(meaning, True))
    except CommandError as error:
        checks.append(Check(meaning, False, str(error)))
    return checks
