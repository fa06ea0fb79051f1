"""Batch invariance for other people's kernels: the classes of equal bits that a row-wise function has.

One row stands in every row of a batch, so that rows differ in nothing but their place. Then one
thing is varied at a time: how many rows there are, what stands in the others, how long the buffer is
that is read, what its padding holds. Every batch runs twice.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from causalsim.arguments import as_int
from causalsim.errors import InputError
from causalsim.progress import Progress, silent
from causalsim.testing.bits import Arrays, same_bits
from causalsim.testing.classes import Axis, InvarianceClasses, Series, bit_classes
from causalsim.testing.rows import OTHERS, PROBES, ZEROS, FunctionRows, numbered, rows_of

# Loops change where vectors and tiles are full: at powers of two, below and above.
BATCH_SIZES = tuple(sorted({2**k + off for k in range(9) for off in (-1, 0, 1)} - {0, 257}))
HUGE = 1e30


def invariance_classes(
    function: Callable[..., Any],
    rows: Any,
    *,
    buffer: Any = None,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    extents: Sequence[int] | None = None,
    array: str = "numpy",
    progress: Progress = silent,
) -> InvarianceClasses:
    """Sort a function's rows into classes of equal bits, along whatever they should not depend on.

    Tried, for up to eight of the rows: every batch twice; every place of every batch size; every extent,
    with two kinds of padding; for the first: other rows, huge numbers and NaN in each other row. One
    class along every axis is what He et al. 2025 (Defeating Nondeterminism in LLM Inference) call
    batch invariance. Where a batch is not repeatable no other axis is told.

    Args:
        function: ``function(rows)`` takes an array ``Shaped[Array, "rows ..."]`` and returns one, or
            several, with a value for each row. With a buffer: ``function(rows, buffer, filled)``.
        rows: At least two example rows, or a tuple of arrays that it takes side by side.
        buffer: An array ``Shaped[Array, "filled ..."]``, or a tuple of them, that all rows read, padded
            to an extent, and of which only the first ``filled`` entries count.
        batch_sizes: The numbers of rows to try.
        extents: The padded lengths to try; the first serves where the buffer is not what is varied.
        array: The library whose arrays the function is given: numpy, jax or torch.
        progress: ``progress(stage, done, total)`` is called as work goes on.

    Returns:
        The classes along each axis.

    Raises:
        InputError: For a function that raises, gives another number of rows back, or rows of another
            shape or dtype from one batch to another.

    >>> found = invariance_classes(lambda x: x * len(x), np.float32([[1], [3]]), batch_sizes=[1, 2])
    >>> [each.members for each in found["batch size"].classes], found["place in the batch"].holds
    ([(1,), (2,)], True)
    """
    given = FunctionRows.of(function, array, rows, buffer)
    counts = _counts("batch sizes", batch_sizes, 1)
    extents = _extents(given, extents)
    batched, copies = replace(given, extent=extents[0]), {}
    for done, count in enumerate(counts):
        progress("batch sizes and places", done, len(counts))
        copies[count] = batched.copies(count)
    places = Axis("place in the batch", tuple(_places(*each) for each in copies.items()))
    axes = [_batch_size(copies), places, _neighbours(batched, copies, progress)]
    if batched.buffer:
        axes += _buffer_axes(batched, _few(counts), extents, progress)
    # Where the same batch gives other bits, differences along other axes mean nothing.
    told = (batched.repetition(), *([] if batched.seen.unrepeated else axes))
    return InvarianceClasses(_name(function), told, batched.seen.batches, _environment(array))


# -- axes ----------------------------------------------------------------------------------------


def _batch_size(copies: dict[int, Arrays]) -> Axis:
    values = {count: _at(parts, 0) for count, parts in copies.items()}
    return Axis("batch size", (Series("rows", bit_classes(values, numbered("row", PROBES))),))


def _places(count: int, parts: Arrays) -> Series:
    values = {place: _at(parts, place) for place in range(count)}
    return Series(f"places of {rows_of(count)}", bit_classes(values, numbered("row", PROBES)))


def _neighbours(batched: FunctionRows, copies: dict[int, Arrays], progress: Progress) -> Axis:
    series = []
    for done, (count, parts) in enumerate(copies.items()):
        progress("neighbours", done, len(copies))
        alone = tuple(part[0] for part in parts)
        values = {"copies of itself": alone}
        for name, content in _contents(batched.rows):
            values[name] = _beside(replace(batched, content=content), alone)
        series.append(Series(f"{rows_of(count)}, beside", bit_classes(values, numbered("place", count))))
    return Axis("neighbours", tuple(series))


def _beside(batched: FunctionRows, alone: Arrays) -> Arrays:
    """Return the first row's value at every place, beside garbage; where it is anything else, that counts.

    Half of the places hold garbage, by each binary digit of their number: so every row is once beside
    garbage in every other one.
    """
    count = len(alone[0])
    found, diverged = tuple(part.copy() for part in alone), np.zeros(count, bool)
    for mask in halves(count):
        out = batched.run(np.zeros(count, int), ~mask)
        for place in np.flatnonzero(mask & ~diverged):
            seen, before = (tuple(part[place] for part in parts) for parts in (out, alone))
            if not same_bits(seen, before):
                diverged[place] = True
                for part, value in zip(found, seen, strict=True):
                    part[place] = value
    return found


def halves(count: int) -> Iterator[np.ndarray]:
    """Masks over places, by each binary digit of their numbers and by its opposite."""
    for digit in range((count - 1).bit_length()):
        high = np.arange(count) >> digit & 1 == 1
        yield from (~high, high)


def _contents(rows: Arrays) -> Iterator[tuple[str, Arrays]]:
    """Garbage for other rows; whole numbers are other rows' always, since they may be indices."""
    others = tuple(part[1:] for part in rows)
    yield "other rows", others
    for name, number in (("huge numbers", HUGE), ("NaN", np.nan)):
        if any(map(_has_nan, rows)):
            yield name, tuple(_full(part, number) if _has_nan(part) else part for part in others)


def _full(like: np.ndarray, number: float) -> np.ndarray:
    # Of the narrow types, huge is infinite or NaN, which may not stay without effect either.
    with np.errstate(all="ignore"):
        return np.full(like.shape, number).astype(like.dtype)


def _has_nan(part: np.ndarray) -> bool:
    return part.dtype.kind not in "biu"


def _buffer_axes(
    batched: FunctionRows, counts: list[int], extents: list[int], progress: Progress
) -> list[Axis]:
    lengths, paddings = [], []
    for done, count in enumerate(counts):
        values: dict[int, Arrays] = {}
        for extent in extents:
            progress("buffer lengths", done * len(extents) + len(values), len(counts) * len(extents))
            held_by = {name: replace(batched, extent=extent, padding=name) for name in (ZEROS, OTHERS)}
            padded = {name: _at(rows.copies(count), 0) for name, rows in held_by.items()}
            values[extent] = padded[ZEROS]
            held = f"{rows_of(count)}, {batched.filled} of {extent} entries filled, padding of"
            paddings.append(Series(held, bit_classes(padded, numbered("row", PROBES))))
        held = f"{rows_of(count)}, a buffer of"
        lengths.append(Series(held, bit_classes(values, numbered("row", PROBES))))
    return [Axis("buffer length", tuple(lengths)), Axis("padding", tuple(paddings))]


# -- what was asked ------------------------------------------------------------------------------


def _counts(name: str, given: Sequence[int], least: int) -> list[int]:
    counts = [as_int(each) for each in given]
    if not counts or any(each is None or each < least for each in counts):
        raise InputError(f"{name} are whole numbers of at least {least}", got=list(given))
    return sorted({each for each in counts if each is not None})


def _extents(batched: FunctionRows, given: Sequence[int] | None) -> list[int]:
    if not batched.buffer:
        if given is not None:
            raise InputError("extents are of a buffer", got="extents without a buffer", hint="Give a buffer.")
        return [0]
    return _counts("extents", _usual_extents(batched.filled) if given is None else given, batched.filled)


def _usual_extents(filled: int) -> list[int]:
    """The next sixteen lengths, then four to each doubling up to 256 or twice as many entries."""
    top = max(256, 2 * filled)
    steps = chain.from_iterable((2**k * quarter // 4 for quarter in (4, 5, 6, 7)) for k in range(2, 40))
    wide = [step for step in steps if filled + 16 < step <= top]
    return [*range(filled, filled + 17), *wide]


def _few(counts: list[int]) -> list[int]:
    """The first, the middle and the last."""
    return sorted({counts[0], counts[len(counts) // 2], counts[-1]})


# -- words ---------------------------------------------------------------------------------------


def _at(parts: Arrays, place: int) -> Arrays:
    return tuple(part[:, place] for part in parts)


def _name(function: Callable[..., Any]) -> str:
    name = getattr(function, "__qualname__", None) or repr(function)
    return f"{getattr(function, '__module__', '')}:{name}".lstrip(":")


def _environment(array: str) -> dict[str, str]:
    """The versions of what is in memory: bits are theirs and the machine's."""
    loaded = {name: sys.modules.get(name) for name in ("numpy", "jaxlib", "torch")}
    versions = {name: str(getattr(module, "__version__", "")) for name, module in loaded.items() if module}
    return {"arrays": array, "machine": platform.machine(), **versions}
