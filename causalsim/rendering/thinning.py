"""The edges and slices that a picture draws: all of a small graph, of a large one what can be followed."""

from __future__ import annotations

from dataclasses import dataclass

from causalsim.arguments import check_limit
from causalsim.events import Edge, EventGraph
from causalsim.foliations import Foliation
from causalsim.rendering.highlight import Roles
from causalsim.rendering.slices import joins_events
from causalsim.rendering.style import Style


@dataclass(frozen=True)
class Drawn:
    """The edges of a picture, those of them that are faint, and how many there are in truth."""

    edges: list[Edge]
    faint: frozenset[Edge]
    total_kv: int
    total: int

    @property
    def left_out(self) -> int:
        return self.total - len(self.edges)


def check_drawable(graph: EventGraph, style: Style) -> None:
    """Refuse with ``LimitError`` what would take minutes and show a solid mass."""
    hint = 'Draw a shorter text, fewer layers or granularity="block"; Style has the bounds as max_*.'
    for what, count, bound in (
        ("events", len(graph), style.max_events),
        ("edges", graph.count_edges(), style.max_edges),
    ):
        rule = f"a picture holds a number of {what} that a person can look at"
        check_limit(rule, count, bound, got=f"{count:,} {what}", hint=hint)


def thin(graph: EventGraph, roles: Roles, style: Style) -> Drawn:
    """Return a drawing whose far K/V edges are faint above one number of them and left out above another.

    What the highlight names is always drawn, at full strength.
    """
    edges = list(graph.edges())
    total_kv = sum(edge.stream == "kv" for edge in edges)
    if total_kv <= style.solid_up_to:
        return Drawn(edges, frozenset(), total_kv, len(edges))
    far = frozenset(edge for edge in edges if is_far(edge) and not _is_named(roles, edge))
    if total_kv <= style.faint_up_to:
        return Drawn(edges, far, total_kv, len(edges))
    return Drawn([edge for edge in edges if edge not in far], frozenset(), total_kv, len(edges))


def is_far(edge: Edge) -> bool:
    """True if a K/V edge passes over a position."""
    return edge.stream == "kv" and edge.target.position - edge.source.position > 1


def _is_named(roles: Roles, edge: Edge) -> bool:
    return edge in roles.marked or roles.touches_focus(edge)


def slice_step(foliation: Foliation, style: Style) -> int:
    """Return 1 if every slice is drawn as a line, else how many slices share one, and time is a colour.

    Lines are for slices that are few and join events of one text; a line through a single
    event says nothing that its colour does not say better.
    """
    if foliation.depth <= style.dotted_up_to and joins_events(foliation):
        return 1
    return max(2, -(-foliation.depth // (style.contours + 1)))
