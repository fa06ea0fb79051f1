"""Outcomes of scenarios, as tables that fit a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from causalsim.scenario import FoliationRow, Outcome, RouteRow
from causalsim.scenario.outcome import check_row
from causalsim.scenario.pictures import Figure
from causalsim.testing.findings import Finding

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

INK = ("green", "red", "yellow", "magenta", "blue", "cyan")
SHOWN = 12
SHOWN_PIECES = 8
INDENT = "  "


def show(outcome: Outcome) -> Iterator[RenderableType]:
    """Everything about an outcome, from the question to the checks."""
    yield Text(outcome.title, style="bold")
    yield Text(" ".join(outcome.about.split()))
    yield Text(f"\n{outcome.graph}", style="dim")
    if outcome.unread:
        yield unread_note(outcome.unread)
    if outcome.foliations:
        yield from (Text(), foliation_table(outcome.foliations))
    if outcome.routes:
        yield from (Text(), route_table(outcome.routes))
    if outcome.continuations:
        yield from (Text(), *map(continuation, outcome.continuations))
    yield Text()
    yield from check_lines(outcome.checks)


def foliation_table(rows: Iterable[FoliationRow]) -> RenderableType:
    """A row a foliation: its shape, its cost, its digest."""
    rows = list(rows)
    table = plain_table("foliation")
    for heading in ("slices", "widest"):
        table.add_column(heading, justify="right")
    ran = any(row.digest for row in rows)
    for heading in ("peak live", "seconds") if ran else ():
        table.add_column(heading, justify="right")
    if ran:
        table.add_column("digest")
    inked = ink(row.digest or "" for row in rows)
    for row in rows:
        shape: list[RenderableType] = [Text(row.name), f"{row.slices:,}", f"{row.widest:,}"]
        cost = [size(row.peak_bytes or 0), f"{row.seconds or 0:.3f}"]
        table.add_row(*shape, *cost, *([inked[row.digest or ""]] if ran else []))
    return Indented(table)


def route_table(rows: Iterable[RouteRow]) -> RenderableType:
    """A row a question: from where to where, and how many ways lead there."""
    table = plain_table("from")
    table.add_column("to")
    table.add_column("routes", justify="right")
    for row in rows:
        table.add_row(row.source, row.target, f"{row.count:,}")
    return Indented(table)


def check_lines(checks: Iterable[Finding]) -> Iterator[RenderableType]:
    """A line a check: if it holds, what it says, what was found."""
    for check in checks:
        style, mark = ("green", "holds") if check.holds else ("bold red", "FAILS")
        line = Table.grid(padding=(0, 2))
        line.add_row(
            Text(mark, style=style), Text.assemble(f"{check.name}: ", (check_row(check)["found"], "dim"))
        )
        yield Indented(line)


def unread_note(pieces: Sequence[str]) -> RenderableType:
    """Characters without a token, so that nobody takes the model's unknown token for the text."""
    shown = ", ".join(map(repr, pieces[:SHOWN_PIECES])) + ", ..." * (len(pieces) > SHOWN_PIECES)
    return Text(
        f"Note: the model has no token for {shown} and reads its unknown token there.", style="yellow"
    )


def continuation(text: str) -> RenderableType:
    """Generated text, its line ends shown as spaces."""
    return Indented(Text.assemble("continued: ", (" ".join(text.split()), "italic cyan")))


def file_table(folder: Path, drawn: Iterable[Figure], more: Mapping[str, str]) -> RenderableType:
    """The files that were written, and what each shows."""
    table = plain_table(Text(f"written to {folder}/"))
    table.add_column("what it shows", style="dim")
    for figure in drawn:
        table.add_row(f"{figure.stem}.{' .'.join(figure.formats)}", Text(figure.caption))
    for name, meaning in more.items():
        table.add_row(name, meaning)
    return Indented(table)


def last_word(holds: bool) -> str:
    """The verdict about everything, in one sentence."""
    return "[bold green]Everything holds.[/]" if holds else "[bold red]Something does not hold.[/]"


def ink(digests: Iterable[str]) -> dict[str, Text]:
    """The beginning of every digest, in a colour of its own."""
    different = list(dict.fromkeys(digests))
    return {digest: Text(digest[:SHOWN], style=INK[n % len(INK)]) for n, digest in enumerate(different)}


def size(count: int) -> str:
    """Return bytes in the unit that people would use.

    >>> size(900), size(43_008), size(5_242_880), size(2**41)
    ('900 B', '42.0 KiB', '5.0 MiB', '2.0 TiB')
    """
    return f"{count} B" if count < 1024 else _scaled(count, 1024, ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"))


def work(count: int) -> str:
    """Return floating-point operations in the unit that people would use.

    >>> work(900), work(1_320_000_000_000_000)
    ('900 FLOP', '1.3 PFLOP')
    """
    units = (f"{letter}FLOP" for letter in "KMGTPEZ")
    return f"{count} FLOP" if count < 1000 else _scaled(count, 1000, tuple(units))


def _scaled(count: int, step: int, units: Sequence[str]) -> str:
    power = 1
    # No more than three digits before the point, in steps of 1024 as well.
    while count >= 1000 * step**power and power < len(units):
        power += 1
    return f"{count / step**power:,.1f} {units[power - 1]}"


def plain_table(first: str | Text, *, narrow: bool = False) -> Table:
    """A table with a line under its headings and nothing else; a narrow one has less between columns."""
    from rich import box

    padding = (0, 1, 0, 0) if narrow else (0, 1)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=padding, header_style="bold")
    table.add_column(first, overflow="fold")
    return table


@dataclass(frozen=True)
class Indented:
    """Something two columns further in, without blanks at the ends of its lines."""

    part: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        inner = options.update(width=options.max_width - len(INDENT))
        for line in console.render_lines(self.part, inner, pad=False):
            kept = _stripped(line)
            yield from (Segment(INDENT), *kept, Segment.line()) if kept else (Segment.line(),)


def _stripped(line: list[Segment]) -> list[Segment]:
    while line and not line[-1].text.rstrip():
        line = line[:-1]
    return [*line[:-1], Segment(line[-1].text.rstrip(), line[-1].style)] if line else []
