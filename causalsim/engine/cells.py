"""Cells: which places of a state an event writes, for whoever must poison or compare them one by one.

``cells_written`` says what is declared, ``cells_changed`` what is seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from causalsim.engine.state import State
from causalsim.events import Event
from causalsim.kernels import PAGE
from causalsim.kernels.precision import downcast, poison


class Cell(NamedTuple):
    """Memory that is written as a whole, at (token), (plane, token) or (layer, page, column) of an array."""

    array: Literal["tokens", "residual", "kv", "logits"]
    place: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.array}[{', '.join(map(str, self.place))}]"


def cells_written(state: State, event: Event) -> tuple[Cell, ...]:
    """The cells that an event of a sublayer graph leaves its value in."""
    token = int(state.layout.first_tokens()[event.request]) + event.position
    if event.kind == "kv":
        page = int(state.layout.first_pages()[event.request]) + event.position // PAGE
        return (Cell("kv", (event.layer, page, event.position % PAGE)),)
    if event.kind == "unembed":
        return (Cell("logits", (token,)),)
    if event.kind == "sample":
        return (Cell("tokens", (token + 1,)),)
    return tuple(Cell("residual", (plane, token)) for plane in _planes(state, event))


def _planes(state: State, event: Event) -> tuple[int, ...]:
    if not state.model.config.parallel_residual:
        return (0,)
    parity = event.layer % 2
    return {"embed": (parity, 2 + parity), "attn": (parity,), "mlp": (2 + parity,)}[event.kind]


def cells_changed(before: State, after: State) -> Iterator[Cell]:
    """The cells in which two states of one layout differ in a bit; scratch, where padding writes, is none."""
    layout = before.layout
    inside: dict[Any, tuple[int, ...]] = {"tokens": (), "residual": (2,), "logits": (1,)}
    for array, axes in inside.items():
        differs = _differ(getattr(before, array), getattr(after, array), axes)
        yield from (Cell(array, tuple(at)) for at in np.argwhere(differs).tolist() if at[-1] < layout.tokens)
    for layer, banks in enumerate(zip(before.keys, after.keys, before.values, after.values, strict=True)):
        differs = _differ(*banks[:2], (1, 2)) | _differ(*banks[2:], (1, 3))
        yield from (Cell("kv", (layer, *at)) for at in np.argwhere(differs[: layout.pages]).tolist())


def _differ(a: Any, b: Any, inside: tuple[int, ...]) -> Bool[np.ndarray, "..."]:
    """Whether cells differ in a bit; some axes run inside a cell."""
    bits = np.dtype(f"u{a.dtype.itemsize}")
    return np.asarray((np.asarray(a).view(bits) != np.asarray(b).view(bits)).any(inside))


def poisoned(state: State, cells: Iterable[Cell]) -> State:
    """A copy of a state with some cells as if never written."""
    copy, nan = state.copy(), poison(state.residual.dtype)
    for (array, layer), places in _by_array(cells).items():
        if array == "kv":
            keys, values = copy.keys[layer], copy.values[layer]
            marked = _marked((len(keys), PAGE), places)
            copy.keys[layer] = jnp.where(marked[:, None, None, :], nan, keys)
            copy.values[layer] = jnp.where(marked[:, None, :, None], nan, values)
        elif array == "tokens":
            unknown = state.model.config.vocab_size
            copy.tokens = jnp.where(_marked(copy.tokens.shape, places), unknown, copy.tokens)
        else:
            held = getattr(copy, array)
            setattr(copy, array, jnp.where(_marked(held.shape[:-1], places)[..., None], nan, held))
    return copy


def _by_array(cells: Iterable[Cell]) -> dict[tuple[str, int], list[tuple[int, ...]]]:
    """Places by array, those of K/V by layer."""
    found: dict[tuple[str, int], list[tuple[int, ...]]] = {}
    for array, place in cells:
        layer = place[0] if array == "kv" else 0
        found.setdefault((array, layer), []).append(place[1:] if array == "kv" else place)
    return found


def _marked(shape: tuple[int, ...], places: list[tuple[int, ...]]) -> Bool[np.ndarray, "..."]:
    """Which cells of an array are meant: a mask, since lists of places compile anew for each length."""
    marked = np.zeros(shape, bool)
    marked[tuple(np.array(places).T)] = True
    return marked


def littered(state: State, rng: np.random.Generator) -> State:
    """A copy of a fresh state with finite litter in place of poison, prompts kept.

    On it a read of what nobody wrote goes unnoticed, until that cell is poisoned.
    """

    def litter(cells: Any) -> Any:
        return downcast(jnp.asarray(rng.standard_normal(cells.shape, dtype=np.float32)), cells.dtype)

    tokens, vocabulary = np.array(state.tokens), state.model.config.vocab_size
    unknown = tokens == vocabulary
    tokens[unknown] = rng.integers(vocabulary, size=int(unknown.sum()))
    copy = state.copy()
    copy.tokens, copy.residual, copy.logits = (
        jnp.asarray(tokens),
        litter(state.residual),
        litter(state.logits),
    )
    copy.keys, copy.values = list(map(litter, state.keys)), list(map(litter, state.values))
    return copy
