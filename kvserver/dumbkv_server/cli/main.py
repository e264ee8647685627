"""What a user types. Values go to standard output as they are, all else to standard error."""

import os
import signal
import sys
from typing import Annotated, NoReturn

import typer

from dumbkv_server import __version__

from . import access, bench, keys, transfer
from .api import FAILED, CommandError

EPILOG = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no such key, 4 the condition does not hold, "
    "130 interrupted."
)
TERMINATED = 128 + signal.SIGTERM

app = typer.Typer(
    name="dumbkv",
    help="Talk to a DumbKV: a key-value store whose keys are secrets.",
    epilog=EPILOG,
    no_args_is_help=True,
    # Paragraphs are broken where the terminal ends, not where the source does.
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(keys.get)
app.command()(keys.put)
app.command()(keys.delete)
app.command()(keys.batch)
app.command("export")(transfer.export_rows)
app.command("import")(transfer.import_rows)
app.command()(bench.bench)
app.command("hash-token")(access.hash_token)
app.command()(access.doctor)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def run() -> NoReturn:
    """The process: an error is one line; an interrupt and a reader that has seen enough are none."""
    # What was begun is put away also where somebody else ends this process.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        app()
    except CommandError as error:
        sys.stderr.write(f"dumbkv: {error}\n")
        sys.exit(error.exit_code)
    except OSError as error:
        sys.stderr.write(f"dumbkv: cannot write to standard output: {error.strerror}\n")
        # What is left of it goes nowhere: nobody is told a second time.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    sys.exit(0)
