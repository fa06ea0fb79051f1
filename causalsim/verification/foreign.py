"""Batch invariance for other people's kernels: which classes of equal bits a row-wise function has.

One row stands in every row of a batch, so that rows differ in nothing but their place. Then one
thing is varied at a time: how many rows there are, what stands in the others, how long the buffer is
that is read, what its padding holds. Every batch runs twice.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from causalsim.arguments import as_int
from causalsim.errors import InputError
from causalsim.progress import Progress, silent
from causalsim.verification.arrays import Arrays
from causalsim.verification.classes import bit_classes, first_element
from causalsim.verification.invariance_report import Axis, InvarianceClasses, Series
from causalsim.verification.rowwise import OTHERS, PROBES, ZEROS, Rowwise, numbered, rows_of

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
    """Which classes of equal bits the rows of a function have, whatever they should not depend on.

    ``function(rows)`` takes an array ``Shaped[Array, "rows ..."]`` and returns one, or several,
    with a value for each row; ``rows`` are at least two example rows, or a tuple of arrays that it
    takes side by side. With a ``buffer``, an array ``Shaped[Array, "filled ..."]`` or a tuple of
    them, it is called as ``function(rows, buffer, filled)``: all rows read the same buffer, padded
    to an extent, of which only the first ``filled`` entries count. ``batch_sizes`` and ``extents`` are
    the batch sizes and padded lengths to try; the first extent serves where the buffer is not what is
    varied. ``array`` is the library whose arrays the function is given: numpy, jax or torch.

    Tried, for up to eight of the rows: every batch twice; every place of every batch size; every extent,
    with two kinds of padding; for the first: other rows, huge numbers and NaN in each other row. One
    class along every axis is what He et al. 2025 (Defeating Nondeterminism in LLM Inference) call
    batch invariance. Where a batch is not repeatable no other axis is told. Raises ``InputError``
    for a function that raises, gives another number of rows back, or rows of another shape or dtype
    from one batch to another.

    >>> found = invariance_classes(lambda x: x * len(x), np.float32([[1], [3]]), batch_sizes=[1, 2])
    >>> [each.members for each in found["batch size"].classes], found["place in the batch"].holds
    ([(1,), (2,)], True)
    """
    batched = Rowwise.of(function, array, rows, buffer)
    counts = _counts("batch sizes", batch_sizes, 1)
    extents = _extents(batched, extents)
    copies = {}
    for done, count in enumerate(counts):
        progress("batch sizes and places", done, len(counts))
        copies[count] = batched.copies(count, extents[0])
    axes = [_batch_size(copies), _batch_place(copies), _neighbours(batched, copies, extents[0], progress)]
    if batched.buffer:
        axes += _buffer_axes(batched, _few(counts), extents, progress)
    # Where the same batch gives other bits, differences along other axes mean nothing.
    told = (batched.repetition(), *([] if batched.unrepeated else axes))
    return InvarianceClasses(_name(function), told, batched.batches, _environment(array))


# -- axes ----------------------------------------------------------------------------------------


def _batch_size(copies: dict[int, Arrays]) -> Axis:
    values = {count: _at(parts, 0) for count, parts in copies.items()}
    return Axis("batch size", (Series("rows", bit_classes(values, numbered("row", PROBES))),))


def _batch_place(copies: dict[int, Arrays]) -> Axis:
    return Axis("place in the batch", tuple(_places(count, parts) for count, parts in copies.items()))


def _places(count: int, parts: Arrays) -> Series:
    values = {place: _at(parts, place) for place in range(count)}
    return Series(f"places of {rows_of(count)}", bit_classes(values, numbered("row", PROBES)))


def _neighbours(batched: Rowwise, copies: dict[int, Arrays], extent: int, progress: Progress) -> Axis:
    series = []
    for done, (count, parts) in enumerate(copies.items()):
        progress("neighbours", done, len(copies))
        alone = tuple(part[0] for part in parts)
        values = {"copies of itself": alone}
        for name, content in _contents(batched.rows, count):
            values[name] = _beside(batched, content, alone, extent)
        series.append(Series(f"{rows_of(count)}, beside", bit_classes(values, numbered("place", count))))
    return Axis("neighbours", tuple(series))


def _beside(batched: Rowwise, content: Arrays, alone: Arrays, extent: int) -> Arrays:
    """What the first row gives at every place, beside content; where that is anything else, that counts.

    Half of the rows hold content, by each binary digit of their place: so every row is once beside
    content in every other one.
    """
    count = len(content[0])
    found, diverged = tuple(part.copy() for part in alone), np.zeros(count, bool)
    for mask in _halves(count):
        given = tuple(
            np.where(mask.reshape(-1, *[1] * (part.ndim - 1)), row[:1], part).astype(row.dtype)
            for row, part in zip(batched.rows, content, strict=True)
        )
        out = batched.run(given, extent)
        for place in np.flatnonzero(mask & ~diverged):
            seen, before = ([part[place : place + 1] for part in parts] for parts in (out, alone))
            if first_element(tuple(before), tuple(seen), [""]) is not None:
                diverged[place] = True
                for part, value in zip(found, seen, strict=True):
                    part[place] = value[0]
    return found


def _halves(count: int) -> Iterator[np.ndarray]:
    for digit in range((count - 1).bit_length()):
        high = np.arange(count) >> digit & 1 == 1
        yield from (~high, high)


def _contents(rows: Arrays, count: int) -> Iterator[tuple[str, Arrays]]:
    """What may stand in other rows; whole numbers are other rows' always, since they may be indices."""
    others = tuple(np.resize(part[1:], (count, *part.shape[1:])) for part in rows)
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


def _buffer_axes(batched: Rowwise, counts: list[int], extents: list[int], progress: Progress) -> list[Axis]:
    lengths, paddings = [], []
    for done, count in enumerate(counts):
        values: dict[int, Arrays] = {}
        for extent in extents:
            progress("buffer lengths", done * len(extents) + len(values), len(counts) * len(extents))
            padded = {name: _at(batched.copies(count, extent, name), 0) for name in (ZEROS, OTHERS)}
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


def _extents(batched: Rowwise, given: Sequence[int] | None) -> list[int]:
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
