"""The lane rule: an event's bits depend on nothing about the launch that carries it.

Every kind of event is run in launches of every lane count that the engine uses, at random
places in them, beside neighbours whose inputs are poison, and in a buffer that also holds a
longer text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from causalsim.engine import Launch, Program, State, compile, event_values, execute
from causalsim.engine.cells import Cell, cells_written, poisoned
from causalsim.events import EventGraph, Slot
from causalsim.foliations import layer_major
from causalsim.kernels import PAGE, Kernels
from causalsim.verification.comparison import same_bits
from causalsim.verification.faults import with_lane_count, with_neighbour
from causalsim.verification.progress import Progress, silent
from causalsim.verification.report import Control, Verdict
from causalsim.verification.subject import Subject


@dataclass
class _Tally:
    """How many event runs were compared, and the first that failed."""

    compared: int = 0
    witness: str | None = None


def lane_rule(subject: Subject, draws: int, seed: int, progress: Progress) -> Verdict:
    """Run events in launches of all shapes and compare their bits with the reference order's."""
    plain = _without_feedback(subject)
    slots = _slots(plain.graph)
    tally = _tally(plain, slots, draws, seed, progress)
    tally.witness = tally.witness or _fault_in_company(plain)
    counts = subject.kernels.lanes.up_to(max(plain.graph.lengths))
    return Verdict(
        name="lane rule",
        method="measured",
        coverage=f"{tally.compared:,} event runs of {len(slots)} slots, in launches of {_listed(counts)} "
        "lanes, at random places, beside poisoned neighbours, and in the buffer of a longer text, gave the "
        "reference bits.",
        excludes=(
            "launches of more lanes than the text has positions",
            "layers between the first and the last",
        ),
        controls=tuple(_controls(plain, draws, seed)),
        witness=tally.witness,
    )


def _listed(counts: list[int]) -> str:
    return ", ".join(map(str, counts)) if len(counts) < 8 else f"{counts[0]} to {counts[-1]}"


def _without_feedback(subject: Subject) -> Subject:
    """The first text alone, all of it given: then all events of a slot can share a launch."""
    graph = EventGraph(subject.graph.wiring, subject.graph.lengths[0])
    return replace(subject, graph=graph, ids=subject.ids[:1])


def _slots(graph: EventGraph) -> list[Slot]:
    ends = {-1, 0, graph.wiring.n_layers - 1, graph.wiring.n_layers}
    return [slot for slot in graph.slots if slot.layer in ends and slot.kind != "sample"]


def _tally(subject: Subject, slots: list[Slot], draws: int, seed: int, progress: Progress = silent) -> _Tally:
    tally, rng = _Tally(), np.random.default_rng(seed)
    for done, slot in enumerate(slots, 1):
        before, launch = _before(subject, slot)
        for lanes in subject.kernels.lanes.up_to(len(launch)):
            for draw in range(draws):
                _compare(subject, before, _drawn(launch, lanes, rng), draw % 2 == 1, tally)
        progress("lanes", done, len(slots))
    return tally


def _before(subject: Subject, slot: Slot) -> tuple[State, Launch]:
    """The state in which a whole slot of all positions can run, and that launch."""
    launches = compile(layer_major(subject.graph)).launches
    place = next(number for number, launch in enumerate(launches) if launch.slot == slot)
    state, _ = execute(Program(subject.graph, launches[:place]), subject.fresh(), subject.kernels)
    return state, launches[place]


def _drawn(launch: Launch, lanes: int, rng: np.random.Generator) -> Launch:
    return launch.restricted(rng.permutation(len(launch))[:lanes])


def _compare(subject: Subject, before: State, launch: Launch, poison: bool, tally: _Tally) -> None:
    """Run a launch, with every second lane's input poisoned or not, and compare the lanes that were not."""
    watched = np.arange(len(launch)) % 2 == 0 if poison else np.ones(len(launch), bool)
    state = poisoned(before, _inputs(before, launch.restricted(~watched)))
    _, outputs = execute(Program(subject.graph, (launch,)), state, subject.kernels)
    for _, events, rows in event_values(outputs):
        for lane, index in enumerate(events):
            if watched[lane]:
                event = subject.graph[int(index)]
                value = tuple(part[lane] for part in rows) if isinstance(rows, tuple) else rows[lane]
                tally.compared += 1
                if tally.witness is None and not same_bits(value, subject.reference[event]):
                    tally.witness = (
                        f"{event} has other bits as lane {lane} of a launch of {len(launch)} events"
                    )


def _inputs(state: State, launch: Launch) -> Iterator[Cell]:
    """The cells of their own column that the lanes of a launch read."""
    for index in launch.events:
        event = state.graph[int(index)]
        for source in state.graph.predecessors(event):
            if source.position == event.position and source.kind != "kv":
                yield from cells_written(state, source)


def _fault_in_company(subject: Subject) -> str | None:
    """Run the text in a buffer that has room for a longer one, whose cells stay poison."""
    length = subject.graph.lengths[0]
    crowd = EventGraph(subject.graph.wiring, (length, length + PAGE + 1))
    company = replace(subject, graph=crowd, ids=(subject.ids[0], np.zeros(crowd.lengths[1], np.int32)))
    own = compile(layer_major(crowd)).restricted(np.arange(len(subject.graph)))
    _, outputs = execute(own, company.fresh(), subject.kernels)
    for _, events, rows in event_values(outputs):
        for lane, index in enumerate(events):
            value = tuple(part[lane] for part in rows) if isinstance(rows, tuple) else rows[lane]
            if not same_bits(value, subject.reference[crowd[int(index)]]):
                return f"{crowd[int(index)]} has other bits in the buffer of a longer text"
    return None


def _controls(subject: Subject, draws: int, seed: int) -> Iterator[Control]:
    for fault in (with_lane_count, with_neighbour):
        faulty: Kernels = fault(subject.kernels)
        found = _tally(subject.with_kernels(faulty), [Slot("mlp", 0)], max(draws, 2), seed).witness
        yield Control(faulty.name, found is not None, found or "")
