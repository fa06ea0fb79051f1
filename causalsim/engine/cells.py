"""Cells: which places of a state an event writes, for whoever must poison or compare them one by one.

``cells_written`` says what is declared, ``cells_changed`` what is seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from causalsim.engine.state import State
from causalsim.events import KINDS, Event
from causalsim.kernels import PAGE
from causalsim.kernels.precision import downcast, poison


class Cell(NamedTuple):
    """Memory that is written as a whole, at (token), (plane, token) or (layer, page, column) of an array."""

    array: Literal["tokens", "residual", "kv", "logits"]
    place: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.array}[{', '.join(map(str, self.place))}]"


def cells_written(state: State, event: Event) -> tuple[Cell, ...]:
    """List the cells that an event of a sublayer graph leaves its value in."""
    kind, layout = KINDS[event.kind], state.layout
    token = int(layout.first_tokens()[event.request]) + event.position
    if kind.writes == "kv":
        page = int(layout.first_pages()[event.request]) + event.position // PAGE
        return (Cell("kv", (event.layer, page, event.position % PAGE)),)
    if kind.writes == "token":
        sampled = kind.place == "feedback"
        return (Cell("tokens", (token + 1,)) if sampled else Cell("logits", (token,)),)
    return tuple(Cell("residual", (plane, token)) for plane in _planes(state, event))


def _planes(state: State, event: Event) -> tuple[int, ...]:
    wiring = state.graph.wiring
    if not wiring.parallel_residual:
        return (0,)
    writers = [kind for kind in wiring.sublayers if KINDS[kind].writes == "residual"]
    # An embedding stands where all sublayers below the first layer would have left something.
    own = [writers.index(event.kind)] if event.kind in writers else range(len(writers))
    return tuple(event.layer % 2 + 2 * number for number in own)


def cells_changed(before: State, after: State) -> Iterator[Cell]:
    """Yield the cells, but scratch, in which two states of one layout differ in a bit."""
    layout = before.layout
    inside: dict[Any, tuple[int, ...]] = {"tokens": (), "residual": (2,), "logits": (1,)}
    for array, axes in inside.items():
        differs = _differ(getattr(before, array), getattr(after, array), axes)
        yield from (Cell(array, tuple(at)) for at in np.argwhere(differs).tolist() if at[-1] < layout.tokens)
    for layer, pools in enumerate(zip(before.keys, after.keys, before.values, after.values, strict=True)):
        differs = _differ(*pools[:2], (1, 2)) | _differ(*pools[2:], (1, 3))
        yield from (Cell("kv", (layer, *at)) for at in np.argwhere(differs[: layout.pages]).tolist())


def _differ(a: Any, b: Any, inside: tuple[int, ...]) -> Bool[np.ndarray, "..."]:
    """True for cells that differ in a bit; some axes run inside a cell."""
    bits = np.dtype(f"u{a.dtype.itemsize}")
    return np.asarray((np.asarray(a).view(bits) != np.asarray(b).view(bits)).any(inside))


def poisoned(state: State, cells: Iterable[Cell]) -> State:
    """Copy a state with some cells as if never written."""
    copy = state.copy()
    nan, held = poison(state.residual.dtype), copy.cells()
    held |= {"keys": list(copy.keys), "values": list(copy.values)}
    for (array, layer), places in _by_array(cells).items():
        if array == "kv":
            marked = _marked((len(held["keys"][layer]), PAGE), places)
            held["keys"][layer] = jnp.where(marked[:, None, None, :], nan, held["keys"][layer])
            held["values"][layer] = jnp.where(marked[:, None, :, None], nan, held["values"][layer])
        elif array == "tokens":
            unknown = state.logits.shape[1]
            held[array] = jnp.where(_marked(held[array].shape, places), unknown, held[array])
        else:
            marked = _marked(held[array].shape[:-1], places)
            held[array] = jnp.where(marked[..., None], nan, held[array])
    return replace(copy, **{**held, "keys": tuple(held["keys"]), "values": tuple(held["values"])})


def _by_array(cells: Iterable[Cell]) -> dict[tuple[str, int], list[tuple[int, ...]]]:
    """Places by array, those of K/V by layer."""
    found: dict[tuple[str, int], list[tuple[int, ...]]] = {}
    for array, place in cells:
        layer = place[0] if array == "kv" else 0
        found.setdefault((array, layer), []).append(place[1:] if array == "kv" else place)
    return found


def _marked(shape: tuple[int, ...], places: list[tuple[int, ...]]) -> Bool[np.ndarray, "..."]:
    """The cells of an array that are meant: a mask, since lists of places compile anew for each length."""
    marked = np.zeros(shape, bool)
    marked[tuple(np.array(places).T)] = True
    return marked


def with_garbage(state: State, rng: np.random.Generator) -> State:
    """Return a copy of a fresh state with finite garbage in place of poison, prompts kept.

    On it a read of what nobody wrote goes unnoticed, until that cell is poisoned.
    """

    def garbage(cells: Any) -> Any:
        return downcast(jnp.asarray(rng.standard_normal(cells.shape, dtype=np.float32)), cells.dtype)

    tokens, vocabulary = np.array(state.tokens), state.logits.shape[1]
    unknown = tokens == vocabulary
    tokens[unknown] = rng.integers(vocabulary, size=int(unknown.sum()))
    residual, logits = garbage(state.residual), garbage(state.logits)
    keys, values = tuple(map(garbage, state.keys)), tuple(map(garbage, state.values))
    return replace(
        state, tokens=jnp.asarray(tokens), residual=residual, logits=logits, keys=keys, values=values
    )
