"""Progress for people: a spinner on a terminal, plain lines in a file, always with the time it took."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

# Progress goes to stderr: `devcluster kubeconfig` and `kubectl` own stdout.
console = Console(stderr=True, highlight=False)


@contextmanager
def step(title: str) -> Iterator[Callable[[str], None]]:
    """Show that a step runs, then that it is done and the seconds it took; a failure is shown as one.

    The block gets a function that shows what the step is at, on a terminal only.
    """
    began = time.monotonic()
    if not console.is_terminal:
        note(f"… {title}")
    try:
        with console.status(title) as status:
            yield lambda detail: status.update(f"{title} [dim]{detail}[/dim]")
    except BaseException:
        _line("✗", "red", title, began)
        raise
    _line("✓", "green", title, began)


def note(text: str) -> None:
    """Show a line that is no step."""
    console.print(f"  {text}", markup=False, soft_wrap=True)


def _line(mark: str, colour: str, title: str, began: float) -> None:
    seconds = time.monotonic() - began
    console.print(f"  [{colour}]{mark}[/{colour}] {title} [dim]({seconds:.1f} s)[/dim]", soft_wrap=True)
