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
# One for each cell of a plan.
Marks = Int8[np.ndarray, " cells"]
# By array, and of several memories, in shapes that stand over the array.
Spread = dict[str, Int8[np.ndarray, "memories ..."]]

# Along which axis of an array its cells lie side by side, and which axes are inside a cell.
_SIDE = {"tokens": 0, "residual": 1, "logits": 0, "keys": 3, "values": 2}
_INSIDE = {"tokens": (), "residual": (2,), "logits": (1,), "keys": (1, 2), "values": (1, 3)}


@dataclass(frozen=True)
class Plan:
    """The number of cells of each array, K/V by pool, and the number of each cell."""

    planes: int
    tokens: int
    pools: int
    pages: int
    columns: int

    @classmethod
    def of(cls, state: State, pools: int) -> Plan:
        """The plan of a state with K/V, of which so many pools are in use."""
        pages, *_, columns = state.keys[0].shape
        return cls(state.residual.shape[0], state.residual.shape[1], pools, pages, columns)

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
        return {name: self._over(marks, name) for name in contents}

    def _over(self, marks: Int8[np.ndarray, "memories cells"], name: str) -> np.ndarray:
        start, end, shape = self.places[name]
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
    """Memories whose cells hold what some marks say, an array of marks a memory."""
    each = (_with_garbage(vocabulary, name.split()[0], own, garbage[name]) for name, own in contents.items())
    return [dict(zip(contents, memory, strict=True)) for memory in zip(*each, strict=True)]


# An array at a time: few executables serve for what all kinds of dispatch get.
@partial(jax.jit, static_argnums=(0, 1))
def _with_garbage(vocabulary: int, array: str, own: Array, garbage: Array) -> list[Array]:
    return [_mixed(vocabulary, array, own, marks) for marks in garbage]


def _mixed(vocabulary: int, array: str, own: Array, garbage: Array) -> Array:
    is_token = array == "tokens"
    nan = vocabulary if is_token else poison(own.dtype)
    huge = np.iinfo(np.int32).max if is_token else downcast(jnp.float32(GREAT), own.dtype)
    other = jnp.roll(own, 1, _SIDE[array])
    return jnp.where(
        garbage == OWN, own, jnp.where(garbage == NAN, nan, jnp.where(garbage == HUGE, huge, other))
    )


def divergences(
    vocabulary: int,
    contents: Contents,
    expected: Contents,
    garbage: Spread,
    roles: Spread,
    after: Sequence[Contents],
) -> list[Int8[Array, " memories"]]:
    """Return each memory's roles by array, joined by "or", of cells that hold what they should not.

    A cell to be written is to hold what is expected, one to be kept what ``with_garbage`` put there
    (which the dispatch has consumed, and which is made once more).
    """
    return [
        _diverged(
            vocabulary,
            name.split()[0],
            own,
            expected[name],
            garbage[name],
            roles[name],
            [memory[name] for memory in after],
        )
        for name, own in contents.items()
    ]


@partial(jax.jit, static_argnums=(0, 1))
def _diverged(
    vocabulary: int,
    array: str,
    own: Array,
    expected: Array,
    garbage: Array,
    roles: Array,
    after: Sequence[Array],
) -> Int8[Array, " memories"]:
    found = []
    for part, marks, role in zip(after, garbage, roles, strict=True):
        due = jnp.where(role == KEPT, _mixed(vocabulary, array, own, marks), expected)
        wrong = jnp.where(_differ(part, due), role, FREE)
        found.append(jax.lax.reduce(wrong, np.int8(0), jax.lax.bitwise_or, range(wrong.ndim)))
    return jnp.stack(found)


def _differ(a: Array, b: Array) -> Array:
    bits = {4: jnp.uint32, 2: jnp.uint16}[a.dtype.itemsize]
    return jax.lax.bitcast_convert_type(a, bits) != jax.lax.bitcast_convert_type(b, bits)
