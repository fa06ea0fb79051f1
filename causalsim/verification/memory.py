"""Memory in which only chosen cells hold what a run would have left there; garbage fills the others.

All other cells hold NaN, huge numbers, the contents of other cells, or any mixture of these and
of their own contents. Whoever reads a cell that is not chosen is seen by some of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int8, Shaped

from causalsim.engine.cells import Cell
from causalsim.engine.state import State
from causalsim.kernels.precision import downcast, poison

GARBAGE = ("NaN", "huge", "scrambled", "mixed")
OWN, NAN, HUGE, OTHER = range(4)
# What becomes of a cell: it may hold anything, must hold what is expected, or must stay as it is.
FREE, WRITTEN, KEPT = range(3)
# Far beyond what a model computes with and still finite, though its products are not.
GREAT = 1e30

Contents = dict[str, Shaped[Array, "..."]]
# Over each of some arrays, the shape of one memory's marks.
Shapes = tuple[tuple[int, ...], ...]
# One for each cell of a plan.
Marks = Int8[np.ndarray, " cells"]

# Along which axis of an array its cells lie side by side, and which axes are inside a cell.
_SIDE = {"tokens": 0, "residual": 1, "logits": 0, "keys": 3, "values": 2}
_INSIDE = {"tokens": (), "residual": (2,), "logits": (1,), "keys": (1, 2), "values": (1, 3)}


@dataclass(frozen=True, eq=False)
class Spread:
    """Marks of several memories for some arrays: together, since each array that is handed over takes time.

    Attributes:
        marks: The marks, array by array.
        shapes: The shape over each array, of one memory.
    """

    marks: Int8[np.ndarray, "memories cells"]
    shapes: Shapes

    @classmethod
    def of(cls, each: Iterable[Int8[np.ndarray, "memories ..."]]) -> Spread:
        """Join marks that stand over arrays."""
        held = list(each)
        flat = [part.reshape(len(part), -1) for part in held]
        return cls(np.concatenate(flat, axis=1), tuple(part.shape[1:] for part in held))


@dataclass(frozen=True)
class Plan:
    """The number of cells of each array, K/V by pool, and the number of each cell."""

    planes: int
    tokens: int
    pools: int
    pages: int
    columns: int

    @classmethod
    def of(cls, state: State) -> Plan:
        """The plan of a state with K/V."""
        pages, *_, columns = state.keys[0].shape
        return cls(state.residual.shape[0], state.residual.shape[1], len(state.keys), pages, columns)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        one, kv = (self.tokens,), (self.pools, self.pages, self.columns)
        return {"tokens": one, "residual": (self.planes, *one), "kv": kv, "logits": one}

    @cached_property
    def starts(self) -> dict[str, int]:
        """The number of the first cell of each array, and of them all."""
        ends = np.cumsum([0, *map(np.prod, self.shapes.values())]).tolist()
        return dict(zip((*self.shapes, "all"), ends, strict=True))

    def number(self, cell: Cell) -> int:
        """The number of a cell among all."""
        return self.starts[cell.array] + int(np.ravel_multi_index(cell.place, self.shapes[cell.array]))

    @cached_property
    def scratch(self) -> list[int]:
        """The cells where padding writes: behind all tokens, and in the last page."""
        last = [Cell("residual", (plane, self.tokens - 1)) for plane in range(self.planes)]
        last += [Cell("tokens", (self.tokens - 1,)), Cell("logits", (self.tokens - 1,))]
        kv = np.ndindex(self.pools, 1, self.columns)
        return [*map(self.number, last), *(self.number(Cell("kv", (b, self.pages - 1, c))) for b, _, c in kv)]

    def garbage(self, kind: str, rng: np.random.Generator) -> Marks:
        """Marks for what each cell holds that is not chosen."""
        if kind == "mixed":
            return rng.integers(OWN, 1 + OTHER, self.starts["all"], np.int8)
        return np.full(self.starts["all"], 1 + GARBAGE.index(kind), np.int8)

    def spread(self, marks: Int8[np.ndarray, "memories cells"], contents: Iterable[str]) -> Spread:
        """The marks of several memories for some arrays."""
        return Spread.of(self._over(marks, *self.places[name]) for name in contents)

    def _over(
        self, marks: Int8[np.ndarray, "memories cells"], start: int, end: int, shape: tuple[int, ...]
    ) -> Int8[np.ndarray, "memories ..."]:
        return marks[:, start:end].reshape(len(marks), *shape)

    @cached_property
    def places(self) -> dict[str, tuple[int, int, tuple[int, ...]]]:
        """Places of the marks of each array, and their shape over the array; K/V by pool."""
        found = {}
        for kind, shape in self.shapes.items():
            pools = range(self.pools) if kind == "kv" else (None,)
            for pool, array in product(pools, ("keys", "values") if kind == "kv" else (kind,)):
                own = shape if pool is None else shape[1:]
                start = self.starts[kind] + (pool or 0) * prod(own)
                over = np.expand_dims(np.empty(own, np.int8), _INSIDE[array]).shape
                found[array if pool is None else f"{array} {pool}"] = start, start + prod(own), over
        return found


def with_garbage(vocabulary: int, contents: Contents, garbage: Spread) -> list[Contents]:
    """Memories whose cells hold what some marks say, a row of marks a memory."""
    own = [*contents.values()]
    each = _with_garbage(vocabulary, _arrays(contents), garbage.shapes, own, garbage.marks)
    return [dict(zip(contents, memory, strict=True)) for memory in zip(*each, strict=True)]


@partial(jax.jit, static_argnums=(0, 1, 2))
def _with_garbage(
    vocabulary: int, arrays: Sequence[str], shapes: Shapes, contents: Sequence[Array], garbage: Array
) -> list[list[Array]]:
    each = zip(arrays, contents, _over_arrays(garbage, shapes), strict=True)
    return [[*_mixed(vocabulary, array, own, marks)] for array, own, marks in each]


def _over_arrays(marks: Array, shapes: Shapes) -> list[Array]:
    """The marks over each array, from those of all."""
    ends = np.cumsum([prod(shape) for shape in shapes])[:-1].tolist()
    parts = zip(jnp.split(marks, ends, axis=1), shapes, strict=True)
    return [part.reshape(len(marks), *shape) for part, shape in parts]


def _arrays(contents: Contents) -> tuple[str, ...]:
    """The arrays of which these are; whichever pools they are, the same executables serve."""
    return tuple(name.split()[0] for name in contents)


def _mixed(vocabulary: int, array: str, own: Array, garbage: Array) -> Array:
    """The contents of several memories, in one array."""
    is_token = array == "tokens"
    nan = vocabulary if is_token else poison(own.dtype)
    huge = np.iinfo(np.int32).max if is_token else downcast(jnp.float32(GREAT), own.dtype)
    other = jnp.roll(own, 1, _SIDE[array])
    filled = jnp.where(garbage == NAN, nan, jnp.where(garbage == HUGE, huge, other))
    return jnp.where(garbage == OWN, own, filled)


def divergences(
    vocabulary: int,
    contents: Contents,
    expected: Contents,
    garbage: Spread,
    roles: Spread,
    after: Sequence[Contents],
) -> Int8[Array, " memories"]:
    """Return each memory's roles, joined by "or", of cells that hold what they should not.

    A cell to be written is to hold what is expected, one to be kept what ``with_garbage`` put there
    (which the dispatch has consumed, and which is made once more).
    """
    each = [(own, expected[name], [memory[name] for memory in after]) for name, own in contents.items()]
    arrays = _arrays(contents)
    return _divergences(vocabulary, arrays, garbage.shapes, each, garbage.marks, roles.marks)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _divergences(
    vocabulary: int,
    arrays: Sequence[str],
    shapes: Shapes,
    each: Sequence[tuple[Any, ...]],
    garbage: Array,
    roles: Array,
) -> Int8[Array, " memories"]:
    marks = _over_arrays(garbage, shapes), _over_arrays(roles, shapes)
    found = [
        _diverged(vocabulary, array, own, due, over, role, after)
        for array, (own, due, after), over, role in zip(arrays, each, *marks, strict=True)
    ]
    return jax.lax.reduce(jnp.stack(found), np.int8(0), jax.lax.bitwise_or, (0,))


def _diverged(
    vocabulary: int,
    array: str,
    own: Array,
    expected: Array,
    garbage: Array,
    roles: Array,
    after: Sequence[Array],
) -> Int8[Array, " memories"]:
    due = jnp.where(roles == KEPT, _mixed(vocabulary, array, own, garbage), expected)
    # Of a cell first: most of memory is inside cells.
    wrong = _differ(jnp.stack(after), due).any([1 + axis for axis in _INSIDE[array]], keepdims=True)
    found = jnp.where(wrong, roles, FREE)
    return jax.lax.reduce(found, np.int8(0), jax.lax.bitwise_or, range(1, found.ndim))


def _differ(a: Array, b: Array) -> Array:
    bits = {4: jnp.uint32, 2: jnp.uint16}[a.dtype.itemsize]
    return jax.lax.bitcast_convert_type(a, bits) != jax.lax.bitcast_convert_type(b, bits)
