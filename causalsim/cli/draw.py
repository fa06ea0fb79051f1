"""``causalsim draw``: a graph, or the slices of a foliation, as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causalsim.cli.exit_codes import HOLDS
from causalsim.cli.results import check_file
from causalsim.errors import InputError
from causalsim.events import EventGraph, Wiring
from causalsim.foliations.registry import made
from causalsim.rendering import Style, render, to_graphviz
from causalsim.rendering.thinning import check_drawable
from causalsim.scenario import in_words

LAYERS, LENGTH = 3, 6


def draw(
    family: str | None,
    arguments: Mapping[str, str],
    out: Path | None,
    sizes: tuple[int | None, int | None],
    reading: tuple[str | None, str | None],
    granularity: str,
) -> int:
    """Draw one graph or foliation to one file."""
    if family is None and arguments:
        raise InputError("a graph alone takes no arguments", got=", ".join(arguments), hint="Name a family.")
    path = out or Path(f"{(family or 'graph').partition(':')[0].partition('(')[0]}.svg")
    check_file(path)
    graph = _graph(sizes, reading, granularity)
    check_drawable(graph, Style())
    target = graph if family is None else made(graph, family, arguments)
    render(to_graphviz(target, title=family), path)
    shape = "" if isinstance(target, EventGraph) else f"{target.depth:,} slices, widest {target.width:,}; "
    print(f"wrote {path}: {shape}{in_words(graph)}")
    return HOLDS


def _graph(
    sizes: tuple[int | None, int | None], reading: tuple[str | None, str | None], granularity: Any
) -> EventGraph:
    (layers, length), (name, text) = sizes, reading
    if name is None and text is None:
        wiring = Wiring(LAYERS if layers is None else layers)
        return EventGraph(wiring, LENGTH if length is None else length, granularity=granularity)
    if name is None or text is None or sizes != (None, None):
        raise InputError(
            "a graph is of so many layers and positions, or of a model over a text",
            got="--model without --text" if text is None else "--text without --model alone",
            expected="--layers and --length, or --model and --text",
        )
    # JAX is imported only where a model is read.
    from causalsim.engine import load
    from causalsim.engine.tokens import encode_texts

    model = load(name)
    return EventGraph(model.config, len(encode_texts(model, text)[0]), granularity=granularity)
