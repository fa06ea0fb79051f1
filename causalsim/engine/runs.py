"""Running a model: any foliation, one text or several requests together, reading or generating."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from numbers import Real
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from causalsim.engine.digests import digest_of
from causalsim.engine.executor import as_run, execute
from causalsim.engine.layout import Layout
from causalsim.engine.model import Model
from causalsim.engine.planning import plan
from causalsim.engine.program import Program, compile
from causalsim.engine.state import Sampling, State
from causalsim.engine.tokens import Ids, Texts, check_length, encode_texts, is_several
from causalsim.engine.values import Values
from causalsim.errors import InputError
from causalsim.events import EventGraph
from causalsim.foliations import Foliation, chunked, layer_major
from causalsim.kernels import Kernels
from causalsim.kernels.precision import from_storage

Logits = Float[np.ndarray, "_position vocabulary"]


@dataclass(frozen=True, eq=False)
class Run:
    """What the engine made of a model, tokens and a foliation.

    ``program`` lists the batches as they were executed. ``state_bytes`` is the memory that its
    cells took: K/V is given up layer by layer, unless recorded. ``by_request`` holds (tokens, logits)
    of every request. ``logits`` and ``tokens`` are those
    of the only request, or tuples, one entry a request, where several were given.
    """

    model: Model
    foliation: Foliation
    program: Program
    by_request: tuple[tuple[Ids, Logits], ...]
    several: bool
    state_bytes: int = 0
    recorded: Values | None = field(default=None, repr=False)

    @property
    def graph(self) -> EventGraph:
        return self.foliation.graph

    @property
    def logits(self) -> Logits | tuple[Logits, ...]:
        """``Float[position, vocabulary]``: what every position says about the next token."""
        return self._only(tuple(logits for _, logits in self.by_request))

    @property
    def tokens(self) -> Ids | tuple[Ids, ...]:
        """``Int[position]``: the ids that were read, given or sampled."""
        return self._only(tuple(ids for ids, _ in self.by_request))

    def _only(self, parts: tuple[Any, ...]) -> Any:
        return parts if self.several else parts[0]

    @property
    def text(self) -> str | tuple[str, ...]:
        """The tokens as text."""
        return self._only(tuple(self.model.decode(ids.tolist()) for ids, _ in self.by_request))

    @cached_property
    def digest(self) -> str:
        """sha256 over the logits' shape, dtype and bytes, request after request."""
        return digest_of(logits for _, logits in self.by_request)

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """One digest a request: the same in any company."""
        return tuple(digest_of([logits]) for _, logits in self.by_request)

    @property
    def values(self) -> Values:
        """Every event's value, by event or hook name; only of a recorded run."""
        if self.recorded is None:
            raise InputError(
                "values are kept by recorded runs", got="a run without record", hint="run(..., record=True)"
            )
        return self.recorded

    @cached_property
    def values_digest(self) -> str:
        """sha256 over the values of all events in canonical order."""
        return self.values.digest()


def run(
    model: Model,
    tokens: Texts,
    foliation: Foliation | None = None,
    *,
    record: bool = False,
    kernels: Kernels | None = None,
) -> Run:
    """Evaluate a model over given tokens in the order of a foliation.

    ``tokens`` is a text, token ids, or a sequence of these, one a request; without a
    ``foliation`` they run layer by layer. On a graph with feedback the run is teacher-forced:
    ``sample`` returns the given id. ``record=True`` keeps every event's value. ``kernels`` are
    by default the certified ones, in batches as ``calibrate`` chose them if it did. Raises
    ``InputError`` for tokens that do not fit the model, or a foliation of another graph.
    """
    ids = encode_texts(model, tokens)
    chosen = _checked_foliation(model, foliation, tuple(map(len, ids)))
    return _run(model, chosen, ids, teacher_forced(chosen.graph, ids), is_several(tokens), record, kernels)


def generate(
    model: Model,
    prompt: Texts,
    n: int,
    foliation: Foliation | None = None,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    record: bool = False,
    kernels: Kernels | None = None,
) -> Run:
    """Continue a prompt by ``n`` tokens: a ``Run`` over len(prompt) + n positions with feedback.

    ``sample`` at position p writes token p + 1. Temperature 0 takes the greatest logit (ties
    to the lowest id); above, ids are drawn with a key of their own a position, so that neither
    the order nor the company of other requests changes them. Without a ``foliation`` the prompt
    is read layer by layer and the rest position by position.
    """
    ids = encode_texts(model, prompt)
    _check_sampling(n, temperature, seed)
    lengths = tuple(len(given) + n for given in ids)
    for number, length in enumerate(lengths):
        check_length(model, number, length)
    graph = EventGraph(model.config, lengths, prompt=tuple(map(len, ids)))
    chosen = _checked_foliation(model, foliation or chunked(graph, max(graph.prompts)), lengths)
    if chosen.graph != graph:
        raise InputError(
            "a continuation is generated on a graph that waits for it", got=chosen.graph, expected=graph,
            hint="EventGraph(model.config, len(prompt) + n, prompt=len(prompt)).",
        )  # fmt: skip
    sampling = Sampling(np.full(Layout(lengths).tokens + 1, -1, np.int32), temperature, seed)
    return _run(model, chosen, ids, sampling, is_several(prompt), record, kernels)


def _run(
    model: Model,
    foliation: Foliation,
    ids: tuple[Ids, ...],
    sampling: Sampling,
    several: bool,
    record: bool,
    kernels: Kernels | None,
) -> Run:
    graph, chosen = foliation.graph, model.kernels_or(kernels)
    made = plan(compile(foliation), chosen.buckets)
    state = State.fresh(model.config, model.dtype, graph, ids, sampling, pools=made.placement.pools)
    size = state.nbytes
    state, outputs = execute(made, state, model.computation(chosen), keep=record)
    values = Values.from_outputs(model.config, graph, outputs) if record else None
    return Run(model, foliation, as_run(graph, outputs), read_requests(state), several, size, values)


def read_requests(state: State) -> tuple[tuple[Ids, Logits], ...]:
    """Tokens and logits of every request, from the state that a program left."""
    tokens, logits = map(from_storage, jax.device_get((state.tokens, state.logits)))
    spans = zip(state.layout.first_tokens(), state.layout.lengths, strict=True)
    return tuple((tokens[first : first + length], logits[first : first + length]) for first, length in spans)


def _checked_foliation(model: Model, foliation: Foliation | None, lengths: tuple[int, ...]) -> Foliation:
    if foliation is None:
        return layer_major(EventGraph(model.config, lengths))
    if not isinstance(foliation, Foliation):
        raise InputError(
            "an order is given as a foliation", got=repr(foliation), expected="for example layer_major(graph)"
        )
    graph = foliation.graph
    if graph.wiring != model.config.wiring:
        raise InputError(
            "a foliation is of the model's own wiring", got=graph.wiring, expected=model.config.wiring
        )
    if graph.lengths != lengths:
        raise InputError(
            "a foliation is of the texts' own lengths",
            got=f"lengths {graph.lengths}",
            expected=f"{lengths} tokens",
        )
    return foliation


def teacher_forced(graph: EventGraph, ids: tuple[Ids, ...]) -> Sampling:
    """Sampling that returns the ids of given texts."""
    layout = Layout(graph.lengths)
    given = np.full(layout.tokens + 1, -1, np.int32)
    for first, tokens in zip(layout.first_tokens(), ids, strict=True):
        given[first : first + len(tokens)] = tokens
    return Sampling(given)


def _check_sampling(n: int, temperature: float, seed: int) -> None:
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise InputError("a continuation has a whole number of at least 1 tokens", got=repr(n))
    is_number = isinstance(temperature, Real) and not isinstance(temperature, bool)
    if not is_number or not 0 <= temperature <= np.finfo(np.float32).max:
        raise InputError(
            "a temperature is not negative and a finite float32",
            got=repr(temperature),
            expected="0 for greedy",
        )
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**31:
        raise InputError("a seed is a whole number", got=repr(seed), expected="0 .. 2**31 - 1")
