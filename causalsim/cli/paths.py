"""``causalsim paths``: how many ways lead from one event to another, the first of them, and a picture."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from causalsim.cli.exit_codes import HOLDS
from causalsim.cli.results import check_files, write_result
from causalsim.cli.tables import Indented, plain_table
from causalsim.cli.terminal import console
from causalsim.errors import InputError, LimitError
from causalsim.events import Event, EventGraph, Wiring, diamond, parse_event
from causalsim.models import read_config
from causalsim.scenario import in_words

if TYPE_CHECKING:
    from graphviz import Digraph
    from rich.console import RenderableType

LAYERS, LENGTH = 3, 6

# More digits than this are for the file, and more arrows in a row are a number.
DIGITS, ARROWS = 40, 6


@dataclass(frozen=True)
class Ways:
    """The ways from one event to another: counts, and the first routes, or paths where there are none.

    ``routes`` is ``None`` where they are not defined; ``first`` are rise positions, or events of paths.
    ``paths`` are ``None`` where only the routes of a large graph can be counted.
    """

    graph: EventGraph
    source: Event
    target: Event
    separation: str
    between: int
    routes: int | None
    paths: int | None
    bypassed: int | None
    first: list[tuple[Any, ...]]

    @property
    def total(self) -> int:
        """The number of ways of the kind that is listed."""
        total = self.paths if self.routes is None else self.routes
        assert total is not None, "paths are counted, or refused, where there are no routes"
        return total

    @property
    def some(self) -> str:
        """Number and kind, in words."""
        return f"{written(self.total)} {self.kind}{'s' * (self.total != 1)}"

    @property
    def kind(self) -> str:
        return "path" if self.routes is None else "route"

    def events(self, way: tuple[Any, ...]) -> list[Event]:
        """The events of one that is listed."""
        if self.routes is None:
            return list(way)
        from causalsim.rendering import route_edges

        edges = route_edges(self.graph, self.source, self.target, way)
        return [self.source, *(edge.target for edge in edges)]


def show(
    ends: tuple[str, str],
    wired: dict[str, Any],
    model: str | None,
    sizes: tuple[int | None, int | None, str],
    shown: int,
    out: Path | None,
    path: Path | None,
) -> int:
    """Count, list, draw; nothing is written before everything is known."""
    check_files(out, path)
    graph = _graph(wired, model, *sizes)
    source, target = (parse_event(end, graph.wiring.n_layers) for end in ends)
    found = _found(graph, source, target, shown)
    if out is not None:
        from causalsim.rendering import render

        render(_drawn(found), out)
    to = console()
    for part in _shown(found):
        to.print(part)
    if out is not None:
        to.print(f"wrote {out}", markup=False)
    write_result(to, path, _to_json(found))
    return HOLDS


def _graph(
    wired: dict[str, Any], model: str | None, length: int | None, prompt: int | None, granularity: Any
) -> EventGraph:
    if model is not None and wired:
        raise InputError(
            "a wiring is given by its layers or by a configuration",
            got=f"--model and {', '.join(wired)}",
            hint="Leave one of them out.",
        )
    wiring = Wiring(**{"n_layers": LAYERS, **wired}) if model is None else read_config(model).wiring
    return EventGraph(wiring, LENGTH if length is None else length, prompt=prompt, granularity=granularity)


def _found(graph: EventGraph, source: Event, target: Event, shown: int) -> Ways:
    has_routes = (source.kind, target.kind) == ("kv", "attn") and not graph.has_feedback
    listed = graph.routes(source, target) if has_routes else graph.paths(source, target)
    count, bypassed = _path_counts(graph, source, target, required=not has_routes)
    ends = graph, source, target
    between = graph.separation(source, target), len(diamond(*ends))
    routes = graph.count_routes(source, target) if has_routes else None
    return Ways(*ends, *between, routes, count, bypassed, list(islice(listed, shown)))


def _path_counts(
    graph: EventGraph, source: Event, target: Event, *, required: bool
) -> tuple[int | None, int | None]:
    try:
        return graph.count_paths(source, target), graph.count_paths(source, target, bypass=True)
    except LimitError:
        if required:
            raise
        return None, None


# -- what is shown ---------------------------------------------------------------------------


def _shown(found: Ways) -> Iterator[RenderableType]:
    yield Text(f"From {found.source} to {found.target}: {_relation(found)}.", style="bold")
    yield Text(f"{in_words(found.graph)}.\n", style="dim")
    if not found.total:
        return
    yield Indented(_counts(found))
    if found.first:
        yield Text()
        yield Indented(_listed(found))


def _relation(found: Ways) -> str:
    if found.separation != "timelike":
        return found.separation
    if not found.graph.precedes(found.source, found.target):
        return f"timelike, but {found.target} comes first"
    return f"timelike, {found.between:,} event{'s' * (found.between != 1)} between"


def _counts(found: Ways) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right")
    rows = {
        "routes: right over the K/V of a layer, up at a position": found.routes,
        "paths: from event to event along the edges": found.paths,
        "paths, where each skip connection is another way past its sublayer": found.bypassed,
    }
    for words, count in rows.items():
        if count is not None:
            table.add_row(written(count), Text(words, style="dim"))
    if found.paths is None:
        table.add_row("-", Text("paths: too many events lie between to count them", style="dim"))
    return table


def written(count: int) -> str:
    """Return a count for people: whole, or its first digits and the power of ten.

    >>> written(646_646), written(12345 * 10**996)
    ('646,646', 'about 1.23e1000')
    """
    with every_digit():
        digits = str(count)
    if len(digits) <= DIGITS:
        return f"{count:,}"
    return f"about {digits[0]}.{digits[1:3]}e{len(digits) - 1}"


@contextmanager
def every_digit() -> Iterator[None]:
    """Let Python write whole numbers of any length, which it by itself refuses from 4,300 digits on."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(before)


def _listed(found: Ways) -> RenderableType:
    count = len(found.first)
    these = f"{found.some}: " if count == found.total else f"the first {count:,} of {found.some}: "
    table = plain_table("")
    table.add_column(these + ("→ right over K/V, ↑ up a layer" if found.kind == "route" else "their events"))
    for number, way in enumerate(found.first, 1):
        table.add_row(
            f"{number}", Text(_hops(found, way) if found.kind == "route" else " ".join(map(str, way)))
        )
    return table


def _hops(found: Ways, rises: tuple[int, ...]) -> str:
    """A route by its positions: ``0 → 2 ↑↑ → 5`` goes right to 2, up two layers, and right to 5."""
    stops = (found.source.position, *rises, found.target.position)
    words = [f"{stops[0]}"]
    for number, (here, there) in enumerate(pairwise(stops)):
        if number:
            words.append("↑")
        if here != there:
            words += ["→", f"{there}"]
    return " ".join(_climbs(words))


def _climbs(words: list[str]) -> Iterator[str]:
    """Neighbouring arrows upwards as one word."""
    for word, run in groupby(words):
        count = len(list(run))
        yield word if word != "↑" else "↑" * count if count <= ARROWS else f"↑({count:,})"


# -- files -----------------------------------------------------------------------------------


def _drawn(found: Ways) -> Digraph:
    """Draw the events between, which stand out, and the ways that are listed through them."""
    from causalsim.rendering import to_graphviz

    inside = [found.source, *diamond(found.graph, found.source, found.target), found.target]
    ways = [tuple(found.events(way)) for way in found.first]
    return to_graphviz(
        found.graph,
        highlight=[*inside, *ways],
        labels={found.source: "A", found.target: "B"},
        title=_title(found),
    )


def _title(found: Ways) -> str:
    drawn = f", {len(found.first):,} drawn" if len(found.first) < found.total else ""
    return f"{found.some} from {found.source} to {found.target}{drawn}"


def _to_json(found: Ways) -> str:
    whole = {
        "from": str(found.source),
        "to": str(found.target),
        "graph": found.graph.to_dict(),
        "separation": found.separation,
        "between": found.between,
        "routes": found.routes,
        "paths": found.paths,
        "paths_with_bypass": found.bypassed,
        f"first_{found.kind}s": [[str(event) for event in found.events(way)] for way in found.first],
    }
    with every_digit():
        return json.dumps(whole, indent=2)
