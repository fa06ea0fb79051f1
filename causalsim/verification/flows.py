"""Flows: the way in which a value depends on the rows of a dispatch, and how flows go together.

A row number is taken apart into digits, since a reshape may lay rows over two axes (tiles, and rows of one)
or beside something else along one. What lets two rows meet, or takes a row by its place, is ``mixed``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np

Shape = tuple[int, ...]
Axes = frozenset[int]


class Digit(NamedTuple):
    """A part of the row number: ``row // weight % size``, which is ``index[axis] // stride % size``."""

    axis: int
    stride: int
    size: int
    weight: int


@dataclass(frozen=True)
class Flow:
    """The way in which a value depends on rows.

    Attributes:
        digits: Where along its axes a row's own part lies; none in a value that all rows share.
        fixed: Digits, as size and weight, that a loop over rows has fixed: the value is that of its row.
        constant: Axes along which all parts are equal.
        memory: True for cells, which are read and written at addresses.
        written: True for cells of which some were written in the same jaxpr.
        mixed: The first operation that made it of several rows, or of a row's place; empty if none did.
    """

    digits: frozenset[Digit] = frozenset()
    fixed: frozenset[tuple[int, int]] = frozenset()
    constant: Axes = frozenset()
    memory: bool = False
    written: bool = False
    mixed: str = ""

    @property
    def is_shared(self) -> bool:
        """True if no row's own part is in it."""
        return not (self.digits or self.fixed or self.mixed)

    def moved(self, axis_of: Mapping[int, int], more: Iterable[int] = ()) -> Flow:
        """Return the flow of a value whose axes go elsewhere; one that goes nowhere must hold no digit."""
        lost = [digit for digit in self.digits if digit.axis not in axis_of]
        if lost:
            return self.spoilt("takes rows by their places")
        digits = frozenset(digit._replace(axis=axis_of[digit.axis]) for digit in self.digits)
        constant = frozenset(axis_of[axis] for axis in self.constant if axis in axis_of) | frozenset(more)
        return replace(self, digits=digits, constant=constant)

    def spoilt(self, reason: str) -> Flow:
        """Return what is mixed, for the first reason that there was."""
        return Flow(mixed=self.mixed or reason)

    def less(self, axes: Iterable[int]) -> Flow:
        """Return it without the claim that parts along these axes are equal."""
        return replace(self, constant=self.constant - frozenset(axes))


def rows_along(axis: int, shape: Shape, weight: int = 1) -> Flow:
    """Return the flow of an array with a row (or so many together) at each index of an axis."""
    size = shape[axis]
    ones = frozenset(each for each, length in enumerate(shape) if length == 1)
    return Flow(frozenset({Digit(axis, 1, size, weight)} if size > 1 else ()), constant=ones)


CELLS = Flow(memory=True)


def of_constant(value: Any) -> Flow:
    """Many rows' places may be told apart by a constant that differs along an axis."""
    shape = np.shape(value)
    if len(shape) > 1 or prod(shape) > 4096:
        return Flow(constant=frozenset(axis for axis, length in enumerate(shape) if length == 1))
    equal = prod(shape) == 0 or bool((np.asarray(value) == np.ravel(np.asarray(value))[0]).all())
    return Flow(constant=frozenset(range(len(shape)) if equal else ()))


def combined(flows: Sequence[Flow], shape: Shape) -> Flow:
    """Return the flow of a value each of whose elements is made of those at its index."""
    mixed = next((flow.mixed for flow in flows if flow.mixed), "")
    if mixed:
        return Flow(mixed=mixed)
    digits = frozenset().union(*(flow.digits for flow in flows))
    fixed = frozenset().union(*(flow.fixed for flow in flows))
    for digit in digits:
        alike = (digit in flow.digits or digit.axis in flow.constant for flow in flows)
        if shape[digit.axis] > 1 and not all(alike):
            return Flow(mixed="has what depends on a row's place")
    if meet(digits, fixed):
        return Flow(mixed="brings two rows together")
    constant = frozenset(
        axis for axis in range(len(shape)) if shape[axis] == 1 or all(axis in flow.constant for flow in flows)
    )
    memory, written = any(flow.memory for flow in flows), any(flow.written for flow in flows)
    return Flow(digits, fixed, constant, memory, written)


def meet(digits: Iterable[Digit], fixed: Iterable[tuple[int, int]]) -> bool:
    """True where one digit lies at two places, or two of them overlap."""
    ranges = sorted(
        [(digit.weight, digit.weight * digit.size) for digit in digits]
        + [(weight, weight * size) for size, weight in fixed]
    )
    return any(start < end for (_, end), (start, _) in pairwise(ranges))


def reshaped(flow: Flow, shape: Shape, new: Shape) -> Flow:
    """Return the flow of the same elements in other axes."""
    strides, others = _strides(shape), _strides(new)
    digits = set[Digit]()
    for digit in flow.digits:
        parts = [*_split(digit, strides[digit.axis] * digit.stride, new, others)]
        if prod(part.size for part in parts) != digit.size:
            return flow.spoilt("takes rows by their places")
        digits.update(parts)
    covered = [(strides[axis], strides[axis] * shape[axis]) for axis in flow.constant]
    equal = frozenset(
        axis for axis, size in enumerate(new) if _is_covered(others[axis], others[axis] * size, covered)
    )
    return replace(flow, digits=whole(digits), constant=equal)


def _strides(shape: Shape) -> list[int]:
    return [prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _split(digit: Digit, start: int, shape: Shape, strides: Sequence[int]) -> Iterator[Digit]:
    """The parts of a digit, whose stride over all elements is known, along the axes of a shape."""
    for axis, (size, stride) in enumerate(zip(shape, strides, strict=True)):
        low, high = max(start, stride), min(start * digit.size, stride * size)
        within = low < high and high % low == 0 and low % start == 0 and low % stride == 0
        # Else what is left of the axis above the digit would shift it.
        if within and stride * size % high == 0:
            yield Digit(axis, low // stride, high // low, digit.weight * (low // start))


def whole(digits: Iterable[Digit]) -> frozenset[Digit]:
    """Digits that follow one another along an axis, and in the row number, as one."""
    found = list[Digit]()
    for digit in sorted(digits):
        last = found[-1] if found else None
        if (
            last
            and digit[:2] == (last.axis, last.stride * last.size)
            and digit.weight == last.weight * last.size
        ):
            found[-1] = last._replace(size=last.size * digit.size)
        else:
            found.append(digit)
    return frozenset(found)


def _is_covered(start: int, end: int, ranges: Iterable[tuple[int, int]]) -> bool:
    """True if a range of strides lies in one of these, or in several that follow one another, as digits."""
    joined = list[tuple[int, int]]()
    for low, high in sorted(each for each in ranges if each[0] < each[1]):
        joined.append((joined.pop()[0] if joined and joined[-1][1] == low else low, high))
    return start >= end or any(
        low <= start and end <= high and start % low == 0 and high % end == 0 for low, high in joined
    )


def along(flow: Flow, axes: Iterable[int], reason: str) -> Flow:
    """A flow that goes on only if no digit lies along some axes."""
    axes = frozenset(axes)
    return flow.spoilt(reason) if any(digit.axis in axes for digit in flow.digits) else flow


def scalars(flows: Iterable[Flow]) -> list[Flow]:
    """Numbers without axes go with every element."""
    return [replace(flow, constant=frozenset(range(99))) for flow in flows]
