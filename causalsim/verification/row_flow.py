"""Independence of rows, read off a jaxpr: a row's results come of its own indices, memory and what all share.

Every value is followed by where in it a row's own part lies. A row number is taken apart into digits, since
a reshape may lay rows over two axes (tiles, and rows of a tile) or beside something else along one. An
operation that lets two rows meet, or takes a row by its place, gives a value that is ``mixed``, and with
it whatever is computed of it. What is left for a backend to do wrong is to run equal operations on equal
rows in different ways: that is tried and not proved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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


def mixed_rows(jaxpr: Any, constants: Sequence[Any], given: Sequence[Flow]) -> tuple[list[Flow], list[str]]:
    """Follow flows through a jaxpr.

    Args:
        jaxpr: The jaxpr.
        constants: Its constants, which no row chooses.
        given: The flow of each argument.

    Returns:
        The flow of each result, and what was seen on the way that no result tells: a write of mixed rows
        to memory, memory that is read as a whole, or a call that cannot be looked into.
    """
    tracer = _Tracer()
    outer = [_of_constant(constant) for constant in constants]
    return tracer.through(jaxpr, [*outer, *given]), list(tracer.faults)


def _of_constant(value: Any) -> Flow:
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
    if _meet(digits, fixed):
        return Flow(mixed="brings two rows together")
    constant = frozenset(
        axis for axis in range(len(shape)) if shape[axis] == 1 or all(axis in flow.constant for flow in flows)
    )
    memory, written = any(flow.memory for flow in flows), any(flow.written for flow in flows)
    return Flow(digits, fixed, constant, memory, written)


def _meet(digits: Iterable[Digit], fixed: Iterable[tuple[int, int]]) -> bool:
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
    return replace(flow, digits=_whole(digits), constant=equal)


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


def _whole(digits: Iterable[Digit]) -> frozenset[Digit]:
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


# -- operations ------------------------------------------------------------------------------------

_ELEMENTWISE = frozenset(
    [
        "abs",
        "add",
        "add_any",
        "and",
        "atan2",
        "cbrt",
        "ceil",
        "clamp",
        "convert_element_type",
        "copy",
        "copy_p",
        "cos",
        "cosh",
        "div",
        "eq",
        "erf",
        "erf_inv",
        "erfc",
        "exp",
        "exp2",
        "expm1",
        "floor",
        "ge",
        "gt",
        "imag",
        "integer_pow",
        "is_finite",
        "le",
        "log",
        "log1p",
        "logistic",
        "lt",
        "max",
        "min",
        "mul",
        "ne",
        "neg",
        "nextafter",
        "not",
        "or",
        "population_count",
        "pow",
        "random_fold_in",
        "real",
        "reduce_precision",
        "rem",
        "round",
        "rsqrt",
        "select_n",
        "shift_left",
        "shift_right_arithmetic",
        "shift_right_logical",
        "sign",
        "sin",
        "sinh",
        "sqrt",
        "square",
        "stop_gradient",
        "sub",
        "tan",
        "tanh",
        "threefry2x32",
        "xor",
    ]
)
_REDUCING = frozenset(
    ["argmax", "argmin", "reduce_and", "reduce_max", "reduce_min", "reduce_or", "reduce_prod", "reduce_sum"]
)
_CUMULATIVE = frozenset(["cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum"])
# Calls that nobody can look into.
_OPAQUE = ("callback", "custom_call", "ffi_call", "pallas_call", "infeed", "outfeed", "custom_partitioning")
# Calls of a program for whole values; others have a ``jaxpr`` for something else, such as two elements.
_CALLS = frozenset(["checkpoint", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "jit",
                    "pjit", "remat", "remat2"])  # fmt: skip

Operation = Callable[[Sequence[Flow], Sequence[Shape], Sequence[Shape], Mapping[str, Any]], Sequence[Flow]]


def _broadcast(
    flows: Sequence[Flow], shapes: Sequence[Shape], outs: Sequence[Shape], params: Any
) -> list[Flow]:
    axes = params["broadcast_dimensions"]
    new = [axis for axis in range(len(outs[0])) if axis not in axes]
    stretched = [axes[axis] for axis, size in enumerate(shapes[0]) if size == 1]
    return [flows[0].moved(dict(enumerate(axes)), [*new, *stretched])]


def _reshape(flows: Sequence[Flow], shapes: Sequence[Shape], outs: Sequence[Shape], _: Any) -> list[Flow]:
    return [reshaped(flows[0], shapes[0], outs[0])]


def _transpose(flows: Sequence[Flow], _s: Any, _o: Any, params: Any) -> list[Flow]:
    return [flows[0].moved({old: new for new, old in enumerate(params["permutation"])})]


def _along(flow: Flow, axes: Iterable[int], reason: str) -> Flow:
    """A flow that goes on only if no digit lies along some axes."""
    axes = frozenset(axes)
    return flow.spoilt(reason) if any(digit.axis in axes for digit in flow.digits) else flow


def _slice(flows: Sequence[Flow], shapes: Sequence[Shape], outs: Sequence[Shape], _: Any) -> list[Flow]:
    return [_along(flows[0], _cut(shapes[0], outs[0]), "takes rows by their places")]


def _cut(shape: Shape, out: Shape) -> list[int]:
    return [axis for axis, (size, left) in enumerate(zip(shape, out, strict=True)) if size != left]


def _split_up(flows: Sequence[Flow], shapes: Sequence[Shape], outs: Sequence[Shape], _: Any) -> list[Flow]:
    return [_slice(flows, shapes, [out], None)[0] for out in outs]


def _rev(flows: Sequence[Flow], _s: Any, _o: Any, params: Any) -> list[Flow]:
    return [_along(flows[0], params["dimensions"], "takes rows by their places")]


def _pad(flows: Sequence[Flow], _s: Any, outs: Sequence[Shape], params: Any) -> list[Flow]:
    # As much may be cut off at one end as comes to the other: shapes tell nothing.
    cut = [axis for axis, each in enumerate(params["padding_config"]) if any(each)]
    return [combined([_along(flows[0], cut, "moves rows"), *_scalars(flows[1:])], outs[0]).less(cut)]


def _concatenate(flows: Sequence[Flow], _shapes: Any, outs: Sequence[Shape], params: Any) -> list[Flow]:
    axis = params["dimension"]
    each = [_along(flow, [axis] if len(flows) > 1 else [], "puts rows one behind another") for flow in flows]
    return [combined([flow.less([axis]) for flow in each], outs[0]).less([axis])]


def _stack(flows: Sequence[Flow], shapes: Sequence[Shape], outs: Sequence[Shape], params: Any) -> list[Flow]:
    axis = params["axis"]
    goes = {old: old + (old >= axis) for old in range(len(shapes[0]))}
    return [combined([flow.moved(goes) for flow in flows], outs[0]).less([axis])]


def _bitcast(
    flows: Sequence[Flow], shapes: Sequence[Shape], outs: Sequence[Shape], params: Any
) -> list[Flow]:
    return _wrap(flows, shapes, outs, params) if len(shapes[0]) != len(outs[0]) else [flows[0]]


def _reduce(flows: Sequence[Flow], shapes: Sequence[Shape], _: Any, params: Any) -> list[Flow]:
    axes = params["axes"]
    kept = [axis for axis in range(len(shapes[0])) if axis not in axes]
    flow = _along(flows[0], axes, "is made of all rows")
    return [flow.moved({old: new for new, old in enumerate(kept)})]


def _cumulate(flows: Sequence[Flow], _s: Any, _o: Any, params: Any) -> list[Flow]:
    axis = params["axis"]
    return [_along(flows[0], [axis], "is made of all rows").less([axis])]


def _sort(flows: Sequence[Flow], shapes: Sequence[Shape], outs: Sequence[Shape], params: Any) -> list[Flow]:
    axis = params["dimension"]
    found = combined([_along(flow, [axis], "sorts rows") for flow in flows], shapes[0]).less([axis])
    return [found] * len(outs)


def _top_k(flows: Sequence[Flow], shapes: Sequence[Shape], outs: Sequence[Shape], params: Any) -> list[Flow]:
    axis = params.get("axis", -1) % len(shapes[0])
    return [_along(flows[0], [axis], "sorts rows").less([axis])] * len(outs)


def _dot(flows: Sequence[Flow], shapes: Sequence[Shape], outs: Sequence[Shape], params: Any) -> list[Flow]:
    (contracted, batched), rank = params["dimension_numbers"][:2], len(outs[0])
    places = iter(range(len(batched[0]), rank))
    sides = []
    for side, (flow, shape) in enumerate(zip(flows[:2], shapes[:2], strict=True)):
        free = [axis for axis in range(len(shape)) if axis not in (*contracted[side], *batched[side])]
        goes = {
            **dict(zip(batched[side], range(rank), strict=False)),
            **dict(zip(free, places, strict=False)),
        }
        inner = _along(flow, contracted[side], "sums over rows")
        sides.append(inner.moved(goes, [axis for axis in range(rank) if axis not in goes.values()]))
    return [combined(sides, outs[0])]


def _iota(_f: Any, _s: Any, outs: Sequence[Shape], params: Any) -> list[Flow]:
    axis = params["dimension"]
    return [Flow(constant=frozenset(each for each, size in enumerate(outs[0]) if each != axis or size == 1))]


def _gather(flows: Sequence[Flow], shapes: Sequence[Shape], outs: Sequence[Shape], params: Any) -> list[Flow]:
    numbers, rank = params["dimension_numbers"], len(outs[0])
    operand, indices = flows[0], _along(flows[1], [len(shapes[1]) - 1], "takes an address from several rows")
    batch = [axis for axis in range(rank) if axis not in numbers.offset_dims]
    at = indices.moved(dict(enumerate(batch)) | {len(shapes[1]) - 1: -1}, numbers.offset_dims)
    dropped = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    kept = [axis for axis in range(len(shapes[0])) if axis not in dropped]
    goes = dict(zip(kept, numbers.offset_dims, strict=True))
    cut = [axis for axis, size in enumerate(params["slice_sizes"]) if size != shapes[0][axis]]
    pairs = zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True)
    goes |= {own: batch[other] for own, other in pairs}
    found = _along(operand, set(cut) - set(goes.keys() - set(kept)), "reads what another row made")
    read = replace(found, memory=False, written=False).moved(
        goes, [axis for axis in batch if axis not in goes.values()]
    )
    return [combined([read, at], outs[0])]


def _dynamic_slice(
    flows: Sequence[Flow], shapes: Sequence[Shape], outs: Sequence[Shape], _: Any
) -> list[Flow]:
    cut = _cut(shapes[0], outs[0])
    whole = flows[0] if not cut else replace(flows[0], memory=False, written=False)
    return [combined([_along(whole, cut, "reads what another row made"), *_scalars(flows[1:])], outs[0])]


def _dynamic_update_slice(
    flows: Sequence[Flow], shapes: Sequence[Shape], outs: Sequence[Shape], _: Any
) -> list[Flow]:
    operand, update, *starts = flows
    cut = _cut(shapes[0], shapes[1])
    if flows[0].memory:
        return [Flow(mixed="writes cells at places of its own")]
    into = _along(update, cut, "writes rows by their places")
    return [combined([_along(operand, cut, "writes over rows"), into, *_scalars(starts)], outs[0]).less(cut)]


def _scalars(flows: Iterable[Flow]) -> list[Flow]:
    """Numbers without axes go with every element."""
    return [replace(flow, constant=frozenset(range(99))) for flow in flows]


def _draws_together(keys: Any) -> bool:
    """True for generators that draw for several keys by the first of them, such as ``rbg``."""
    return prod(keys.shape) > 1 and "fry" not in str(keys.dtype)


def _wrap(flows: Sequence[Flow], shapes: Sequence[Shape], outs: Sequence[Shape], _: Any) -> list[Flow]:
    """Keys of the random generator as whole numbers, whose last axis is inside a key; and back."""
    flow = _along(flows[0], range(len(outs[0]), len(shapes[0])), "makes a key of several rows")
    return [flow.less(range(len(outs[0]), len(shapes[0])))]


_OPERATIONS: Mapping[str, Operation] = {
    "bitcast_convert_type": _bitcast,
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "dot_general": _dot,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "expand_dims": _reshape,
    "gather": _gather,
    "iota": _iota,
    "optimization_barrier": lambda flows, *_: flows,
    "pad": _pad,
    "random_bits": _wrap,
    "random_unwrap": _wrap,
    "random_wrap": _wrap,
    "reshape": _reshape,
    "rev": _rev,
    "slice": _slice,
    "sort": _sort,
    "split": _split_up,
    "squeeze": _reshape,
    "stack": _stack,
    "top_k": _top_k,
    "transpose": _transpose,
    **dict.fromkeys(_REDUCING, _reduce),
    **dict.fromkeys(_CUMULATIVE, _cumulate),
}
_WRITING = _CALLS | {"scatter", "while", "scan", "cond"}
# Those after which cells are still cells: everything else reads them at addresses, or not at all.
_KEEPING = frozenset({*_ELEMENTWISE, "slice", "squeeze", "reshape", "expand_dims", "transpose", "split",
                      "dynamic_update_slice", "dynamic_slice", "gather", "optimization_barrier",
                      "broadcast_in_dim"})  # fmt: skip


@dataclass
class _Tracer:
    """Flows through jaxprs within jaxprs, and what was seen on the way."""

    faults: dict[str, None] = field(default_factory=dict)

    def through(self, jaxpr: Any, given: Sequence[Flow]) -> list[Flow]:
        """Return the flow of each result of a jaxpr."""
        fresh = [replace(flow, written=False) for flow in given]
        flows = dict(zip([*jaxpr.constvars, *jaxpr.invars], fresh, strict=True))
        lasting = _lasting(jaxpr)

        def of(variable: Any) -> Flow:
            return _of_constant(variable.val) if hasattr(variable, "val") else flows[variable]

        for equation in jaxpr.eqns:
            found = self._equation(equation, [of(variable) for variable in equation.invars])
            flows.update(zip(equation.outvars, found, strict=True))
            writes = equation.primitive.name in _WRITING
            if writes and any(flow.written for flow, each in zip(found, equation.outvars, strict=True)
                              if each not in lasting):  # fmt: skip
                self.faults[f"{equation.primitive.name} writes to a copy of memory"] = None
        return [of(variable) for variable in jaxpr.outvars]

    def _equation(self, equation: Any, given: Sequence[Flow]) -> Sequence[Flow]:
        name, params = equation.primitive.name, equation.params
        # What has effects, such as a reference that is written and read, goes by ways that no value tells.
        if equation.effects or any(word in name for word in _OPAQUE):
            self.faults[f"{name} cannot be looked into"] = None
            return [Flow(mixed=f"{name} cannot be looked into")] * len(equation.outvars)
        loops = {"while": self._while, "scan": self._scan, "cond": self._cond}
        if name in loops:
            return loops[name](params, given, equation)
        if name in _CALLS:
            return self._call(params["jaxpr"] if "jaxpr" in params else params["call_jaxpr"], given)
        if name == "random_bits" and _draws_together(equation.invars[0].aval):
            return [given[0].spoilt("random_bits draws for all rows by the first row's key")]
        shapes = [variable.aval.shape for variable in equation.invars]
        outs = [variable.aval.shape for variable in equation.outvars]
        if name.startswith("scatter"):
            return [self._scatter(name, given, shapes, params)]
        if name not in _KEEPING and any(flow.memory for flow in given):
            self.faults[f"{name} reads cells at no address"] = None
        return self._plain(name, given, shapes, outs, params)

    def _plain(
        self,
        name: str,
        given: Sequence[Flow],
        shapes: Sequence[Shape],
        outs: Sequence[Shape],
        params: Mapping[str, Any],
    ) -> Sequence[Flow]:
        if mixed := next((flow.mixed for flow in given if flow.mixed), ""):
            # A barrier hands each of its values on by itself.
            return given if name == "optimization_barrier" else [Flow(mixed=mixed)] * len(outs)
        if name in _ELEMENTWISE:
            ranked = [
                flow if shape else _scalars([flow])[0] for flow, shape in zip(given, shapes, strict=True)
            ]
            return [_named(combined(ranked, outs[0]), name)] * len(outs)
        if name in _OPERATIONS:
            return [_named(flow, name) for flow in _OPERATIONS[name](given, shapes, outs, params)]
        if all(flow.is_shared for flow in given):
            return [Flow(memory=any(flow.memory for flow in given))] * len(outs)
        return [Flow(mixed=f"{name} is not known to keep rows apart")] * len(outs)

    def _call(self, inner: Any, given: Sequence[Flow]) -> list[Flow]:
        constants = [_of_constant(constant) for constant in getattr(inner, "consts", ())]
        return self.through(getattr(inner, "jaxpr", inner), [*constants, *given])

    def _scatter(
        self, name: str, given: Sequence[Flow], shapes: Sequence[Shape], params: Mapping[str, Any]
    ) -> Flow:
        operand, indices, updates = given
        numbers, rank = params["dimension_numbers"], len(shapes[2])
        batch = [axis for axis in range(rank) if axis not in numbers.update_window_dims]
        at = _along(indices, [len(shapes[1]) - 1], "takes an address from several rows")
        at = at.moved(dict(enumerate(batch)) | {len(shapes[1]) - 1: -1}, numbers.update_window_dims)
        wrote = combined([at, updates], shapes[2])
        if operand.memory:
            if wrote.mixed:
                self.faults[f"memory gets what {wrote.mixed}"] = None
            if name != "scatter":
                self.faults[f"{name} adds to what memory holds"] = None
            if not (updates.digits <= at.digits and updates.fixed <= at.fixed):
                self.faults["several rows are written at an address that is none of theirs"] = None
            return replace(operand, written=True)
        if operand.is_shared and wrote.is_shared:
            return Flow()
        return _named(operand.spoilt(wrote.mixed or "writes rows at addresses"), "scatter")

    def _while(self, params: Mapping[str, Any], given: Sequence[Flow], equation: Any) -> list[Flow]:
        of_cond, of_body = params["cond_nconsts"], params["body_nconsts"]
        cond, body, carry = given[:of_cond], given[of_cond : of_cond + of_body], given[of_cond + of_body :]
        shapes = [variable.aval.shape for variable in equation.outvars]
        carry = _settled(lambda now: self._call(params["body_jaxpr"], [*body, *now]), carry, shapes)
        (turns,) = self._call(params["cond_jaxpr"], [*cond, *carry])
        if turns.mixed:
            return [flow.spoilt(f"loops as often as several rows say ({turns.mixed})") for flow in carry]
        return [replace(flow, fixed=flow.fixed | turns.fixed) for flow in carry]

    def _cond(self, params: Mapping[str, Any], given: Sequence[Flow], equation: Any) -> list[Flow]:
        shapes = [variable.aval.shape for variable in equation.outvars]
        branches = [self._call(branch, given[1:]) for branch in params["branches"]]
        chosen = _scalars(given[:1])
        return [
            combined([*each, *chosen], shape)
            for *each, shape in zip(*branches, shapes, strict=True)
        ]  # fmt: skip

    def _scan(self, params: Mapping[str, Any], given: Sequence[Flow], equation: Any) -> list[Flow]:
        consts, carried, length = params["num_consts"], params["num_carry"], params["length"]
        before, carry, rest = given[:consts], given[consts : consts + carried], given[consts + carried :]
        over = {digit for flow in rest for digit in flow.digits if digit.axis == 0}
        if len(over) > 1 or any((digit.stride, digit.size) != (1, length) for digit in over):
            return [Flow(mixed="goes over rows by their places")] * len(equation.outvars)
        fixed = frozenset((digit.size, digit.weight) for digit in over)
        if any(_meet(over, flow.fixed) for flow in given):
            return [Flow(mixed="goes over rows for each row")] * len(equation.outvars)
        each = [_of_turn(flow, over, fixed, length) for flow in rest]
        shapes = [variable.aval.shape for variable in equation.outvars]
        body = params["jaxpr"]
        carry = _settled(lambda now: self._call(body, [*before, *now, *each])[:carried], carry, shapes)
        if over:
            # Even what only counts turns tells rows by their places.
            same = _unchanged(body.jaxpr, consts, carried)
            carry = [flow if flow.memory or kept else flow.spoilt("goes from row to row")
                     for flow, kept in zip(carry, same, strict=True)]  # fmt: skip
        made = self._call(body, [*before, *carry, *each])[carried:]
        return [*carry, *(_of_turns(flow, over, fixed) for flow in made)]


def _lasting(jaxpr: Any) -> set[Any]:
    """Variables that are what memory is in the end, or before something else in it was written."""
    found = {variable for variable in jaxpr.outvars if not hasattr(variable, "val")}
    for equation in reversed(jaxpr.eqns):
        name, pairs = equation.primitive.name, zip(equation.outvars, equation.invars, strict=False)
        if name == "scatter" or name == "optimization_barrier":
            found.update(own for after, own in pairs if after in found and not hasattr(own, "val"))
    return found


def _unchanged(body: Any, consts: int, carried: int) -> list[bool]:
    """The carries of a loop that every turn hands on as it got them."""
    return [body.outvars[at] is body.invars[consts + at] for at in range(carried)]


def _of_turn(flow: Flow, over: Iterable[Digit], fixed: frozenset[tuple[int, int]], length: int) -> Flow:
    """The part of an array that one turn of a loop gets: that of its row, if the loop goes over rows."""
    own = {digit for digit in flow.digits if digit.axis == 0}
    if over and not own and 0 not in flow.constant and length > 1:
        return flow.spoilt("has what depends on a row's place")
    inner = frozenset(digit._replace(axis=digit.axis - 1) for digit in flow.digits - own)
    equal = frozenset(axis - 1 for axis in flow.constant if axis)
    return replace(flow, digits=inner, constant=equal, fixed=flow.fixed | (fixed if own else frozenset()))


def _of_turns(flow: Flow, over: Iterable[Digit], fixed: frozenset[tuple[int, int]]) -> Flow:
    """The results of all turns of a loop, one behind another."""
    inner = frozenset(digit._replace(axis=digit.axis + 1) for digit in flow.digits)
    outer = frozenset(over) if flow.fixed & fixed else frozenset()
    constant = frozenset(axis + 1 for axis in flow.constant)
    return replace(flow, digits=_whole(inner | outer), fixed=flow.fixed - fixed, constant=constant)


def _named(flow: Flow, name: str) -> Flow:
    """A flow that was mixed here, with the operation's name."""
    return flow if not flow.mixed or ": " in flow.mixed else Flow(mixed=f"{name}: {flow.mixed}")


def _settled(
    once: Callable[[Sequence[Flow]], Sequence[Flow]], carry: Sequence[Flow], shapes: Sequence[Shape]
) -> list[Flow]:
    """The carries of a loop, after as many turns as change anything."""
    now = list(carry)
    while True:
        made = once(now)
        more = [_either(*pair) for pair in zip(now, made, shapes, strict=False)]
        if more == now:
            return more
        now = more


def _either(a: Flow, b: Flow, shape: Shape) -> Flow:
    return replace(combined([a, b], shape), memory=a.memory and b.memory)
