"""Output: colours and progress on a terminal, plain lines of sensible width in a pipe."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

WIDEST = 100


def console() -> Console:
    """The console for results; as wide as the terminal, but never wider than reads well."""
    from rich.console import Console

    class Quiet(Console):
        def on_broken_pipe(self) -> None:
            # rich would exit with 1, which here says that a verdict fails.
            raise BrokenPipeError

    found = Quiet(highlight=False)
    if not (found.is_terminal or "COLUMNS" in os.environ):
        found.width = WIDEST
    found.width = min(found.width, WIDEST)
    return found


@contextmanager
def progress(out: Console) -> Iterator[Callable[[str, int, int], None]]:
    """A bar that is told ``(stage, done, total)``; on a terminal only, and gone afterwards."""
    if not out.is_terminal:
        yield lambda stage, done, total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("  {task.description}"), BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=out, transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda stage, done, total: bar.update(task, description=stage, completed=done, total=total)
