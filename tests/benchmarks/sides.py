"""Pairs of ways to the same logits, each a side that can be run again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import causalsim as cs
from causalsim.engine import Program, State, compile, execute, plan
from tests.benchmarks import plain

# Of the greatest logit: how far two orders of adding may come apart in float32.
BOUND = 1e-4


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Side:
    """``run(fresh())`` computes and waits for the result; only that is timed. ``logits`` reads it off."""

    name: str
    run: Callable[[Any], Any]
    logits: Callable[[Any], Any] = np.asarray
    fresh: Callable[[], Any] = _nothing


@dataclass(frozen=True)
class Pair:
    """Two sides of a row: what is measured, and what stands beside it."""

    title: str
    measured: Side
    beside: Side
    same_bits: bool = False

    def check(self) -> None:
        """Raise where the sides did not compute the same thing: no row is fast by being wrong."""
        ours, theirs = (side.logits(side.run(side.fresh())) for side in (self.measured, self.beside))
        error, bound = _apart(ours, theirs), 0 if self.same_bits else BOUND
        if not error <= bound:
            names = f"{self.measured.name} and {self.beside.name}"
            raise ValueError(f"{self.title}: the sides differ, {names}: got {error}, expected {bound}")


@dataclass(frozen=True)
class Sizes:
    """Lengths of the texts; the defaults are those of the table."""

    text: int = 256
    before: int = 192
    chunk: int = 64
    extension: int = 32
    prompts: tuple[int, ...] = (5, 10, 15, 20, 25, 30, 35, 40)
    continued: int = 16


class Sides:
    """The sides of one model and one text, each made when first asked for."""

    def __init__(self, model: cs.Model, sizes: Sizes, seed: int = 0) -> None:
        self.model, self.sizes, self.config = model, sizes, model.config
        rng = np.random.default_rng(seed)
        self.ids = rng.integers(self.config.vocab_size, size=sizes.text).astype(np.int32)
        self.prompts = [self.ids[-length:] for length in sizes.prompts]

    @cached_property
    def weights(self) -> plain.Weights:
        return plain.weights_of(self.model)

    # -- all positions at once -----------------------------------------------------------------

    def reading(self, family: Callable[[cs.EventGraph], cs.Foliation], length: int, name: str) -> Side:
        """A run in the order of a family."""
        ids, foliation = self.ids[:length], family(cs.EventGraph(self.config, length))
        return Side(name, lambda _: cs.run(self.model, ids, foliation), lambda run: run.logits)

    def prefill(self) -> Side:
        return self.reading(cs.layer_major, self.sizes.text, "layer_major")

    def plain_prefill(self) -> Side:
        ids = jnp.asarray(self.ids)
        return Side("plain JAX", lambda _: plain.forward(self.config, self.weights, ids).block_until_ready())

    # -- position by position ------------------------------------------------------------------

    def decode(self) -> Side:
        """The rest of ``token_major`` on a copy of the state in which the beginning has run."""
        graph = cs.EventGraph(self.config, self.sizes.text)
        program, before = compile(cs.token_major(graph)), graph.codes()[1] < self.sizes.before
        return self._continued(program, before, self._fresh(graph, [self.ids]), "token_major")

    def _fresh(self, graph: cs.EventGraph, ids: list[np.ndarray]) -> State:
        return State.fresh(self.config, self.model.dtype, graph, ids)

    def _continued(self, program: Program, before: np.ndarray, state: State, name: str) -> Side:
        """The rest of a program, after some of its events."""
        first, rest = (program.restricted(np.flatnonzero(mask)) for mask in (before, ~before))
        kernels = self.model.kernels_or(None)
        computation, rows = self.model.computation(kernels), _rows(program.graph, ~before)

        def run(state: State, part: Program = rest) -> State:
            # Planning takes its time in every run, too.
            made = plan(part, kernels.buckets, recycle=False)
            return _awaited(execute(made, state, computation, keep=False)[0])

        ready = run(state, first)

        return Side(name, run, lambda state: np.asarray(state.logits)[rows], lambda: _awaited(ready.copy()))

    def plain_decode(self) -> Side:
        """A loop over the jitted step, on a copy of the cache."""
        cache = plain.empty_cache(self.config, self.sizes.text)
        for position in range(self.sizes.before):
            _, cache = self._plain_step(cache, position)

        def run(cache: Any) -> list[Any]:
            found = []
            for position in range(self.sizes.before, self.sizes.text):
                logits, cache = self._plain_step(cache, position)
                found.append(logits)
            return jax.block_until_ready(found)

        return Side("plain JAX", run, np.stack, lambda: jax.block_until_ready(jax.tree.map(jnp.copy, cache)))

    def _plain_step(self, cache: Any, position: int) -> Any:
        return plain.step(self.config, self.weights, cache, self.ids[position], np.int32(position))

    # -- several requests ----------------------------------------------------------------------

    def together(self) -> Side:
        """All requests write on, a slice a step for all of them; their prompts were read before."""
        return self._writing(self.prompts, "together")

    def in_turn(self) -> Side:
        """The same requests, one after the other."""
        alone = [self._writing([prompt], "alone") for prompt in self.prompts]
        return Side(
            "one after the other",
            lambda states: [side.run(state) for side, state in zip(alone, states, strict=True)],
            lambda states: np.concatenate(
                [side.logits(state) for side, state in zip(alone, states, strict=True)]
            ),
            lambda: [side.fresh() for side in alone],
        )

    def _writing(self, prompts: list[np.ndarray], name: str) -> Side:
        counts = [len(prompt) for prompt in prompts]
        graph = cs.EventGraph(self.config, [count + self.sizes.continued for count in counts], prompt=counts)
        _, positions, requests = graph.codes()
        program = compile(cs.chunked(graph, max(counts)))
        state = self._fresh(graph, prompts)
        return self._continued(program, positions < np.array(counts)[requests], state, name)


def _apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The greatest difference, as a part of the greatest logit; infinite for other shapes, NaN for poison."""
    if ours.shape != theirs.shape:
        return np.inf
    return float(np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max()))


def _awaited(state: State) -> State:
    jax.block_until_ready(state.cells())
    return state


def _rows(graph: cs.EventGraph, chosen: np.ndarray) -> np.ndarray:
    """The rows of logits that some events write."""
    ranks, positions, requests = graph.codes()
    firsts = np.concatenate([[0], np.cumsum(graph.lengths)])
    writes = chosen & (ranks == [site.kind for site in graph.sites].index("unembed"))
    return firsts[requests[writes]] + positions[writes]


def pairs(sides: Sides) -> Iterator[Pair]:
    """The rows that need nothing but JAX."""
    sizes = sides.sizes
    steps = sizes.text - sizes.before
    yield Pair(f"prefill of {sizes.text} positions", sides.prefill(), sides.plain_prefill())
    yield Pair(f"decode of {steps} positions after {sizes.before}", sides.decode(), sides.plain_decode())
    yield Pair(
        f"prefill of {sizes.text} positions",
        sides.reading(lambda graph: cs.chunked(graph, sizes.chunk), sizes.text, f"chunked({sizes.chunk})"),
        sides.prefill(),
        same_bits=True,
    )
    yield Pair(
        f"{sizes.extension} positions, event by event",
        sides.reading(_kahn, sizes.extension, "random linear extension"),
        sides.reading(cs.token_major, sizes.extension, "token_major"),
        same_bits=True,
    )
    yield Pair(
        f"{len(sizes.prompts)} requests, {sizes.continued} tokens each",
        sides.together(),
        sides.in_turn(),
        same_bits=True,
    )


def _kahn(graph: cs.EventGraph) -> cs.Foliation:
    return cs.random_linear_extension(graph, 1, method="kahn")
