"""``causalsim calibrate``: calibration on the machine at hand, as a table."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from causalsim.calibration import calibrate as measure
from causalsim.calibration import measured
from causalsim.cli.exit_codes import FAILS, HOLDS
from causalsim.cli.results import check_file, write_result
from causalsim.cli.tables import Indented, check_lines, plain_table
from causalsim.cli.terminal import console, progress
from causalsim.engine import Calibration, Model, load
from causalsim.engine.calibrations import BUCKETS, Measurement, file_of, is_damaged
from causalsim.kernels import CERTIFIED
from causalsim.scenario.outcome import check_row, checked
from causalsim.testing.findings import Finding
from causalsim.verification.faults import with_batch_size

if TYPE_CHECKING:
    from rich.console import RenderableType

    from causalsim.progress import Progress

EXAMPLE = 20
DAMAGED = "What was kept there before was damaged, or of an older version: it counted as none."


def calibrate(name: str, path: Path | None) -> int:
    """Measure, show, keep; fails if a batch size had to be dropped or a planted fault went unseen."""
    check_file(path)
    model, out = load(name), console()
    damaged = is_damaged(model.config, model.dtype)
    with progress(out) as watch:
        found = measure(model, progress=watch)
        checks = [_bits(found), _control(model, watch)]
    kept = file_of(model.config, model.dtype)
    for part in _shown(found, checks):
        out.print(part)
    # A path is one word, for whoever copies it.
    out.print(f"{kept}", markup=False, soft_wrap=True)
    if damaged:
        out.print(Text(DAMAGED, style="yellow"))
    holds = all(check.holds for check in checks)
    write_result(out, path, _to_json(found, checks, kept))
    return HOLDS if holds else FAILS


def _bits(found: Calibration) -> Finding:
    kinds = len({each.dispatch for each in found.measurements})
    tried = f"{kinds} kinds of dispatch at {_list(found.sizes)} rows"
    dropped = f"not at {_list(found.dropped)} of {_list(found.sizes)} rows"
    return checked("a row has the same bits in every batch", found.holds, dropped if found.dropped else tried)


def _control(model: Model, watch: Progress) -> Finding:
    """Say if the planted fault was found; without it the measurement says nothing."""
    faulty = with_batch_size(CERTIFIED)
    seen = measured(model, kernels=faulty, dispatches=("mlp",), progress=watch).dropped
    where = f"seen at {_list(seen)} rows" if seen else "not seen"
    return checked("a planted fault is seen", bool(seen), f"{faulty.name}, {where}")


def _shown(found: Calibration, checks: list[Finding]) -> Iterator[RenderableType]:
    yield Indented(_table(found))
    yield Text()
    yield from check_lines(checks)
    choice = f"Batches of {_list(found.buckets.sizes)} rows are chosen"
    parts = " + ".join(map(str, found.buckets.split(EXAMPLE)))
    yield Text(f"\n{choice}: {EXAMPLE} events, for example, go as {parts}.")
    if {*found.buckets.sizes} <= {*found.dropped}:
        yield Text("Not even these keep their bits here: nothing is promised on this machine.", style="red")
    asked = os.environ.get(BUCKETS)
    use = f"do not use it while {BUCKETS}={asked}" if asked else "use it from now on"
    yield Text(f"This is calibration {found.identity}; runs of this model {use}. It is kept in")


def _table(found: Calibration) -> Table:
    """A row a kind of dispatch, and one for all that an event takes on its way up; a column a batch size."""
    table = plain_table("microseconds a batch\nand a row; rows:")
    for count in found.sizes:
        table.add_column(Text(f"\n{count}"), justify="right")
    rows: dict[str, list[Measurement]] = {}
    for each in found.measurements:
        rows.setdefault(each.dispatch, []).append(each)
    for form, row in rows.items():
        table.add_row(Text(form), *(_cell(each.microseconds, each.size, each.same_bits) for each in row))
    columns = [_cell(found.microseconds(count), count, count not in found.dropped) for count in found.sizes]
    table.add_row(Text("a whole column", style="bold"), *columns)
    return table


def _cell(microseconds: float, rows: int, same_bits: bool) -> Text:
    times = f"{microseconds:,.0f}", (f"\n{microseconds / rows:,.1f}", "dim")
    return Text.assemble(*times) if same_bits else Text.assemble(*times, ("\nother bits", "bold red"))


def _list(counts: tuple[int, ...]) -> str:
    return ", ".join(map(str, counts))


def _to_json(found: Calibration, checks: list[Finding], kept: Path) -> str:
    chosen = {"counts": found.buckets.sizes, "microseconds": found.buckets.costs, "kept": str(kept)}
    head = {"holds": all(check.holds for check in checks), "identity": found.identity, "chosen": chosen}
    return json.dumps({**head, "checks": list(map(check_row, checks)), **asdict(found)}, indent=2)
