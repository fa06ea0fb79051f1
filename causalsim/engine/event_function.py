"""An event as a function of its predecessors' values, over the same kernels as the executed one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jaxtyping import Array, Num

from causalsim.engine.executables import body_of, layerless
from causalsim.engine.flags import check_flags
from causalsim.engine.planning import UNBOUNDED
from causalsim.errors import InputError
from causalsim.events import KINDS, Event, EventGraph, Granularity
from causalsim.kernels import CERTIFIED, PAGE, Kernels, Pages
from causalsim.models import ModelConfig

Values = Mapping[Event, Any]
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
# Exponent and mantissa of a bfloat16.
_BITS = 8, 7


@dataclass(frozen=True, eq=False)
class EventFunction:
    """An event as a function of the values of its direct predecessors; ``event_function`` makes one.

    Given arrays of numbers it runs compiled, and its value has the bits of the executed event. Given
    JAX's tracers, as inside ``jax.jvp`` or ``jax.grad``, it is plain arithmetic that these can follow: a
    bfloat16 is then a float32 that was rounded, whose derivative is that of the number before.

    Attributes:
        config: The model's configuration.
        weights: The parameters as the kernels want them.
        event: The event.
        kernels: A pure function for each kind of event.
        dtype: What values are kept in.
    """

    config: ModelConfig
    weights: Any
    event: Event
    kernels: Kernels
    dtype: str

    @cached_property
    def predecessors(self) -> tuple[Event, ...]:
        """The events whose values it reads, in canonical order; of an embedding, the sample before it."""
        kind, here = KINDS[self.event.kind], replace(self.event, request=0)
        if kind.place == "below":
            above = EventGraph(self.config.wiring, 1).sites[-1]
            return (Event(above.kind, above.layer, here.position - 1, self.event.request),)
        granularity: Granularity = "block" if kind.place == "block" else "sublayer"
        fed_back = kind.place == "feedback"
        prompt = here.position + 1 if fed_back else None
        graph = EventGraph(
            self.config.wiring, here.position + 1 + fed_back, prompt=prompt, granularity=granularity
        )
        found = dict.fromkeys(graph.predecessors(here))
        return tuple(replace(event, request=self.event.request) for event in sorted(found, key=graph.index))

    def __call__(self, values: Values, *, ids: Any = None, temperature: float = 0.0, seed: int = 0) -> Any:
        """Compute the event's value.

        Args:
            values: The value of each predecessor, as ``Run.values`` has them.
            ids: Token ids that no event made: of an embedding that is given its token, ``Int[]``; of a
                block of the first layer, those of its text up to its position, ``Int[position]``; of a
                sample, the id that it has to return.
            temperature: Of a sample.
            seed: Of a sample.

        Returns:
            The value, as ``Run.values`` has it; of tracers, arrays of float32 or of the weights' type.

        Raises:
            InputError: The value of a predecessor is missing, or ids are; or, for numbers, flags are set
                under which bits depend on the order.
        """
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((values, self.weights)))
        # Tracers are plain arithmetic, whose bits are not compared.
        if not traced:
            check_flags()
        if KINDS[self.event.kind].place == "block":
            return self._block(values, ids)
        inputs = self._inputs(values, ids, temperature, seed)
        functions = ((self.event.kind, self.kernels.of(self.event.kind)),)
        if traced:
            return _Arithmetic(self.config, self.dtype, dict(functions)).run(self.event.kind, *inputs)
        options = self.kernels.compiler_options
        run = _compiled(layerless(self.config), self.dtype, self.event.kind, functions, options)
        return self._told(run(*inputs))

    def _inputs(self, values: Values, ids: Any, temperature: float, seed: int) -> tuple[Any, ...]:
        body, position = body_of(self.event.kind), np.array([self.event.position], np.int32)
        if body == "embed":
            return self._own, self._token(values, ids), position
        if body == "sample":
            given = np.array([-1 if ids is None else int(ids)], np.int32)
            logits = self._value(values, self.predecessors[0])
            return self._own, logits, position, given, np.float32(temperature), np.int32(seed)
        parts = tuple(self._value(values, event) for event in self._writing("residual"))
        if body != "attend":
            return self._own, parts, *([position] if body == "kv" else [])
        pairs = [self._value(values, event) for event in self._writing("kv")]
        return self._own, parts, position, *self._pages(pairs)

    def _pages(self, pairs: Sequence[Any]) -> tuple[Any, ...]:
        """K/V of consecutive positions up to the event's own in pages, their table, and the window."""
        window = self.config.wiring.windows_by_layer[self.event.layer]
        first = self.event.position + 1 - len(pairs)
        table = np.arange(self.event.position // PAGE + 1, dtype=np.int32) - first // PAGE
        keys, values = (_paged([pair[part] for pair in pairs], first) for part in range(2))
        return keys.swapaxes(2, 3), values, table, np.int32(UNBOUNDED if window is None else window)

    def _block(self, values: Values, ids: Any) -> Any:
        """Run the sublayers of a block, K/V of all positions that it sees included."""
        layer, own = self.event.layer, self.event
        x = self._below(values, ids)
        made: dict[Event, Any] = {}
        for kind in self.config.wiring.sublayers:
            where = sorted(x) if KINDS[kind].writes == "kv" else [own.position]
            for position in where:
                event = Event(kind, layer, position, own.request)
                function = replace(self, event=event)
                # Whoever reads the layer's input gets it from all that wrote below, added up already.
                below = [read for read in function.predecessors if read not in made]
                parts = [x[position], *(np.zeros_like(x[position]) for _ in below[1:])]
                made[event] = function({**made, **dict(zip(below, parts, strict=False))})
        left = [value for event, value in made.items() if KINDS[event.kind].writes == "residual"]
        return self._added(left) if self.config.parallel_residual else left[-1]

    def _below(self, values: Values, ids: Any) -> dict[int, Any]:
        """The residuals below a block, by position: embeddings of ids, or the values of blocks."""
        if self.event.layer:
            return {event.position: self._value(values, event) for event in self.predecessors}
        window = self.config.wiring.windows_by_layer[0] or self.event.position + 1
        if ids is None or np.shape(ids) != (self.event.position + 1,):
            raise InputError(
                "a block of the first layer reads the ids of its text",
                got=f"ids of shape {np.shape(ids)}",
                expected=f"shape ({self.event.position + 1},)",
            )
        seen = range(max(0, self.event.position + 1 - window), self.event.position + 1)
        embed = Event("embed", -1, 0, self.event.request)
        return {p: replace(self, event=replace(embed, position=p))({}, ids=ids[p]) for p in seen}

    def _added(self, left: Sequence[Any]) -> Any:
        first, *others = (_numbers(value) for value in left)
        total = _rounded(sum(others, first), self.dtype)
        return total if isinstance(total, jax.core.Tracer) else self._told(total)

    def _writing(self, stream: str) -> list[Event]:
        return [event for event in self.predecessors if KINDS[event.kind].writes == stream]

    @property
    def _own(self) -> Any:
        kind, layer = self.event.kind, self.event.layer
        if KINDS[kind].place == "feedback":
            return None
        return self.weights["layers"][layer][kind] if KINDS[kind].place == "layer" else self.weights[kind]

    def _token(self, values: Values, ids: Any) -> Any:
        token = values.get(self.predecessors[0]) if ids is None else ids
        if token is None:
            raise InputError(
                "an embedding reads a token",
                got=f"neither ids nor a value of {self.predecessors[0]}",
                hint="Give ids=... for a token of the prompt.",
            )
        return np.array([int(token)], np.int32)

    def _value(self, values: Values, event: Event) -> Any:
        if event not in values:
            got = f"no value of {event} for {self.event}"
            raise InputError("an event reads the values of all its predecessors", got=got)
        return values[event]

    def _told(self, value: Any) -> Any:
        """A value on the host, in the model's own type; ids are whole numbers anyway."""

        def told(part: Array) -> np.ndarray:
            found = np.asarray(part)
            is_number = self.dtype == BFLOAT16.name and found.dtype.kind == "f"
            return found.astype(BFLOAT16) if is_number else found

        return jax.tree.map(told, value)


def event_function(
    config: ModelConfig,
    weights: Any,
    event: Event,
    *,
    kernels: Kernels = CERTIFIED,
    dtype: str = "float32",
) -> EventFunction:
    """Make a function of the values of an event's direct predecessors that computes the event's value.

    The bits are those of the executed event, for every kind, with the certified kernels. For derivatives
    take ``causalsim.kernels.STOCK``, whose plain arithmetic goes in both directions, and weights that were
    prepared for it (``model.weights(STOCK)``).

    Args:
        config: The model's configuration.
        weights: The parameters in the kernels' layout.
        event: Any event of a graph of the model, at either granularity.
        kernels: The kernels.
        dtype: What values are kept in, ``"float32"`` or ``"bfloat16"``.

    Returns:
        The function, which takes ``{event: value}``.
    """
    return EventFunction(config, weights, event, kernels, dtype)


class _Arithmetic:
    """The kernels around one row, on numbers; nothing that has no derivative."""

    def __init__(
        self,
        config: ModelConfig,
        dtype: str,
        kernels: Mapping[str, Any],
        settled: Callable[[Any], Any] = lambda value: value,
    ) -> None:
        self.config, self.dtype, self.kernels, self.settled = config, dtype, kernels, settled

    def run(self, kind: str, weights: Any, *inputs: Any) -> Any:
        kernel = self.kernels[kind]
        value = getattr(self, f"_{body_of(kind)}")(kernel, weights, *inputs)
        return jax.tree.map(lambda part: _rounded(part[0], self.dtype), self.settled(value))

    def _embed(self, kernel: Any, weights: Any, ids: Any, position: Any) -> Any:
        return kernel(self.config, weights, jnp.asarray(ids), jnp.asarray(position))

    def _kv(self, kernel: Any, weights: Any, parts: Any, position: Any) -> Any:
        return kernel(self.config, weights, self._stream(parts), jnp.asarray(position))

    def _attend(self, kernel: Any, weights: Any, parts: Any, position: Any, *kv: Any) -> Any:
        keys, values, table, window = kv
        pages = Pages(_numbers(keys), _numbers(values), jnp.asarray(table), jnp.asarray(window))
        return kernel(self.config, weights, self._stream(parts), jnp.asarray(position), pages)

    def _add(self, kernel: Any, weights: Any, parts: Any) -> Any:
        return kernel(self.config, weights, self._stream(parts))

    def _unembed(self, kernel: Any, weights: Any, parts: Any) -> Any:
        x = self._stream(parts)
        blank = jnp.zeros((1, self.config.vocab_size), x.dtype)
        return kernel(self.config, weights, x, blank, jnp.zeros(1, jnp.int32))

    def _sample(
        self, kernel: Any, _: Any, logits: Any, position: Any, given: Any, temperature: Any, seed: Any
    ) -> Any:
        return kernel(self.config, _numbers(logits)[None], jnp.asarray(position), given, temperature, seed)

    def _stream(self, parts: Sequence[Any]) -> Num[Array, "1 d_model"]:
        """A layer's input: one residual, or the sum of what was left below, rounded as a cell is."""
        first, *others = (_numbers(part)[None] for part in parts)
        return self.settled(_rounded(sum(others, first), self.dtype) if others else first)


@lru_cache(maxsize=256)
def _compiled(
    config: ModelConfig,
    dtype: str,
    kind: str,
    functions: tuple[tuple[str, Any], ...],
    options: tuple[tuple[str, str], ...],
) -> Callable[..., Any]:
    arithmetic = _Arithmetic(config, dtype, dict(functions), jax.lax.optimization_barrier)
    return jax.jit(
        lambda weights, *inputs: arithmetic.run(kind, weights, *inputs), compiler_options=dict(options)
    )


def _numbers(value: Any) -> Any:
    """A value as numbers to compute with: a bfloat16 as the float32 that it is."""
    return jnp.asarray(value, jnp.float32) if value.dtype == BFLOAT16 else jnp.asarray(value)


def _rounded(value: Any, dtype: str) -> Any:
    """A number as a cell holds it; unlike a change of type, it has the derivative of what it rounds."""
    if dtype != BFLOAT16.name or not jnp.issubdtype(value.dtype, jnp.floating):
        return value
    return jax.lax.reduce_precision(value, *_BITS)


def _paged(rows: Sequence[Any], first: int) -> Any:
    """Rows of consecutive positions in whole pages, zeros around them: ``[pages, heads, page, d_head]``."""
    numbers = np if not any(isinstance(row, jax.core.Tracer) for row in rows) else jnp
    before, count = first % PAGE, len(rows)
    stacked = numbers.stack([numbers.asarray(row) for row in rows])
    padded = numbers.pad(stacked, ((before, -(before + count) % PAGE), (0, 0), (0, 0)))
    return padded.reshape(-1, PAGE, *padded.shape[1:]).swapaxes(1, 2)
