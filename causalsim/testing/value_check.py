"""Values that an engine recorded, beside a reference: the first that diverges, and whose fault it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from causalsim.arguments import shown
from causalsim.errors import InputError
from causalsim.events import Event, EventGraph
from causalsim.testing.arrays import as_numpy, parts_of_value
from causalsim.testing.bits import (
    Arrays,
    Divergence,
    RecordedRun,
    parts_of,
    relative_error,
    same_bits,
    ulps_apart,
)

Recorded = RecordedRun | Mapping[Event, Any]


@dataclass(frozen=True)
class ValuesCheck:
    """The number of events whose values were compared, and the causally first that diverges.

    ``unrecorded`` are direct predecessors of that event without a value on one of the sides: the
    fault may be theirs. ``origins`` are all events that diverge although none of their direct
    predecessors does: one fault has one, a wrong kernel has many. Within a tolerance there may be
    more, where a difference that was let pass has grown.
    """

    compared: int
    events: int
    tolerance: float | None
    divergence: Divergence | None
    unrecorded: tuple[Event, ...] = ()
    origins: tuple[Event, ...] = ()

    @property
    def inputs_agree(self) -> bool | None:
        """True if all that the diverging event reads agreed; ``None`` if some of it was not recorded."""
        return None if self.divergence is None or self.unrecorded else True

    def __str__(self) -> str:
        covered = f"{self.compared:,} of {self.events:,} events compared"
        how = "bit for bit" if self.tolerance is None else f"within {self.tolerance:g}"
        if self.divergence is None:
            return f"{covered}: all agree {how}."
        return f"{covered}: diverges first at {self.divergence}. {self._blame()}"

    def _blame(self) -> str:
        inputs = "All that it reads agreed."
        if self.unrecorded:
            others = f" and {len(self.unrecorded) - 1} more" * (len(self.unrecorded) > 1)
            inputs = f"Of what it reads, {self.unrecorded[0]}{others} may be at fault: not recorded."
        alike = f" So it is with {len(self.origins) - 1:,} more that diverge." * (len(self.origins) > 1)
        return inputs + alike


def compare_values(
    graph: EventGraph, reference: Recorded, values: Recorded, tolerance: float | None = None
) -> ValuesCheck:
    """Compare values of events, where both sides have one.

    Args:
        graph: The graph whose events they are.
        reference: A recorded run, or ``{event: array}``: K/V is a pair (K after norm and rotary
            embedding, V), heads first; see ``Run.values``.
        values: What is compared with it, in the same form.
        tolerance: The largest ``relative_error`` that is let pass; bits are compared without one.

    Returns:
        The number of events compared, and the causally first that diverges.

    Raises:
        InputError: For events of another graph, for what is no array of real numbers or has no
            elements, and for values of another shape or, without a tolerance, of another type.
    """
    tolerance = _checked(tolerance)
    ours, theirs = _mapping(graph, "reference", reference), _mapping(graph, "values", values)
    both = [event for event in graph if event in ours and event in theirs]
    if not both:
        raise InputError("values of the same events are compared", got="no event with a value on both sides")
    pairs = {event: _alike(event, ours[event], theirs[event], tolerance is None) for event in both}
    diverged = {event: pair for event, pair in pairs.items() if not _agree(*pair, tolerance)}
    if not diverged:
        return ValuesCheck(len(pairs), len(graph), tolerance, None)
    first = next(iter(diverged))
    return ValuesCheck(
        len(pairs),
        len(graph),
        tolerance,
        _divergence(first, *diverged[first], len(diverged), tolerance),
        tuple(source for source in graph.predecessors(first) if source not in pairs),
        tuple(event for event in diverged if diverged.keys().isdisjoint(graph.predecessors(event))),
    )


def _agree(expected: Any, found: Any, tolerance: float | None) -> bool:
    # A token is another token, however near its number.
    if tolerance is None or _whole(expected):
        return same_bits(expected, found)
    return relative_error(expected, found) <= tolerance


def _divergence(event: Event, expected: Any, found: Any, events: int, tolerance: float | None) -> Divergence:
    error = None if tolerance is None or _whole(expected) else relative_error(expected, found)
    return Divergence(event, ulps_apart(expected, found), events, error)


def _whole(value: Any) -> bool:
    return all(np.issubdtype(part.dtype, np.integer) for part in parts_of(value))


def _checked(tolerance: object) -> float | None:
    if tolerance is None:
        return None
    if not (isinstance(tolerance, Real) and 0 <= float(tolerance) < np.inf):
        raise InputError("a tolerance is a finite number of at least 0", got=repr(tolerance))
    return float(tolerance)


def _mapping(graph: EventGraph, name: str, recorded: Recorded) -> Mapping[Event, Any]:
    if isinstance(recorded, Mapping):
        for event in recorded:
            graph.check(event)
        return recorded
    if not (hasattr(recorded, "graph") and hasattr(type(recorded), "values")):
        hint = "Give a recorded run, or {event: array}."
        raise InputError(f"{name} must be a recorded run or a mapping", got=shown(recorded), hint=hint)
    if recorded.graph != graph:
        raise InputError("recorded values are of the trace's graph", got=recorded.graph, expected=graph)
    return recorded.values


def _alike(event: Event, expected: Any, given: Any, exact: bool) -> tuple[Any, Any]:
    """Both values as arrays of one shape and, where bits count, of one type."""
    pair = isinstance(expected, tuple)
    model, found = (_arrays(event, each, pair=pair) for each in (expected, given))
    shapes = [[part.shape for part in parts] for parts in (found, model)]
    if shapes[0] != shapes[1]:
        got, wanted = (" and ".join(map(str, each)) for each in shapes)
        raise InputError(f"the value of {event} has the reference's shape", got=got, expected=wanted)
    if _whole(model) and _whole(found):
        return model[0].astype(np.int64), found[0].astype(np.int64)
    if exact and [part.dtype for part in found] != [part.dtype for part in model]:
        raise InputError(
            f"bits of {event} are compared between values of one type",
            got=found[0].dtype,
            expected=model[0].dtype,
            hint="Give a tolerance to compare numbers, for example tolerance=1e-5.",
        )
    return (model, found) if pair else (model[0], found[0])


def _arrays(event: Event, given: Any, *, pair: bool) -> Arrays:
    """A value's parts; K and V may also stand in one array."""
    parts = parts_of_value(given) if pair else (given,)
    arrays = tuple(as_numpy(f"values of {event}", part) for part in parts)
    found = tuple(arrays[0]) if pair and len(arrays) == 1 and arrays[0].ndim else arrays
    if not all(part.size for part in found) or not found:
        raise InputError(f"the value of {event} has elements to compare", got="none")
    return found
