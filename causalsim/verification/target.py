"""The target of a check: a model with its kernels, over given texts on a graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import numpy as np

from causalsim.engine import (
    Computation,
    Layout,
    Model,
    Output,
    Planner,
    Program,
    Sampling,
    State,
    Values,
    as_run,
    compile,
    compile_together,
    event_values,
    execute,
    plan,
    teacher_forced,
)
from causalsim.engine.cells import cells_written
from causalsim.engine.placement import Placement
from causalsim.engine.tokens import Texts, encode_texts
from causalsim.events import KINDS, Event, EventGraph
from causalsim.foliations import Foliation, earliest
from causalsim.kernels import Buckets, Kernels
from causalsim.kernels.precision import from_storage
from causalsim.testing.bits import same_bits
from causalsim.testing.findings import Statement, diverging

# At which samples are tried: the likeliest, and at random.
TEMPERATURES = (0.0, 1.0)
# Requests in a batch that has to have several rows; more than the smallest padded batch holds.
REQUESTS = 9


@dataclass(frozen=True, eq=False)
class Target:
    """A model and kernels over texts.

    Attributes:
        model: The model.
        graph: The graph of the texts.
        ids: The ids of each text, those behind the prompt too.
        kernels: What computes.
        draw: Temperature and seed by which ``sample`` events draw these ids; ``None`` where they are given.
    """

    model: Model
    graph: EventGraph
    ids: tuple[np.ndarray, ...]
    kernels: Kernels
    draw: tuple[float, int] | None = None

    @classmethod
    def of(
        cls,
        model: Model,
        tokens: Texts,
        prompt: int | Sequence[int] | None = None,
        kernels: Kernels | None = None,
    ) -> Target:
        """A model over texts as users give them; ``InputError`` for what does not fit the model."""
        ids = encode_texts(model, tokens)
        graph = EventGraph(model.config, [len(text) for text in ids], prompt=prompt)
        return cls(model, graph, ids, model.kernels_or(kernels))

    def with_kernels(self, kernels: Kernels) -> Target:
        return replace(self, kernels=kernels)

    def drawing(self, temperature: float, seed: int = 0) -> Target:
        """Return the same prompts, followed by what ``sample`` events draw of the reference's order."""
        free = replace(self, draw=(temperature, seed))
        tokens = free.execute(free.program, free.fresh(), keep=False)[0].tokens
        starts = Layout(self.graph.lengths).first_tokens()
        spans = zip(starts, starts + np.array(self.graph.lengths), strict=True)
        return replace(free, ids=tuple(np.asarray(tokens)[slice(*span)] for span in spans))

    def fresh(self, pools: int | None = None) -> State:
        """Poisoned memory with the prompts in it, and a pool a layer, or so many."""
        forced = teacher_forced(self.graph, self.ids)
        sampling = Sampling(np.full_like(forced.given, -1), *self.draw) if self.draw else forced
        config, dtype = self.model.config, self.model.dtype
        return State.fresh(config, dtype, self.graph, self.ids, sampling, pools=pools)

    def planner(self, state: State, rows: int) -> Planner:
        """A planner of dispatches of so many rows, on a state whose pools serve layers in turn."""
        n_layers, pools = self.graph.wiring.n_layers, len(state.keys)
        apart = Placement.apart(n_layers, state.layout)
        placement = replace(apart, pool=np.arange(n_layers) % pools, pools=pools)
        return Planner(self.graph.wiring, state.layout, placement, Buckets((rows,)))

    @cached_property
    def computation(self) -> Computation:
        """The model's computation by these kernels."""
        return self.model.computation(self.kernels)

    def execute(self, program: Program, state: State, *, keep: bool = True) -> tuple[State, list[Output]]:
        """Run a program on a state with a pool a layer, which it consumes."""
        made = plan(program, self.kernels.buckets, recycle=False, layout=state.layout)
        return execute(made, state, self.computation, keep=keep)

    def step(self, state: State, events: Iterable[Event]) -> tuple[State, list[Output]]:
        """Run chosen events on a state, which it consumes: those of one site together, in canonical order."""
        return self.execute(compile_together(state.graph, events), state)

    def run(self, program: Program) -> tuple[Values, Program]:
        """Every event's value as a program makes it, and the program as it was executed."""
        # On the memory that runs have: K/V is given up after its last reader, and its pages serve again.
        made = plan(program, self.kernels.buckets)
        _, outputs = execute(made, self.fresh(made.placement.pools), self.computation)
        return Values.from_outputs(self.model.config, self.graph, outputs), as_run(self.graph, outputs)

    def left_unrecorded(self, program: Program) -> Statement | None:
        """The first result, logits or a token, that a run which keeps no values leaves otherwise."""
        made = plan(program, self.kernels.buckets)
        state, _ = execute(made, self.fresh(made.placement.pools), self.computation, keep=False)
        held = {name: from_storage(np.asarray(getattr(state, name))) for name in ("tokens", "logits")}
        for event in (each for each in self.graph if KINDS[each.kind].writes == "token"):
            ((array, place),) = cells_written(state, event)
            if not same_bits(held[array][place], self.reference[event]):
                words = "{array} of {event} are others when nothing is recorded"
                return Statement.of(words, array=array, event=event)
        return None

    def values(self, program: Program) -> Values:
        """Every event's value as a program makes it."""
        return self.run(program)[0]

    def refuted(self, name: str, foliation: Foliation) -> Statement | None:
        """The first thing that an order does otherwise than the reference, or than it was asked to."""
        values, executed = self.run(compile(foliation))
        if not executed.refines(foliation):
            return Statement.of("{order} ran in another order than asked for", order=name)
        return diverging(self.reference, values, "{order} diverges at {divergence}", order=name)

    @cached_property
    def program(self) -> Program:
        """The order that others are compared with: as few slices as the graph allows."""
        return compile(earliest(self.graph))

    @cached_property
    def reference(self) -> Values:
        return self.values(self.program)

    def all_given(self) -> Target:
        """The same texts without feedback, joined by variations of the first where they are very short."""
        graph = EventGraph(self.graph.wiring, [len(text) for text in self.ids])
        plain = replace(self, graph=graph)
        return plain if sum(graph.lengths) >= REQUESTS else plain.co_batched()

    def beginning(self, length: int | None = None) -> Target:
        """The first text alone, or its beginning, all of it given."""
        ids = self.ids[0][:length]
        return replace(self, graph=EventGraph(self.graph.wiring, len(ids)), ids=(ids,))

    def co_batched(self, behind: int = 0) -> Target:
        """Return the same texts beside other requests, which are variations of the first.

        A batch then has rows of several requests, however short they are. ``behind`` positions
        of each text wait for tokens that are sampled.
        """
        more = [np.roll(self.ids[0] + turn, turn) for turn in range(1, 1 + REQUESTS - len(self.ids))]
        ids = (*self.ids, *(text % self.model.config.vocab_size for text in more))
        prompts = [len(text) for text in ids]
        lengths = [prompt + behind for prompt in prompts]
        return replace(self, graph=EventGraph(self.graph.wiring, lengths, prompt=prompts), ids=ids)


def values_of(graph: EventGraph, outputs: Iterable[Output]) -> dict[Event, Any]:
    """The value of every event that was run, in the order in which they ran."""
    return {
        graph[int(index)]: jax.tree.map(lambda part, row=row: part[row], rows)
        for _, events, rows in event_values(outputs)
        for row, index in enumerate(events)
    }
