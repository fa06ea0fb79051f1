"""A failing order brought down to two orders one step apart, of which one gives the reference's bits.

From the reference order its slices are split one by one, neighbours swap until they stand as in
the failing order, and slices are merged into its own. Somewhere on that path the bits change;
halving it finds such a place in as many runs as the number of steps has binary digits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from causalsim.engine import compile
from causalsim.events import Event, EventGraph
from causalsim.foliations import Foliation, Path, earliest, merge_path, swap_path
from causalsim.progress import Progress, silent
from causalsim.testing.bisection import first_change
from causalsim.testing.bits import Divergence, divergence
from causalsim.verification.provenance import Provenance
from causalsim.verification.reproducer import Reproducer
from causalsim.verification.target import Target

if TYPE_CHECKING:
    import graphviz

SHOWN = 3
# For the bar: of the largest graphs whose orders are run one by one.
MOST_RUNS = 32


@dataclass(frozen=True)
class Counterexample:
    """Two orders one adjacent swap apart, or one merge of neighbouring slices; only one keeps the bits.

    ``agreeing`` gives the bits of the reference order, ``diverging`` others, first in its
    ``divergence``. They were found by so many ``runs``, the last two of which ran both again;
    ``repeated`` is whether these gave the same.
    """

    reproducer: Reproducer
    runs: int
    repeated: bool

    @property
    def agreeing(self) -> Foliation:
        return self.reproducer.against

    @property
    def diverging(self) -> Foliation:
        return self.reproducer.order

    @property
    def divergence(self) -> Divergence:
        """The causally first event whose bits differ, and how far."""
        assert self.reproducer.divergence is not None
        return self.reproducer.divergence

    @property
    def token(self) -> str:
        """The line that ``replay`` and ``causalsim verify --replay`` take."""
        return self.reproducer.to_token()

    @property
    def example(self) -> str:
        """A line for hypothesis, to stand above a test that is given a foliation."""
        return self.reproducer.example

    @property
    def is_swap(self) -> bool:
        """True if two events have changed places; else two slices were merged, or one split."""
        return self.agreeing.depth == self.diverging.depth

    @property
    def neighbours(self) -> tuple[tuple[Event, ...], tuple[Event, ...]]:
        """The two neighbouring slices that swap, merge, or come of a split, as the longer order has them."""
        longer, other = sorted((self.agreeing, self.diverging), key=lambda order: -order.depth)
        first = int(longer.times[longer.times != other.times].min()) - (not self.is_swap)
        slices = longer.slices()
        return slices[first], slices[first + 1]

    def picture(self) -> graphviz.Digraph:
        """The graph with the first event that diverges, its past and its future."""
        return picture(self.agreeing.graph, self.divergence)

    def __str__(self) -> str:
        again = "" if self.repeated else "; run again they gave other bits"
        return f"{self._move}: diverges at {self.divergence} (found by {self.runs} runs{again})"

    @property
    def _move(self) -> str:
        a, b = map(_names, self.neighbours)
        if self.is_swap:
            return f"{b} right before {a}, no longer right after"
        merged, split = "in one slice", "in two slices, one after the other"
        now, before = (split, merged) if self.diverging.depth > self.agreeing.depth else (merged, split)
        return f"{a} and {b} {now}, no longer {before}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "move": str(self),
            "swap": self.is_swap,
            "neighbours": [list(map(str, part)) for part in self.neighbours],
            "event": str(self.divergence.event),
            "ulps": self.divergence.ulps,
            "events": self.divergence.events,
            "runs": self.runs,
            "repeated": self.repeated,
            "token": self.token,
            "example": self.example,
        }


def counterexample(target: Target, failing: Foliation, progress: Progress = silent) -> Counterexample | None:
    """Narrow an order that diverges from the reference down to one step; ``None`` if it diverges no more."""
    runs = _Runs(target, progress)
    for path in _paths(earliest(target.graph), failing):
        if len(path) > 1 and (found := runs.divergence(path[-1])) is not None:
            return _narrowed(runs, path, found)
    return None


def picture(graph: EventGraph, found: Divergence) -> graphviz.Digraph:
    """A graph with the first event that diverges, its past and its future."""
    from causalsim.rendering import to_graphviz

    return to_graphviz(graph, highlight=found.event, title=f"Diverges at {found}")


def _paths(reference: Foliation, failing: Foliation) -> Iterator[Path]:
    """From the one to the other by splits, then by swaps, then by merges."""
    yield merge_path(reference.refine(), reference)[::-1]
    yield swap_path(reference.refine(), failing.refine())
    yield merge_path(failing.refine(), failing)


@dataclass
class _Runs:
    """Orders compared with the reference, and counted."""

    target: Target
    progress: Progress
    count: int = 0

    def divergence(self, order: Foliation) -> Divergence | None:
        self.count += 1
        self.progress("counterexample", self.count, max(self.count, MOST_RUNS))
        return divergence(self.target.reference, self.target.values(compile(order)))


def _narrowed(runs: _Runs, path: Path, last: Divergence) -> Counterexample:
    agrees, diverges, found = first_change(path, runs.divergence, last)
    repeated = runs.divergence(agrees) is None and runs.divergence(diverges) == found
    reproducer = Reproducer(Provenance.of(runs.target), diverges, agrees, found)
    return Counterexample(reproducer, runs.count, repeated)


def _names(events: tuple[Event, ...]) -> str:
    """A slice as people write a set, or its only event."""
    more = [f"{len(events) - SHOWN:,} more"] * (len(events) > SHOWN)
    names = ", ".join([*map(str, events[:SHOWN]), *more])
    return names if len(events) == 1 else f"{{{names}}}"
