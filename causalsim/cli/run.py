"""``causalsim run``: a scenario file, its tables, its pictures."""

from __future__ import annotations

from pathlib import Path

import causalsim.scenario as scenario
from causalsim.cli.exit_codes import FAILS, HOLDS
from causalsim.cli.results import check_file, check_folder, write_text
from causalsim.cli.tables import file_table, show
from causalsim.cli.terminal import console, progress
from causalsim.scenario.pictures import figures, write


def run(path: Path, folder: Path | None, json: Path | None, dtype: str | None) -> int:
    """Run a scenario file and show all that came of it."""
    check_file(json)
    folder = folder or Path(f"causalsim-{path.stem}")
    ready = scenario.prepare(scenario.load(path, **({} if dtype is None else {"dtype": dtype})))
    drawn = figures(ready)
    if drawn:
        check_folder(folder, (name for figure in drawn for name in figure.names), beside=json)
    out = console()
    with progress(out) as watch:
        outcome = scenario.run(ready, watch)
    for part in show(outcome):
        out.print(part)
    if json is not None:
        write_text(json, outcome.to_json() + "\n")
        out.print(f"\n  The whole result: {json}", markup=False)
    if drawn:
        write(drawn, folder)
        out.print()
        out.print(file_table(folder, drawn, {}))
    return HOLDS if outcome.holds else FAILS
