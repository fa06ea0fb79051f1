"""What the commands do besides the demo: each gives back its exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from causalsim import scenario
from causalsim.cli import FAILS, HOLDS
from causalsim.cli.files import check_file, check_folder, write_text
from causalsim.cli.terminal import console, progress
from causalsim.errors import InputError
from causalsim.events import EventGraph, Wiring
from causalsim.scenario.pictures import figures, write
from causalsim.scenario.running import describe

DRAWN_LAYERS, DRAWN_LENGTH = 3, 6


def run(path: Path, folder: Path | None, json: Path | None, dtype: str | None) -> int:
    """``causalsim run``: a scenario file, its tables, its pictures."""
    from causalsim.cli.tables import file_table, show

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


def draw(
    family: str | None,
    arguments: dict[str, Any],
    out: Path | None,
    sizes: tuple[int | None, int | None],
    reading: tuple[str | None, str | None],
    granularity: str,
) -> int:
    """``causalsim draw``: one graph or foliation to one file."""
    path = out or Path(f"{family or 'graph'}.svg")
    check_file(path)
    from causalsim.rendering import Style, render, to_graphviz
    from causalsim.rendering.thinning import check_drawable

    graph = _graph(sizes, reading, granularity)
    if family is None and arguments:
        raise InputError("a graph alone takes no arguments", got=", ".join(arguments), hint="Name a family.")
    check_drawable(graph, Style())
    target = graph if family is None else scenario.build(graph, family, arguments)
    render(to_graphviz(target, title=family), path)
    shape = "" if family is None else f"{target.depth:,} slices, widest {target.width:,}; "
    print(f"wrote {path}: {shape}{describe(graph)}")
    return HOLDS


def _graph(
    sizes: tuple[int | None, int | None], reading: tuple[str | None, str | None], granularity: Any
) -> EventGraph:
    (layers, length), (name, text) = sizes, reading
    if name is None and text is None:
        wiring = Wiring(DRAWN_LAYERS if layers is None else layers)
        return EventGraph(wiring, DRAWN_LENGTH if length is None else length, granularity=granularity)
    if name is None or text is None or sizes != (None, None):
        raise InputError(
            "a graph is of so many layers and positions, or of a model over a text",
            got="--model without --text" if text is None else "--text without --model alone",
            expected="--layers and --length, or --model and --text",
        )
    from causalsim import engine
    from causalsim.engine.tokens import encode_texts

    model = engine.load(name)
    return EventGraph(model.config, len(encode_texts(model, text)[0]), granularity=granularity)
