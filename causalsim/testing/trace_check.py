"""Checking a trace of any engine against the graph that its model implies."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from causalsim.errors import InputError
from causalsim.events import EventGraph
from causalsim.foliations import Costs, Foliation, Footprint, Shape, chunks_of, costs, family_of, shape
from causalsim.testing.bits import Divergence
from causalsim.testing.findings import headline, plain, table
from causalsim.testing.traces import Fault, Trace, ranked, read_trace
from causalsim.testing.value_check import Recorded, ValuesCheck, compare_values

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

SHOWN = 6


@dataclass(frozen=True, eq=False)
class TraceCheck:
    """A trace beside a graph: the foliation that it is, at what cost, and its values beside others.

    ``faults`` are what keeps it from being one; then there is no ``foliation``, ``family``,
    ``chunks`` (positions of each request that start together) or ``costs`` (``Costs`` over a
    footprint, a ``Shape`` without). ``values`` are only there if some were given.
    """

    graph: EventGraph
    faults: tuple[Fault, ...]
    foliation: Foliation | None = None
    family: str | None = None
    chunks: tuple[tuple[int, ...], ...] | None = None
    costs: Shape | None = None
    values: ValuesCheck | None = None

    @property
    def holds(self) -> bool:
        """True if it is a foliation, and no value diverges."""
        return not self.faults and self.divergence is None

    @property
    def divergence(self) -> Divergence | None:
        """The causally first event whose value diverges."""
        return None if self.values is None else self.values.divergence

    def to_json(self) -> str:
        """The whole check as a JSON object: times in canonical order, events as they are printed."""
        names = ("faults", "family", "chunks", "costs", "values")
        told = {
            "graph": self.graph.to_dict(),
            "times": self.foliation and self.foliation.times.tolist(),
            **{name: plain(getattr(self, name)) for name in names},
        }
        return json.dumps({"holds": self.holds, **told}, indent=2)

    def __rich__(self) -> RenderableType:
        rows: list[tuple[str | Text, str]] = [(headline("foliation", not self.faults), self._kind())]
        if self.costs is not None:
            rows.append(("costs", _told(self.costs)))
        if self.values is not None:
            rows.append((headline("values", self.divergence is None), str(self.values)))
        return table(("question", "what was found"), rows)

    def _kind(self) -> str:
        if self.foliation is None:
            return "\n".join(f"{fault}." for fault in self.faults)
        size = f"{len(self.graph):,} events in {self.foliation.depth:,} slices"
        family = "of no named family" if self.family is None else f"it is {self.family}"
        return f"{size}; {family}.\nPositions that start together: {_sizes(self.chunks or ())}."


def check_trace(
    graph: EventGraph,
    trace: Trace,
    *,
    values: Recorded | None = None,
    reference: Recorded | None = None,
    tolerance: float | None = None,
    footprint: Footprint | None = None,
) -> TraceCheck:
    """Check what an engine did, and what it computed, against the graph of its model.

    Args:
        graph: The graph that the model implies.
        trace: Pairs (event, time) in order of time, or ``{event: time}``, of whatever real numbers:
            events at the same time did not wait for each other. ``trace_of_steps`` makes one of a
            serving engine's step records.
        values: What the engine computed, ``{event: array}`` as ``Run.values`` has them.
        reference: A recorded run, or another mapping. What both have is compared.
        tolerance: The largest ``relative_error``, for another implementation; bits without one.
        footprint: ``config.footprint(dtype)``, with which the costs tell bytes, too.

    Returns:
        The check: missing, repeated and unknown events, and the first edge that runs backwards, are
        its ``faults``.

    Raises:
        InputError: For what is no trace, or no value of its event.

    >>> from causalsim.events import Event, Wiring
    >>> graph = EventGraph(Wiring(1), 2, granularity="block")
    >>> check = check_trace(graph, [(Event("block", 0, 0), 0.5), (Event("block", 0, 1), 2.25)])
    >>> check.holds, check.family, check.chunks
    (True, 'token_major', ((1, 1),))
    """
    reading = read_trace(graph, trace)
    compared = _compared(graph, values, reference, tolerance)
    if reading.faults:
        return TraceCheck(graph, reading.faults, values=compared)
    foliation = Foliation(graph, ranked(graph, reading.times))
    found = shape(foliation) if footprint is None else costs(foliation, footprint)
    return TraceCheck(graph, (), foliation, family_of(foliation), chunks_of(foliation), found, compared)


def _compared(
    graph: EventGraph, values: Recorded | None, reference: Recorded | None, tolerance: float | None
) -> ValuesCheck | None:
    if values is not None and reference is not None:
        return compare_values(graph, reference, values, tolerance)
    for name, other, given in (("values", "reference", values), ("reference", "values", reference)):
        if given is not None:
            raise InputError(
                "values are compared with a reference",
                got=f"{name} without {other}",
                hint="For example reference=cs.run(model, tokens, record=True).",
            )
    return None


def _told(costs: Shape) -> str:
    told = f"{costs.depth:,} slices, {costs.width:,} events in the widest, {costs.batches:,} batches"
    if not isinstance(costs, Costs):
        return f"{told}."
    return f"{told}; at most {costs.peak_during:,} bytes live, {costs.peak_at_cuts:,} at cuts."


def _sizes(chunks: tuple[tuple[int, ...], ...]) -> str:
    """The sizes of each request's chunks, the same ones in a row told once."""
    runs = [[(size, len([*same])) for size, same in groupby(sizes)] for sizes in chunks[:SHOWN]]
    told = [", ".join(f"{size}" + f" ({n} times)" * (n > 1) for size, n in sizes) for sizes in runs]
    return "; ".join([*told, *[f"and {len(chunks) - SHOWN:,} more requests"] * (len(chunks) > SHOWN)])
