"""Batch invariance: an event's bits depend on nothing about the batch that carries it.

Every kind of event is run in batches of every batch size that the engine uses, at random
places in them, beside neighbours whose inputs are poison, and in a buffer that also holds a
longer text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from causalsim.engine import Batch, Output, Program, Sampling, State, compile, event_values, execute
from causalsim.engine.cells import Cell, cells_written, poisoned
from causalsim.events import Event, EventGraph, Site
from causalsim.foliations import earliest, layer_major
from causalsim.kernels import PAGE
from causalsim.progress import Progress
from causalsim.testing.bits import same_bits
from causalsim.verification.faults import sampling_for_neighbour, with_batch_size, with_neighbour
from causalsim.verification.report import Control, Verdict
from causalsim.verification.target import CROWD, Target

# So many events of a site are also run alone.
ALONE = 8


@dataclass(frozen=True)
class Bench:
    """A state in which a whole site can run, the batch that runs it, and what that batch gives."""

    target: Target
    before: State
    batch: Batch

    def run(self, batch: Batch, poison: Iterable[Cell] = ()) -> dict[Event, Any]:
        """The values of a batch's events, made on a copy of the state with some cells poisoned."""
        graph, state = self.before.graph, poisoned(self.before, poison)
        return values_of(graph, execute(Program(graph, (batch,)), state, self.target.kernels)[1])


@dataclass
class Tally:
    """How many event runs were compared, in batches of which sizes, and the first that failed."""

    compared: int = 0
    rows: set[int] = field(default_factory=set)
    witness: str | None = None


def batch_invariance(target: Target, draws: int, seed: int, progress: Progress) -> Verdict:
    """Run events in batches of all shapes and compare their bits with those of the widest."""
    tally, benches = Tally(), list(_benches(target))
    for done, bench in enumerate(benches, 1):
        _try_batches(bench, draws, np.random.default_rng(seed), tally)
        progress("rows", done, len(benches))
    rows = ", ".join(map(str, sorted(tally.rows))) if len(tally.rows) < 9 else f"up to {max(tally.rows)}"
    return Verdict(
        name="batch invariance",
        method="measured",
        claim="all gave the same bits",
        coverage=f"{tally.compared:,} event runs of {len(benches)} sites, in batches of {rows} rows and "
        "alone, at random places, every second time beside poisoned neighbours, and in the buffer of a "
        "longer text",
        excludes=(
            f"batches of more than {max(tally.rows)} rows",
            "layers between the first and the last",
            "attention of all texts but the longest",
        ),
        controls=tuple(_controls(target, draws, seed)),
        witness=tally.witness or _fault_in_buffer(target.beginning()),
    )


def batch_fault(target: Target, kind: str, draws: int = 2, seed: int = 0) -> str | None:
    """The first way in which events of a kind were seen to break batch invariance, in words."""
    tally = Tally()
    for bench in _benches(target, kind):
        _try_batches(bench, draws, np.random.default_rng(seed), tally)
    return tally.witness or _fault_in_buffer(target.beginning())


def values_of(graph: EventGraph, outputs: Iterable[Output]) -> dict[Event, Any]:
    """The value of every event that was run."""
    return {
        graph[int(index)]: tuple(part[row] for part in rows) if isinstance(rows, tuple) else rows[row]
        for _, events, rows in event_values(outputs)
        for row, index in enumerate(events)
    }


# -- what is run --------------------------------------------------------------------------


def _benches(target: Target, kind: str | None = None) -> Iterator[Bench]:
    """One for every kind of site, or for those of one kind, at the first and at the last layer."""
    plain = target.all_given()
    ends = {-1, 0, plain.graph.wiring.n_layers - 1, plain.graph.wiring.n_layers}
    for site in plain.graph.sites:
        if site.layer in ends and site.kind != "sample" and kind in (None, site.kind):
            yield bench_of(plain, site)
    if kind in (None, "sample"):
        yield _sampling_bench(target)


def bench_of(target: Target, site: Site) -> Bench:
    """A bench for a site of texts that are all given, as far as these run layer by layer."""
    batches = compile(layer_major(target.graph)).batches
    place = next(number for number, batch in enumerate(batches) if batch.site == site)
    state, _ = execute(Program(target.graph, batches[:place]), target.fresh(), target.kernels)
    return Bench(target, state, max((batch for batch in batches if batch.site == site), key=len))


def _sampling_bench(target: Target) -> Bench:
    """Texts that each draw their next token at once, none given."""
    crowd = target.beginning(2).in_company(behind=1)
    batches = compile(earliest(crowd.graph)).batches
    place = next(number for number, batch in enumerate(batches) if batch.site.kind == "sample")
    fresh = crowd.fresh()
    free = replace(fresh, sampling=Sampling(np.full_like(fresh.sampling.given, -1), temperature=1.0, seed=0))
    state, _ = execute(Program(crowd.graph, batches[:place]), free, crowd.kernels)
    return Bench(crowd, state, batches[place])


# -- how ---------------------------------------------------------------------------------------


def _try_batches(bench: Bench, draws: int, rng: np.random.Generator, tally: Tally) -> None:
    reference = bench.run(bench.batch)
    for rows in bench.target.kernels.buckets.up_to(len(bench.batch)):
        tally.rows.add(rows)
        for draw in range(draws):
            batch = bench.batch.restricted(rng.permutation(len(bench.batch))[:rows])
            _compare(bench, batch, reference, draw % 2 == 1, tally)
    # Alone, an event leaves most rows of the smallest call to spare.
    for row in rng.permutation(len(bench.batch))[:ALONE]:
        _compare(bench, bench.batch.restricted(np.array([row])), reference, False, tally)


def _compare(bench: Bench, batch: Batch, reference: dict[Event, Any], poison: bool, tally: Tally) -> None:
    """Run a batch, with every second row's input poisoned or not, and compare the rows that were not."""
    spoilt = np.arange(len(batch)) % 2 == 1 if poison else np.zeros(len(batch), bool)
    values = bench.run(batch, _inputs(bench.before, batch.restricted(spoilt)))
    for row, (event, value) in enumerate(values.items()):
        if not spoilt[row]:
            tally.compared += 1
            if tally.witness is None and not same_bits(value, reference[event]):
                tally.witness = f"{event} has other bits as row {row} of a batch of {len(batch)} events"


def _inputs(state: State, batch: Batch) -> Iterator[Cell]:
    """The cells of their own column that the rows of a batch read."""
    for index in batch.events:
        event = state.graph[int(index)]
        for source in state.graph.predecessors(event):
            if source.position == event.position and source.kind != "kv":
                yield from cells_written(state, source)


def _fault_in_buffer(alone: Target) -> str | None:
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


def _controls(target: Target, draws: int, seed: int) -> Iterator[Control]:
    kernels, dtype = target.kernels, target.model.dtype
    faults = {with_neighbour(kernels, dtype): _mlp_bench, sampling_for_neighbour(kernels): _sampling_bench}
    if len(kernels.buckets.up_to(CROWD)) > 1:
        faults[with_batch_size(kernels, dtype)] = _mlp_bench
    for faulty, bench in faults.items():
        tally = Tally()
        _try_batches(bench(target.with_kernels(faulty)), draws, np.random.default_rng(seed), tally)
        yield Control(faulty.name, tally.witness is not None, tally.witness or "")


def _mlp_bench(target: Target) -> Bench:
    return bench_of(target.beginning(2).in_company(), Site("mlp", 0))
