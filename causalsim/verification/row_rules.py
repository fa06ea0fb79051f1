"""Rules of single operations: the flow of what a primitive of JAX makes, from those of what it gets.

A primitive that stands in no table lets nothing through but what all rows share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from causalsim.verification.flows import Flow, Shape, along, combined, reshaped, scalars

ELEMENTWISE = frozenset(
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
OPAQUE = ("callback", "custom_call", "ffi_call", "pallas_call", "infeed", "outfeed", "custom_partitioning")
# Calls of a program for whole values; others have a ``jaxpr`` for something else, such as two elements.
CALLS = frozenset(["checkpoint", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "jit",
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


def _slice(flows: Sequence[Flow], shapes: Sequence[Shape], outs: Sequence[Shape], _: Any) -> list[Flow]:
    return [along(flows[0], _cut(shapes[0], outs[0]), "takes rows by their places")]


def _cut(shape: Shape, out: Shape) -> list[int]:
    return [axis for axis, (size, left) in enumerate(zip(shape, out, strict=True)) if size != left]


def _split_up(flows: Sequence[Flow], shapes: Sequence[Shape], outs: Sequence[Shape], _: Any) -> list[Flow]:
    return [_slice(flows, shapes, [out], None)[0] for out in outs]


def _rev(flows: Sequence[Flow], _s: Any, _o: Any, params: Any) -> list[Flow]:
    return [along(flows[0], params["dimensions"], "takes rows by their places")]


def _pad(flows: Sequence[Flow], _s: Any, outs: Sequence[Shape], params: Any) -> list[Flow]:
    # As much may be cut off at one end as comes to the other: shapes tell nothing.
    cut = [axis for axis, each in enumerate(params["padding_config"]) if any(each)]
    return [combined([along(flows[0], cut, "moves rows"), *scalars(flows[1:])], outs[0]).less(cut)]


def _concatenate(flows: Sequence[Flow], _shapes: Any, outs: Sequence[Shape], params: Any) -> list[Flow]:
    axis = params["dimension"]
    each = [along(flow, [axis] if len(flows) > 1 else [], "puts rows one behind another") for flow in flows]
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
    flow = along(flows[0], axes, "is made of all rows")
    return [flow.moved({old: new for new, old in enumerate(kept)})]


def _cumulate(flows: Sequence[Flow], _s: Any, _o: Any, params: Any) -> list[Flow]:
    axis = params["axis"]
    return [along(flows[0], [axis], "is made of all rows").less([axis])]


def _sort(flows: Sequence[Flow], shapes: Sequence[Shape], outs: Sequence[Shape], params: Any) -> list[Flow]:
    axis = params["dimension"]
    found = combined([along(flow, [axis], "sorts rows") for flow in flows], shapes[0]).less([axis])
    return [found] * len(outs)


def _top_k(flows: Sequence[Flow], shapes: Sequence[Shape], outs: Sequence[Shape], params: Any) -> list[Flow]:
    axis = params.get("axis", -1) % len(shapes[0])
    return [along(flows[0], [axis], "sorts rows").less([axis])] * len(outs)


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
        inner = along(flow, contracted[side], "sums over rows")
        sides.append(inner.moved(goes, [axis for axis in range(rank) if axis not in goes.values()]))
    return [combined(sides, outs[0])]


def _iota(_f: Any, _s: Any, outs: Sequence[Shape], params: Any) -> list[Flow]:
    axis = params["dimension"]
    return [Flow(constant=frozenset(each for each, size in enumerate(outs[0]) if each != axis or size == 1))]


def _gather(flows: Sequence[Flow], shapes: Sequence[Shape], outs: Sequence[Shape], params: Any) -> list[Flow]:
    numbers, rank = params["dimension_numbers"], len(outs[0])
    operand, indices = flows[0], along(flows[1], [len(shapes[1]) - 1], "takes an address from several rows")
    batch = [axis for axis in range(rank) if axis not in numbers.offset_dims]
    at = indices.moved(dict(enumerate(batch)) | {len(shapes[1]) - 1: -1}, numbers.offset_dims)
    dropped = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    kept = [axis for axis in range(len(shapes[0])) if axis not in dropped]
    goes = dict(zip(kept, numbers.offset_dims, strict=True))
    cut = [axis for axis, size in enumerate(params["slice_sizes"]) if size != shapes[0][axis]]
    pairs = zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True)
    goes |= {own: batch[other] for own, other in pairs}
    found = along(operand, set(cut) - set(goes.keys() - set(kept)), "reads what another row made")
    read = replace(found, memory=False, written=False).moved(
        goes, [axis for axis in batch if axis not in goes.values()]
    )
    return [combined([read, at], outs[0])]


def _dynamic_slice(
    flows: Sequence[Flow], shapes: Sequence[Shape], outs: Sequence[Shape], _: Any
) -> list[Flow]:
    cut = _cut(shapes[0], outs[0])
    whole = flows[0] if not cut else replace(flows[0], memory=False, written=False)
    return [combined([along(whole, cut, "reads what another row made"), *scalars(flows[1:])], outs[0])]


def _dynamic_update_slice(
    flows: Sequence[Flow], shapes: Sequence[Shape], outs: Sequence[Shape], _: Any
) -> list[Flow]:
    operand, update, *starts = flows
    cut = _cut(shapes[0], shapes[1])
    if flows[0].memory:
        return [Flow(mixed="writes cells at places of its own")]
    into = along(update, cut, "writes rows by their places")
    return [combined([along(operand, cut, "writes over rows"), into, *scalars(starts)], outs[0]).less(cut)]


def _wrap(flows: Sequence[Flow], shapes: Sequence[Shape], outs: Sequence[Shape], _: Any) -> list[Flow]:
    """Keys of the random generator as whole numbers, whose last axis is inside a key; and back."""
    flow = along(flows[0], range(len(outs[0]), len(shapes[0])), "makes a key of several rows")
    return [flow.less(range(len(outs[0]), len(shapes[0])))]


OPERATIONS: Mapping[str, Operation] = {
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
WRITING = CALLS | {"scatter", "while", "scan", "cond"}
# Those after which cells are still cells: everything else reads them at addresses, or not at all.
KEEPING = frozenset({*ELEMENTWISE, "slice", "squeeze", "reshape", "expand_dims", "transpose", "split",
                      "dynamic_update_slice", "dynamic_slice", "gather", "optimization_barrier",
                      "broadcast_in_dim"})  # fmt: skip


def draws_together(keys: Any) -> bool:
    """True for generators that draw for several keys by the first of them, such as ``rbg``."""
    return prod(keys.shape) > 1 and "fry" not in str(keys.dtype)
