"""Running a model: any foliation, one text or several requests together, reading or generating."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from numbers import Real

import jax
import numpy as np
from jaxtyping import Float

from causalsim.engine.digests import digest_of
from causalsim.engine.executor import as_run, execute
from causalsim.engine.flags import debugging_off
from causalsim.engine.layout import Layout
from causalsim.engine.model import Model
from causalsim.engine.planning import plan
from causalsim.engine.program import Program, compile
from causalsim.engine.state import Sampling, State
from causalsim.engine.tokens import Ids, Texts, check_length, encode_texts
from causalsim.engine.values import Values
from causalsim.errors import InputError
from causalsim.events import EventGraph
from causalsim.foliations import Foliation, chunked, layer_major
from causalsim.kernels import Kernels
from causalsim.kernels.precision import from_storage

Logits = Float[np.ndarray, "_position vocabulary"]


@dataclass(frozen=True, eq=False)
class RequestRun:
    """One request's part of a run.

    Attributes:
        tokens: The ids that were read, given or sampled.
        logits: ``Float[position, vocabulary]``, the scores of the next token at every position.
    """

    tokens: Ids
    logits: Logits
    model: Model = field(repr=False)

    @property
    def text(self) -> str:
        """The tokens as text."""
        return self.model.decode(self.tokens.tolist())

    @cached_property
    def digest(self) -> str:
        """sha256 over the logits' shape, dtype and bytes: the same whatever ran beside."""
        return digest_of([self.logits])


@dataclass(frozen=True, eq=False)
class Run:
    """Result of a model over tokens in the order of a foliation.

    Attributes:
        model: The model that ran.
        foliation: The order that was asked for.
        program: The batches as they were executed.
        requests: Each request's tokens, logits, text and digest.
        state_bytes: The memory of the state; K/V is given up layer by layer unless recorded.
        recorded: Every event's value, where asked for.
    """

    model: Model
    foliation: Foliation
    program: Program
    requests: tuple[RequestRun, ...]
    state_bytes: int = 0
    recorded: Values | None = field(default=None, repr=False)

    @property
    def graph(self) -> EventGraph:
        """The graph of the foliation."""
        return self.foliation.graph

    @cached_property
    def logits(self) -> Logits:
        """``Float[position, vocabulary]``, over the positions of one request after another."""
        return np.concatenate([each.logits for each in self.requests])

    @cached_property
    def tokens(self) -> Ids:
        """``Int[position]``, the ids that were read, given or sampled, one request after another."""
        return np.concatenate([each.tokens for each in self.requests])

    @property
    def text(self) -> str:
        """The tokens as text; of several requests, a line each."""
        return "\n".join(each.text for each in self.requests)

    @cached_property
    def digest(self) -> str:
        """sha256 over the logits' shape, dtype and bytes, request after request."""
        return digest_of(each.logits for each in self.requests)

    @property
    def digests(self) -> tuple[str, ...]:
        """Each request's digest: the same whatever ran beside."""
        return tuple(each.digest for each in self.requests)

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

    On a graph with feedback the run is teacher-forced: ``sample`` returns the given id.

    Args:
        model: A model of ``load`` or ``random_model``.
        tokens: A text, token ids, or a sequence of these, one a request.
        foliation: The order, over the model's own wiring and the texts' lengths; layer by layer
            by default.
        record: True keeps every event's value.
        kernels: By default the certified ones, with the batch sizes that ``calibrate`` chose.

    Returns:
        Logits, tokens and digests; its arrays go over the positions of one request after another.

    Raises:
        InputError: Tokens do not fit the model, or the foliation is of another graph.
    """
    ids = encode_texts(model, tokens)
    chosen = _checked_foliation(model, foliation, tuple(map(len, ids)))
    return _run(model, chosen, ids, teacher_forced(chosen.graph, ids), record, kernels)


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
    """Continue a prompt by ``n`` tokens: ``sample`` at position p writes token p + 1.

    Ids are drawn by Gumbel's maximum with ``fold_in(key(seed), p)``, a key of its own for each
    position, so that neither the order nor other requests change them.

    Args:
        model: A model of ``load`` or ``random_model``.
        prompt: A text, token ids, or a sequence of these, one a request.
        n: How many tokens to write behind each prompt.
        foliation: The order, over a graph with feedback; by default the prompt is read layer by
            layer and the rest position by position.
        temperature: What logits are divided by; at 0 the greatest is taken (ties: the lowest id).
        seed: Of the draws, 0 .. 2**31 - 1.
        record: True keeps every event's value.
        kernels: By default the certified ones, with the batch sizes that ``calibrate`` chose.

    Returns:
        A run over ``len(prompt) + n`` positions a request.

    Raises:
        InputError: An argument is out of its range, the text outgrows the context, or the
            foliation is of another graph.
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
    return _run(model, chosen, ids, sampling, record, kernels)


@debugging_off()
def _run(
    model: Model,
    foliation: Foliation,
    ids: tuple[Ids, ...],
    sampling: Sampling,
    record: bool,
    kernels: Kernels | None,
) -> Run:
    graph, chosen = foliation.graph, model.kernels_or(kernels)
    made = plan(compile(foliation), chosen.buckets)
    state = State.fresh(model.config, model.dtype, graph, ids, sampling, pools=made.placement.pools)
    size = state.nbytes
    state, outputs = execute(made, state, model.computation(chosen), keep=record)
    values = Values.from_outputs(model.config, graph, outputs) if record else None
    return Run(model, foliation, as_run(graph, outputs), _requests(model, state), size, values)


def _requests(model: Model, state: State) -> tuple[RequestRun, ...]:
    tokens, logits = map(from_storage, jax.device_get((state.tokens, state.logits)))
    spans = map(slice, state.layout.first_tokens(), np.add(state.layout.first_tokens(), state.layout.lengths))
    return tuple(RequestRun(tokens[span], logits[span], model) for span in spans)


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
    """Make the sampling that returns the ids of given texts.

    Args:
        graph: The graph of the texts.
        ids: The ids of each request.

    Returns:
        Sampling whose ``given`` is an id for every token, -1 behind the last.
    """
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
