"""Batch invariance: an event's bits depend on nothing about the batch that carries it.

Every kind of event is run in batches of every batch size that the engine uses, at random
places in them, beside neighbours whose inputs are poison, and in a buffer that also holds a
longer text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from causalsim.engine import Batch, Program, State, compile
from causalsim.engine.cells import Cell, cells_written, poisoned
from causalsim.events import EventGraph, Site
from causalsim.foliations import earliest, layer_major
from causalsim.kernels import PAGE
from causalsim.progress import Progress
from causalsim.testing.bits import Arrays, parts_of
from causalsim.testing.findings import Finding, PlantedFault, Statement, diverging
from causalsim.testing.rows import BatchTrials, Chosen, Mask
from causalsim.verification.faults import sampling_for_neighbour, with_batch_size, with_neighbour
from causalsim.verification.target import REQUESTS, Target, values_of

# So many events of a site are also run alone.
ALONE = 8
# Distances from a row of a batch to the next.
STEPS = (1, 2, 3)


@dataclass(frozen=True)
class Bench:
    """The rows of one site: a state in which it can run, and the batch of all of its events."""

    target: Target
    before: State
    batch: Batch

    def __len__(self) -> int:
        return len(self.batch)

    def run(self, rows: Chosen, garbage: Mask) -> Arrays:
        """The values of some rows in one batch; the inputs of those that are garbage are poison."""
        batch, graph = self.batch.restricted(rows), self.before.graph
        state = poisoned(self.before, _inputs(self.before, batch.restricted(garbage)))
        values = values_of(graph, self.target.execute(Program(graph, (batch,)), state)[1])
        parts = [parts_of(values[graph[int(index)]]) for index in batch.events]
        return tuple(map(np.stack, zip(*parts, strict=True)))


def batch_invariance(target: Target, draws: int, seed: int, progress: Progress) -> Finding:
    """Run events in batches of all sizes and compare their bits with those of the widest."""
    benches, tried = list(_benches(target)), list[BatchTrials]()
    for done, bench in enumerate(benches, 1):
        tried.append(_tried(bench, draws, seed))
        progress("rows", done, len(benches))
    sizes = sorted(set[int]().union(*(each.sizes for each in tried)))
    witness = next(filter(None, map(_witness, benches, tried)), None)
    return Finding(
        name="batch invariance",
        method="measured",
        claim="all gave the same bits",
        coverage=Statement.of(
            "{event_runs:,} event runs of {sites} sites, in batches of {sizes} rows and alone, at random "
            "places and at equal distances, every second time beside poisoned neighbours, and in the buffer "
            "of a longer text",
            event_runs=sum(each.compared for each in tried),
            sites=len(benches),
            sizes=", ".join(map(str, sizes)) if len(sizes) < 9 else f"up to {sizes[-1]}",
        ),
        excludes=(
            f"batches of more than {sizes[-1]} rows",
            "layers between the first and the last",
            "attention of all texts but the longest",
        ),
        witness=witness or _fault_in_buffer(target.beginning()),
        controls=tuple(_controls(target, draws, seed)),
    )


def batch_fault(target: Target, kind: str, draws: int = 2, seed: int = 0) -> Statement | None:
    """The first way in which events of a kind were seen to break batch invariance."""
    found = (_witness(bench, _tried(bench, draws, seed)) for bench in _benches(target, kind))
    return next(filter(None, found), None) or _fault_in_buffer(target.beginning())


# -- what is run --------------------------------------------------------------------------


def _benches(target: Target, kind: str | None = None) -> Iterator[Bench]:
    """One for every kind of site, or for those of one kind, at the first and at the last layer."""
    plain = target.all_given()
    ends = {-1, 0, plain.graph.wiring.n_layers - 1, plain.graph.wiring.n_layers}
    for site in plain.graph.sites:
        if site.layer in ends and site.kind != "sample" and kind in (None, site.kind):
            yield bench_of(plain, site)
    if kind in (None, "sample"):
        yield from (_sampling_bench(target, temperature) for temperature in (0.0, 1.0))


def bench_of(target: Target, site: Site) -> Bench:
    """The rows of a site of texts that are all given, after what runs before it layer by layer."""
    batches = compile(layer_major(target.graph)).batches
    place = next(number for number, batch in enumerate(batches) if batch.site == site)
    state, _ = target.execute(Program(target.graph, batches[:place]), target.fresh())
    return Bench(target, state, max((batch for batch in batches if batch.site == site), key=len))


def _sampling_bench(target: Target, temperature: float = 1.0) -> Bench:
    """Texts that each draw their next token at once, none given."""
    target = target.beginning(2).co_batched(behind=1).drawing(temperature)
    batches = compile(earliest(target.graph)).batches
    place = next(number for number, batch in enumerate(batches) if batch.site.kind == "sample")
    state, _ = target.execute(Program(target.graph, batches[:place]), target.fresh())
    return Bench(target, state, batches[place])


# -- how ---------------------------------------------------------------------------------------


def _tried(bench: Bench, draws: int, seed: int) -> BatchTrials:
    """The rows of a bench in batches of every size, and alone: in most rows of the smallest to spare."""
    trials, rng = BatchTrials.of(bench), np.random.default_rng(seed)
    for size in bench.target.kernels.buckets.up_to(len(bench)):
        trials.at_random(size, draws, rng)
        trials.evenly(size, STEPS)
    trials.alone(ALONE, rng)
    return trials


def _witness(bench: Bench, trials: BatchTrials) -> Statement | None:
    if trials.divergence is None:
        return None
    row, place, size = trials.divergence
    event = bench.before.graph[int(bench.batch.events[row])]
    words = "{event} has other bits as row {row} of a batch of {size} events"
    return Statement.of(words, event=event, row=place, size=size)


def _inputs(state: State, batch: Batch) -> Iterator[Cell]:
    """The cells of their own column that the rows of a batch read."""
    for index in batch.events:
        event = state.graph[int(index)]
        for source in state.graph.predecessors(event):
            if source.position == event.position and source.kind != "kv":
                yield from cells_written(state, source)


def _fault_in_buffer(alone: Target) -> Statement | None:
    """Run a text in a buffer that has room for a longer one, whose cells stay poison."""
    length = alone.graph.lengths[0]
    both = EventGraph(alone.graph.wiring, (length, length + PAGE + 1))
    target = replace(alone, graph=both, ids=(alone.ids[0], np.zeros(both.lengths[1], np.int32)))
    own = compile(layer_major(both)).restricted(np.arange(len(alone.graph)))
    _, outputs = target.execute(own, target.fresh())
    values = values_of(both, outputs)
    reference = {event: alone.reference[event] for event in alone.graph}
    return diverging(reference, values, "{event} has other bits in the buffer of a longer text")


def _controls(target: Target, draws: int, seed: int) -> Iterator[PlantedFault]:
    kernels, dtype = target.kernels, target.model.dtype
    faults = {with_neighbour(kernels, dtype): _mlp_bench, sampling_for_neighbour(kernels): _sampling_bench}
    if len(kernels.buckets.up_to(REQUESTS)) > 1:
        faults[with_batch_size(kernels, dtype)] = _mlp_bench
    for faulty, bench_with in faults.items():
        bench = bench_with(target.with_kernels(faulty))
        yield PlantedFault(faulty.name, {"batch invariance": _witness(bench, _tried(bench, draws, seed))})


def _mlp_bench(target: Target) -> Bench:
    return bench_of(target.beginning(2).co_batched(), Site("mlp", 0))
