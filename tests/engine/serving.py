"""Schedules as a serving engine makes them, and what many of them give for the same requests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

import causalsim as cs
from causalsim.engine import Program
from causalsim.engine.digests import digest_of
from causalsim.kernels import CERTIFIED, Buckets, Kernels


def in_steps(graph: cs.EventGraph, steps: np.ndarray) -> cs.Foliation:
    """Step after step, site by site within each; one step number an event."""
    return cs.Foliation(graph, steps * len(graph.sites) + graph.codes()[0])


def prefill_then_decode(graph: cs.EventGraph, prompt: int) -> cs.Foliation:
    """The first positions layer by layer, the others one by one."""
    return in_steps(graph, np.maximum(0, graph.codes()[1].astype(np.int64) - prompt + 1))


def served(graph: cs.EventGraph, seed: int) -> cs.Foliation:
    """Requests arrive one by one; each step takes some of those that are there, each by a chunk of any size.

    Positions that wait for a token go one a step.
    """
    rng = np.random.default_rng(seed)
    lengths, prompts = np.array(graph.lengths), np.array(graph.prompts)
    arrivals = rng.permutation(len(lengths)) * rng.integers(0, 4)
    share, most = rng.uniform(0.3, 1), rng.integers(1, max(lengths) + 1)
    steps = [np.empty(length, np.int64) for length in lengths]
    done, step = np.zeros(len(lengths), int), 0
    while (done < lengths).any():
        here = np.flatnonzero((arrivals <= step) & (done < lengths) & (rng.random(len(lengths)) < share))
        for request in here:
            start, waits = done[request], done[request] >= prompts[request]
            end = start + 1 if waits else min(start + rng.integers(1, most + 1), prompts[request])
            steps[request][start:end] = step
            done[request] = end
        step += 1
    _, positions, requests = graph.codes()
    firsts = np.concatenate([[0], np.cumsum(lengths)])
    return in_steps(graph, np.concatenate(steps)[firsts[requests] + positions])


def alone(model: cs.Model, tokens: Sequence[int], prompt: int, kernels: Kernels = CERTIFIED) -> str:
    """The digest of all values of a request by itself, its prompt at once."""
    graph = cs.EventGraph(model.config, len(tokens), prompt=prompt)
    return cs.run(model, tokens, cs.chunked(graph, prompt), record=True, kernels=kernels).values_digest


@dataclass
class Served:
    """Results of many schedules, request by request, and how they differed, as their programs tell."""

    digests: list[set[str]]
    mixes: set[frozenset[int]] = field(default_factory=set)
    splits: set[tuple[tuple[int, ...], ...]] = field(default_factory=set)
    arrivals: set[tuple[int, ...]] = field(default_factory=set)
    buckets: set[tuple[str, int]] = field(default_factory=set)

    def add(self, run: cs.Run, sizes: Buckets) -> None:
        assert np.isfinite(run.logits).all(), "poison has bits that agree, too"
        for request, found in enumerate(self.digests):
            found.add(_digest(run, request))
        self.mixes |= mixes(run.program)
        self.splits.add(_splits(run.program))
        self.arrivals.add(_arrivals(run.program))
        self.buckets |= buckets(run.program, sizes)

    @property
    def met(self) -> set[frozenset[int]]:
        """The pairs of requests that shared a batch at least once."""
        return {frozenset(pair) for mix in self.mixes for pair in combinations(sorted(mix), 2)}


def serve(
    model: cs.Model,
    graph: cs.EventGraph,
    texts: Sequence[Sequence[int]],
    seeds: Iterable[int],
    kernels: Kernels = CERTIFIED,
) -> Served:
    """Run the same requests on schedules of many seeds; each must have run as it was drawn."""
    found = Served([set() for _ in texts])
    for seed in seeds:
        foliation = served(graph, seed)
        run = cs.run(model, texts, foliation, record=True, kernels=kernels)
        assert run.program.refines(foliation)
        found.add(run, kernels.buckets)
    return found


def mixes(program: Program) -> set[frozenset[int]]:
    """Sets of requests that shared a batch: each once, however often."""
    return {frozenset(batch.requests.tolist()) for batch in program.batches}


def buckets(program: Program, buckets: Buckets) -> set[tuple[str, int]]:
    """In calls of how many rows each kind of event was run, padding included."""
    return {(batch.site.kind, count) for batch in program.batches for count in buckets.split(len(batch))}


def _splits(program: Program) -> tuple[tuple[int, ...], ...]:
    """The sizes of each request's chunks, in the order of running."""
    embeds = [batch.requests for batch in program.batches if batch.site.kind == "embed"]
    requests = range(len(program.graph.lengths))
    return tuple(
        tuple(int((rows == request).sum()) for rows in embeds if (rows == request).any())
        for request in requests
    )


def _arrivals(program: Program) -> tuple[int, ...]:
    """Requests in the order of their first event; those of one batch in order of number."""
    order = np.concatenate([batch.requests for batch in program.batches])
    return tuple(dict.fromkeys(order.tolist()))


def _digest(run: cs.Run, request: int) -> str:
    """As ``Run.values_digest``, over the events of one request."""
    return digest_of(
        np.asarray(part)
        for event in run.graph
        if event.request == request
        for part in _parts(run.values[event])
    )


def _parts(value: object) -> tuple:
    return value if isinstance(value, tuple) else (value,)
