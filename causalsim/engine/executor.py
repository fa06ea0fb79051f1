"""The executor: it follows a plan on a state, dispatch by dispatch, and decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from causalsim.engine.executables import body_of, executable
from causalsim.engine.flags import check_flags
from causalsim.engine.planning import Dispatch, Plan, scalar
from causalsim.engine.program import Batch, Program
from causalsim.engine.state import State, poisoned_again
from causalsim.errors import InputError
from causalsim.events import KINDS, EventGraph, Site
from causalsim.kernels import Kernels
from causalsim.kernels.precision import from_storage
from causalsim.models import ModelConfig


@dataclass(frozen=True, eq=False)
class Computation:
    """Weights and executables that compute any events of a model.

    Attributes:
        config: The model's configuration.
        kernels: A pure function for each kind of event.
        weights: The parameters as these kernels want them, a pytree.
    """

    config: ModelConfig
    kernels: Kernels
    weights: Any

    def __post_init__(self) -> None:
        check_flags()

    @cached_property
    def _executables(self) -> dict[str, Callable[..., Any]]:
        return {}

    def executable(self, kind: str) -> Callable[..., Any]:
        """Find the executable of a kind, as ``engine.executables`` has it."""
        # Looked up once: comparing configurations takes longer than a small dispatch.
        if kind not in self._executables:
            self._executables[kind] = executable(self.config, self.kernels, kind)
        return self._executables[kind]


@dataclass(frozen=True, slots=True)
class Output:
    """A batch as it was executed.

    Attributes:
        batch: The batch.
        value: The values of its rows, of which the first belong to its events; ``None`` if not kept.
    """

    batch: Batch
    value: Any


def execute(
    plan: Plan, state: State, computation: Computation, *, keep: bool = True
) -> tuple[State, list[Output]]:
    """Follow a plan. A pure function, but that it consumes the state's arrays.

    Runs anything: plans that break causality read poison, kernels may be any substitutes.

    Args:
        plan: What to do.
        state: Memory of the plan's layout, with as many pools.
        computation: What computes.
        keep: True to return the values of all events.

    Returns:
        The state after it, and what was executed, in this order.

    Raises:
        InputError: The plan is not of the state's graph, layout or pools.
    """
    _check_fits(plan, state)
    outputs = list[Output]()
    for dispatch in plan.dispatches:
        state, values = run_dispatch(dispatch, state, computation, keep=keep)
        outputs += map(Output, dispatch.batches, values)
    return state, outputs


def run_dispatch(
    dispatch: Dispatch, state: State, computation: Computation, *, keep: bool = True
) -> tuple[State, list[Any]]:
    """Run one dispatch on a state, whose arrays it consumes.

    Args:
        dispatch: The dispatch.
        state: The state before it.
        computation: Weights and executables.
        keep: False where no values are needed.

    Returns:
        The state after it, and a value for each batch, ``None`` where not kept.
    """
    if dispatch.recycled:
        state = _with_poison(state, dispatch.recycled)
    if dispatch.layers:
        return _layers(dispatch, state, computation, keep)
    kind = dispatch.site.kind
    runner = _RUNNERS["block" if KINDS[kind].place == "block" else body_of(kind)]
    state, value = runner(dispatch, state, computation, keep)
    return state, [value if keep else None]


def as_run(graph: EventGraph, outputs: Iterable[Output]) -> Program:
    """Make the program that was executed, batch by batch, whatever was asked for.

    Args:
        graph: The graph.
        outputs: The batches in the order of their execution.

    Returns:
        The program.
    """
    return Program(graph, tuple(output.batch for output in outputs))


def event_values(outputs: Iterable[Output]) -> Iterator[tuple[Site, Int[np.ndarray, " events"], Any]]:
    """Yield the values of events, on the host.

    Args:
        outputs: Batches and their values, padding included.

    Yields:
        Site, canonical indices, and an array (or a tree of arrays) with an event a row.
    """
    for output in outputs:
        events = output.batch.events
        if len(events):
            yield output.batch.site, events, _first(len(events), jax.device_get(output.value))


def _first(count: int, value: Any) -> Any:
    return jax.tree.map(lambda array: from_storage(array[:count]), value)


def _check_fits(plan: Plan, state: State) -> None:
    if state.graph != plan.graph:
        raise InputError("a plan runs on a state of its own graph", got=state.graph, expected=plan.graph)
    if state.layout != plan.layout or len(state.keys) < plan.placement.pools:
        raise InputError(
            "a plan runs on memory of its own layout",
            got=f"{state.layout} with {len(state.keys)} pools",
            expected=f"{plan.layout} with {plan.placement.pools}",
        )


# -- a dispatch ------------------------------------------------------------------------------------


def _with_poison(state: State, places: Iterable[tuple[int, int]]) -> State:
    """Make some pages, by pool and place, as if never written."""
    keys, values = list(state.keys), list(state.values)
    for pool in {pool for pool, _ in places}:
        own = [place for other, place in places if other == pool]
        chosen = np.pad(np.array(own, np.int32), (0, state.layout.pages - len(own)))
        keys[pool], values[pool] = poisoned_again(keys[pool], values[pool], chosen, np.int32(len(own)))
    return replace(state, keys=tuple(keys), values=tuple(values))


def _with_pools(state: State, pools: Iterable[int], keys: Iterable[Any], values: Iterable[Any]) -> State:
    all_keys, all_values = list(state.keys), list(state.values)
    for pool, own_keys, own_values in zip(pools, keys, values, strict=True):
        all_keys[pool], all_values[pool] = own_keys, own_values
    return with_cells(state, keys=tuple(all_keys), values=tuple(all_values))


def with_cells(state: State, **cells: Any) -> State:
    """The same as ``dataclasses.replace``, which takes longer than some dispatches' start."""
    return State(**{**vars(state), **cells})


def _weights(dispatch: Dispatch, computation: Computation) -> Any:
    kind, layer = dispatch.site
    own = computation.weights
    return own["layers"][layer][kind] if KINDS[kind].place == "layer" else own[kind]


def _layers(
    dispatch: Dispatch, state: State, computation: Computation, keep: bool
) -> tuple[State, list[Any]]:
    first, pools = dispatch.site.layer, dispatch.pools
    weights = computation.weights["layers"][first : first + dispatch.layers]
    cells = state.residual, [state.keys[pool] for pool in pools], [state.values[pool] for pool in pools]
    run = computation.executable("layers")
    residual, keys, values, made = run(weights, *cells, dispatch.indices)
    state = _with_pools(with_cells(state, residual=residual), pools, keys, values)
    return state, made if keep else [None] * len(made)


def _embed(dispatch: Dispatch, state: State, computation: Computation, _keep: bool) -> tuple[State, Any]:
    run, weights = computation.executable("embed"), _weights(dispatch, computation)
    residual, value = run(weights, state.residual, state.tokens, dispatch.indices)
    return with_cells(state, residual=residual), value


def _kv(dispatch: Dispatch, state: State, computation: Computation, _keep: bool) -> tuple[State, Any]:
    (pool,), run = dispatch.pools, computation.executable(dispatch.site.kind)
    cells = state.keys[pool], state.values[pool], state.residual
    keys, values, value = run(_weights(dispatch, computation), *cells, dispatch.indices)
    return _with_pools(state, (pool,), [keys], [values]), value


def _attend(dispatch: Dispatch, state: State, computation: Computation, _keep: bool) -> tuple[State, Any]:
    (pool,), run = dispatch.pools, computation.executable(dispatch.site.kind)
    cells = state.residual, state.keys[pool], state.values[pool]
    residual, value = run(_weights(dispatch, computation), *cells, dispatch.indices)
    return with_cells(state, residual=residual), value


def _add(dispatch: Dispatch, state: State, computation: Computation, _keep: bool) -> tuple[State, Any]:
    run = computation.executable(dispatch.site.kind)
    indices = dispatch.indices._replace(table=None, window=None, extent=None)
    residual, value = run(_weights(dispatch, computation), state.residual, indices)
    return with_cells(state, residual=residual), value


def _block(dispatch: Dispatch, state: State, computation: Computation, keep: bool) -> tuple[State, Any]:
    """The sublayers of a block, whose K/V was made before; the residual that it leaves."""
    layer, value = dispatch.site.layer, None
    for kind in computation.config.wiring.sublayers:
        if KINDS[kind].writes != "kv":
            one = replace(dispatch, batches=(replace(dispatch.batches[0], site=Site(kind, layer)),))
            state, value = _RUNNERS[body_of(kind)](one, state, computation, keep)
    if not computation.config.parallel_residual:
        return state, value
    above = dispatch.indices._replace(table=None, window=None, extent=None, layer=scalar(layer + 1))
    return state, computation.executable("stream")(state.residual, above)


def _unembed(dispatch: Dispatch, state: State, computation: Computation, keep: bool) -> tuple[State, Any]:
    run, weights = computation.executable("unembed"), _weights(dispatch, computation)
    state = with_cells(state, logits=run(weights, state.logits, state.residual, dispatch.indices))
    # A copy of so many numbers is made only for those who keep it.
    return state, computation.executable("logits")(state.logits, dispatch.indices) if keep else None


def _sample(dispatch: Dispatch, state: State, computation: Computation, _keep: bool) -> tuple[State, Any]:
    run = computation.executable("sample")
    tokens, value = run(state.tokens, state.logits, state.sampling, dispatch.indices)
    return with_cells(state, tokens=tokens), value


_RUNNERS: dict[str, Callable[[Dispatch, State, Computation, bool], tuple[State, Any]]] = {
    "embed": _embed,
    "kv": _kv,
    "attend": _attend,
    "add": _add,
    "block": _block,
    "unembed": _unembed,
    "sample": _sample,
}
