"""The lane rule: an event's bits depend on nothing about the launch that carries it.

Every kind of event is run in launches of every lane count that the engine uses, at random
places in them, beside neighbours whose inputs are poison, and in a buffer that also holds a
longer text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from causalsim.engine import Launch, Output, Program, Sampling, State, compile, event_values, execute
from causalsim.engine.cells import Cell, cells_written, poisoned
from causalsim.events import Event, EventGraph, Slot
from causalsim.foliations import earliest, layer_major
from causalsim.kernels import PAGE
from causalsim.progress import Progress
from causalsim.verification.comparison import same_bits
from causalsim.verification.faults import sampling_for_neighbour, with_lane_count, with_neighbour
from causalsim.verification.report import Control, Verdict
from causalsim.verification.subject import CROWD, Subject

# So many events of a slot are also launched alone.
ALONE = 8


@dataclass(frozen=True)
class Bench:
    """A state in which a whole slot can run, the launch that runs it, and what that launch gives."""

    subject: Subject
    before: State
    launch: Launch

    def run(self, launch: Launch, poison: Iterable[Cell] = ()) -> dict[Event, Any]:
        """The values of a launch's events, made on a copy of the state with some cells poisoned."""
        graph, state = self.before.graph, poisoned(self.before, poison)
        return values_of(graph, execute(Program(graph, (launch,)), state, self.subject.kernels)[1])


@dataclass
class Tally:
    """How many event runs were compared, in launches of which sizes, and the first that failed."""

    compared: int = 0
    lanes: set[int] = field(default_factory=set)
    witness: str | None = None


def lane_rule(subject: Subject, draws: int, seed: int, progress: Progress) -> Verdict:
    """Run events in launches of all shapes and compare their bits with those of the widest."""
    tally, benches = Tally(), list(_benches(subject))
    for done, bench in enumerate(benches, 1):
        _try_launches(bench, draws, np.random.default_rng(seed), tally)
        progress("lanes", done, len(benches))
    lanes = ", ".join(map(str, sorted(tally.lanes))) if len(tally.lanes) < 9 else f"up to {max(tally.lanes)}"
    return Verdict(
        name="lane rule",
        method="measured",
        claim="all gave the same bits",
        coverage=f"{tally.compared:,} event runs of {len(benches)} slots, in launches of {lanes} lanes and "
        "alone, at random places, every second time beside poisoned neighbours, and in the buffer of a "
        "longer text",
        excludes=(
            f"launches of more than {max(tally.lanes)} lanes",
            "layers between the first and the last",
            "attention of all texts but the longest",
        ),
        controls=tuple(_controls(subject, draws, seed)),
        witness=tally.witness or _fault_in_buffer(subject.beginning()),
    )


def lane_fault(subject: Subject, kind: str, draws: int = 2, seed: int = 0) -> str | None:
    """The first way in which events of a kind were seen to break the lane rule, in words."""
    tally = Tally()
    for bench in _benches(subject, kind):
        _try_launches(bench, draws, np.random.default_rng(seed), tally)
    return tally.witness or _fault_in_buffer(subject.beginning())


def values_of(graph: EventGraph, outputs: Iterable[Output]) -> dict[Event, Any]:
    """The value of every event that was launched."""
    return {
        graph[int(index)]: tuple(part[lane] for part in rows) if isinstance(rows, tuple) else rows[lane]
        for _, events, rows in event_values(outputs)
        for lane, index in enumerate(events)
    }


# -- what is launched --------------------------------------------------------------------------


def _benches(subject: Subject, kind: str | None = None) -> Iterator[Bench]:
    """One for every kind of slot, or for those of one kind, at the first and at the last layer."""
    plain = subject.all_given()
    ends = {-1, 0, plain.graph.wiring.n_layers - 1, plain.graph.wiring.n_layers}
    for slot in plain.graph.slots:
        if slot.layer in ends and slot.kind != "sample" and kind in (None, slot.kind):
            yield bench_of(plain, slot)
    if kind in (None, "sample"):
        yield _sampling_bench(subject)


def bench_of(subject: Subject, slot: Slot) -> Bench:
    """A bench for a slot of texts that are all given, as far as these run layer by layer."""
    launches = compile(layer_major(subject.graph)).launches
    place = next(number for number, launch in enumerate(launches) if launch.slot == slot)
    state, _ = execute(Program(subject.graph, launches[:place]), subject.fresh(), subject.kernels)
    return Bench(subject, state, max((launch for launch in launches if launch.slot == slot), key=len))


def _sampling_bench(subject: Subject) -> Bench:
    """Texts that each draw their next token at once, none given."""
    crowd = subject.beginning(2).in_company(behind=1)
    launches = compile(earliest(crowd.graph)).launches
    place = next(number for number, launch in enumerate(launches) if launch.slot.kind == "sample")
    fresh = crowd.fresh()
    free = replace(fresh, sampling=Sampling(np.full_like(fresh.sampling.given, -1), temperature=1.0, seed=0))
    state, _ = execute(Program(crowd.graph, launches[:place]), free, crowd.kernels)
    return Bench(crowd, state, launches[place])


# -- how ---------------------------------------------------------------------------------------


def _try_launches(bench: Bench, draws: int, rng: np.random.Generator, tally: Tally) -> None:
    reference = bench.run(bench.launch)
    for lanes in bench.subject.kernels.lanes.up_to(len(bench.launch)):
        tally.lanes.add(lanes)
        for draw in range(draws):
            launch = bench.launch.restricted(rng.permutation(len(bench.launch))[:lanes])
            _compare(bench, launch, reference, draw % 2 == 1, tally)
    # Alone, an event leaves most lanes of the smallest call to spare.
    for lane in rng.permutation(len(bench.launch))[:ALONE]:
        _compare(bench, bench.launch.restricted(np.array([lane])), reference, False, tally)


def _compare(bench: Bench, launch: Launch, reference: dict[Event, Any], poison: bool, tally: Tally) -> None:
    """Run a launch, with every second lane's input poisoned or not, and compare the lanes that were not."""
    spoilt = np.arange(len(launch)) % 2 == 1 if poison else np.zeros(len(launch), bool)
    values = bench.run(launch, _inputs(bench.before, launch.restricted(spoilt)))
    for lane, (event, value) in enumerate(values.items()):
        if not spoilt[lane]:
            tally.compared += 1
            if tally.witness is None and not same_bits(value, reference[event]):
                tally.witness = f"{event} has other bits as lane {lane} of a launch of {len(launch)} events"


def _inputs(state: State, launch: Launch) -> Iterator[Cell]:
    """The cells of their own column that the lanes of a launch read."""
    for index in launch.events:
        event = state.graph[int(index)]
        for source in state.graph.predecessors(event):
            if source.position == event.position and source.kind != "kv":
                yield from cells_written(state, source)


def _fault_in_buffer(alone: Subject) -> str | None:
    """Run a text in a buffer that has room for a longer one, whose cells stay poison."""
    length = alone.graph.lengths[0]
    crowd = EventGraph(alone.graph.wiring, (length, length + PAGE + 1))
    company = replace(alone, graph=crowd, ids=(alone.ids[0], np.zeros(crowd.lengths[1], np.int32)))
    own = compile(layer_major(crowd)).restricted(np.arange(len(alone.graph)))
    _, outputs = execute(own, company.fresh(), alone.kernels)
    for event, value in values_of(crowd, outputs).items():
        if not same_bits(value, alone.reference[event]):
            return f"{event} has other bits in the buffer of a longer text"
    return None


def _controls(subject: Subject, draws: int, seed: int) -> Iterator[Control]:
    kernels, dtype = subject.kernels, subject.model.dtype
    faults = {with_neighbour(kernels, dtype): _mlp_bench, sampling_for_neighbour(kernels): _sampling_bench}
    if len(kernels.lanes.up_to(CROWD)) > 1:
        faults[with_lane_count(kernels, dtype)] = _mlp_bench
    for faulty, bench in faults.items():
        tally = Tally()
        _try_launches(bench(subject.with_kernels(faulty)), draws, np.random.default_rng(seed), tally)
        yield Control(faulty.name, tally.witness is not None, tally.witness or "")


def _mlp_bench(subject: Subject) -> Bench:
    return bench_of(subject.beginning(2).in_company(), Slot("mlp", 0))
