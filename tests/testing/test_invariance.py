"""Batch invariance of other people's functions: what keeps it, and planted faults along every axis."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from causalsim.errors import InputError, MissingPackageError
from causalsim.testing import invariance_classes, same_bits, ulps_apart
from causalsim.testing.arrays import Adapted
from causalsim.testing.bits import first_element
from causalsim.testing.classes import bit_classes
from causalsim.testing.invariance import BATCH_SIZES, halves

FEW = (1, 2, 3, 5, 8)
ROWS = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
BUFFER = np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)
NUDGED = np.float32(1 + 2**-20)
ALL = ("repetition", "batch size", "place in the batch", "neighbours", "buffer length", "padding")


def keeps(x, buffer=None, filled=0):
    """Element by element, and over the buffer in order: the rule holds by construction."""
    found = np.tanh(x) * np.float32(3)
    for entry in [] if buffer is None else buffer[:filled]:
        found = found + x * entry
    return found


def failing(report):
    return [axis.name for axis in report.axes if not axis.holds]


def members(axis):
    return [each.members for each in axis.classes]


# -- what keeps the rule --------------------------------------------------------------------------


def test_one_class_along_every_axis():
    report = invariance_classes(keeps, ROWS, buffer=BUFFER, batch_sizes=FEW)
    assert report.holds and report.deterministic and failing(report) == []
    assert tuple(axis.name for axis in report.axes) == ALL
    assert members(report["batch size"]) == [FEW]
    assert members(report["place in the batch"]) == [tuple(range(8))]
    assert members(report["neighbours"]) == [("copies of itself", "other rows", "huge numbers", "NaN")]
    assert {5, 6, 21, 32, 256} <= {*members(report["buffer length"])[0]}
    assert report["buffer length"].classes[0].divergence is None


def test_without_a_buffer_there_are_four_axes():
    report = invariance_classes(keeps, ROWS, batch_sizes=FEW)
    assert tuple(axis.name for axis in report.axes) == ALL[:4] and report.holds


def test_several_arrays_go_in_and_come_out():
    def gated(x, gate, keys, values, filled):
        return {"gated": x * gate[:, None], "read": x + keys[filled - 1] * values[0]}

    examples = {"rows": (ROWS, ROWS[:, 0]), "buffer": (BUFFER, BUFFER * 2)}
    assert invariance_classes(gated, **examples, batch_sizes=FEW).holds
    report = invariance_classes(
        lambda *given: (gated(*given)["gated"], by_batch_place(*given[::2])), **examples
    )
    assert (
        failing(report) == ["place in the batch"]
        and report["place in the batch"].classes[1].divergence.part == 1
    )


def test_whole_numbers_have_other_rows_for_neighbours_alone():
    table = np.arange(12, dtype=np.float32)
    report = invariance_classes(lambda ids: table[ids], np.array([3, 11, 7]), batch_sizes=FEW)
    assert report.holds and members(report["neighbours"]) == [("copies of itself", "other rows")]


def test_what_a_function_does_to_its_input_is_no_concern():
    def in_place(x):
        x *= 2
        return x

    assert invariance_classes(in_place, ROWS, batch_sizes=FEW).holds


# -- planted faults -------------------------------------------------------------------------------


def by_batch_size(x, buffer, filled):
    found = keeps(x, buffer, filled)
    return found * NUDGED if len(x) > 3 else found


def by_batch_place(x, buffer, filled):
    found = keeps(x, buffer, filled)
    found[2:3] *= NUDGED
    return found


def by_neighbour(x, buffer, filled):
    found = keeps(x, buffer, filled)
    # Copies of one row are their own mean, and the middle rounds to the same bits.
    other = np.roll(x, 3, axis=0)
    return np.where(np.any(other != x, axis=1, keepdims=True), found * NUDGED, found)


def by_buffer_length(x, buffer, filled):
    found = keeps(x, buffer, filled)
    found[:, 1:] *= NUDGED if len(buffer) % 4 == 0 else 1
    return found


def by_padding(x, buffer, filled):
    return keeps(x, buffer, filled) * (NUDGED if buffer[filled:].any() else np.float32(1))


FAULTS = [
    (by_batch_size, "batch size", (5, 8), [0]),
    (by_batch_place, "place in the batch", (2,), [0]),
    (by_neighbour, "neighbours", ("other rows", "huge numbers", "NaN"), [0]),
    (by_buffer_length, "buffer length", (8, 12, 16, 20, 24), [1]),
    (by_padding, "padding", ("other entries",), [0]),
]


@pytest.mark.parametrize(("function", "axis", "diverging", "element"), FAULTS, ids=[f[1] for f in FAULTS])
def test_a_planted_fault_is_found_along_its_axis_alone(function, axis, diverging, element):
    report = invariance_classes(function, ROWS, buffer=BUFFER, batch_sizes=FEW)
    assert failing(report) == [axis] and not report.holds and report.deterministic
    other = report[axis].classes[1]
    assert other.members[: len(diverging)] == diverging
    found = other.divergence
    assert list(found.element) == element and found.part == 0
    assert 0 < found.ulps <= found.most_ulps <= 20
    expected, value = np.float32(found.expected), np.float32(found.found)
    assert ulps_apart(expected, value) == found.ulps
    assert (
        found.differing == (3 if axis == "buffer length" else 4) * found.elements // 4 or axis == "neighbours"
    )


@pytest.mark.parametrize(
    ("axis", "chosen"), [("batch size", 7), ("place in the batch", 7), ("buffer length", 7)]
)
def test_a_fault_that_few_rows_show_is_found(axis, chosen):
    """Of sums, one number a row, that are downcast otherwise many have the same bits."""
    rows = np.random.default_rng(5).standard_normal((9, 4)).astype(np.float32)

    def total(x, buffer, filled):
        count, place, longer = len(x) > 3, np.arange(len(x)) == 2, len(buffer) > filled + 1
        wrong = {"batch size": count, "place in the batch": place, "buffer length": longer}
        shown = (x[:, 0] == rows[chosen, 0]) & wrong[axis]
        return np.where(shown, x.sum(1) * NUDGED, x.sum(1))

    report = invariance_classes(total, rows, buffer=BUFFER, batch_sizes=FEW, extents=(5, 8))
    assert failing(report) == [axis] and report[axis].classes[1].divergence.row == f"row {chosen}"


def test_a_neighbour_at_any_distance_is_found():
    for distance in range(1, 8):

        def leaks(x, distance=distance):
            return x + np.float32(0.5) * np.roll(x, distance, axis=0)

        report = invariance_classes(leaks, ROWS, batch_sizes=[8])
        assert failing(report) == ["neighbours"]
        assert len(report["neighbours"].classes) == 4


@given(st.integers(1, 300))
def test_every_row_is_once_beside_every_other(count):
    masks = list(halves(count))
    # Row r is looked at where a mask has it, and row s holds something else where it has not.
    seen = np.zeros((count, count), bool)
    for mask in masks:
        seen |= np.outer(mask, ~mask)
    assert (seen | np.eye(count, dtype=bool)).all()


def test_a_function_that_is_not_deterministic_is_told_so_and_no_more():
    calls = iter(range(10_000))

    def unsteady(x):
        return keeps(x) * (NUDGED if next(calls) == 37 else np.float32(1))

    report = invariance_classes(unsteady, ROWS, batch_sizes=FEW)
    assert failing(report) == ["repetition"] and not report.deterministic and not report.holds
    assert len(report.axes) == 1 and len(report["repetition"].series) == 1
    first, again = report["repetition"].classes
    assert (first.members, again.members) == (("first",), ("again",))
    assert again.divergence.row == "place 0" and 0 < again.divergence.ulps < 20


def test_a_function_that_gives_the_same_memory_each_time_hides_nothing():
    memory, calls = np.empty((8, 4), np.float32), iter(range(10_000))

    def reuses(x):
        np.multiply(x, next(calls) + 1, out=memory[: len(x)])
        return memory[: len(x)]

    assert failing(invariance_classes(reuses, ROWS, batch_sizes=FEW)) == ["repetition"]


# -- JAX and torch --------------------------------------------------------------------------------


def test_stock_jax_has_the_classes_that_were_measured_by_hand():
    """As the README tells of XLA: another loop for one row than for twenty; how many classes is its own."""
    import jax

    for width, wide in ((64, False), (768, True)):
        weights = np.random.default_rng(2).standard_normal((width, 4 * width)).astype(np.float32)
        product = jax.jit(lambda x, w: x @ w)
        rows = np.random.default_rng(3).standard_normal((4, width)).astype(np.float32)
        counts = (1, 2, 16, 17, 40)
        report = invariance_classes(lambda x: product(x, weights), rows, batch_sizes=counts, array="jax")
        classes = members(report["batch size"])
        assert (len(classes) > 1) is wide, classes
        assert report.deterministic and report["place in the batch"].holds and report["neighbours"].holds
    assert classes[0] == (1,) and report["batch size"].classes[1].divergence.ulps > 0
    assert report.environment["jaxlib"] and report.environment["arrays"] == "jax"


def test_stock_jax_changes_reductions_with_the_rows_and_attention_with_the_buffer():
    """Over sums of 2,048 terms, and with masked positions behind those that count."""
    import jax
    import jax.numpy as jnp

    normal = np.random.default_rng(3).standard_normal
    softmax = jax.jit(jax.nn.softmax)
    report = invariance_classes(softmax, normal((8, 2048), np.float32), batch_sizes=(1, 64), array="jax")
    assert failing(report) == ["batch size"], report.to_json()

    @jax.jit
    def attend(queries, keys, filled):
        seen = jnp.arange(len(keys)) < filled
        scores = jnp.where(seen, queries @ keys.T, -jnp.inf)
        return jax.nn.softmax(scores) @ jnp.where(seen[:, None], keys, 0)

    given = {"rows": normal((8, 64), np.float32), "buffer": normal((30, 64), np.float32)}
    report = invariance_classes(
        attend, **given, batch_sizes=(1,), extents=(30, 36, 56, 100, 256), array="jax"
    )
    assert failing(report) == ["buffer length"], report.to_json()
    assert 30 in members(report["buffer length"])[0] and len(members(report["buffer length"])[0]) < 6


def test_without_the_library_one_class_is_left():
    """The remedy: our own product over fixed K-blocks, batched at its batch sizes."""
    import jax

    from causalsim.kernels import CERTIFIED

    options = dict(CERTIFIED.compiler_options)
    norm = jax.jit(lambda x: x / (x * x).sum(-1, keepdims=True), compiler_options=options)
    rows = np.random.default_rng(3).standard_normal((4, 768)).astype(np.float32)
    assert invariance_classes(norm, rows, batch_sizes=(1, 2, 16, 17), array="jax").holds


def test_jax_keeps_no_wide_numbers_by_itself():
    with pytest.raises(InputError, match=r"keep their dtype.*got float32 of jax, expected float64"):
        invariance_classes(lambda x: x, ROWS.astype(np.float64), array="jax")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_torch(dtype):
    torch = pytest.importorskip("torch")
    rows = ROWS.astype(dtype)

    def double(x):
        assert isinstance(x, torch.Tensor) and str(x.dtype) == f"torch.{dtype}"
        return (x * 2).requires_grad_()

    assert invariance_classes(double, rows, batch_sizes=FEW, array="torch").holds
    (found,) = Adapted(double, "torch")(rows)
    assert same_bits(found, (rows * 2).astype(dtype))

    report = invariance_classes(
        lambda x: x * (1.5 if len(x) > 3 else 1), rows, batch_sizes=FEW, array="torch"
    )
    assert failing(report) == ["batch size"] and members(report["batch size"]) == [(1, 2, 3), (5, 8)]


def test_torch_that_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingPackageError, match="need the package torch"):
        invariance_classes(lambda x: x, ROWS, array="torch")


def test_no_library_is_imported_unasked():
    code = (
        "import sys, numpy as np; from causalsim.testing import invariance_classes;"
        "invariance_classes(lambda x: x, np.ones((2, 3)), batch_sizes=[1, 2]);"
        "print([name for name in ('jax', 'torch', 'hypothesis', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# -- classes and divergences -----------------------------------------------------------------------

BITS = st.lists(st.sampled_from([0.0, -0.0, 1.0, float("nan")]), min_size=2, max_size=2)


@settings(max_examples=50)
@given(st.lists(BITS, min_size=1, max_size=6))
def test_classes_are_those_of_equal_bytes(values):
    arrays = {n: (np.array([value], np.float32),) for n, value in enumerate(values)}
    oracle: dict[bytes, list[int]] = {}
    for number, (array,) in arrays.items():
        oracle.setdefault(array.tobytes(), []).append(number)
    found = bit_classes(arrays, ["row 0"])
    assert [list(each.members) for each in found] == [*oracle.values()]
    for each in found[1:]:
        ((reference,), (value,)) = arrays[0], arrays[each.members[0]]
        place = each.divergence.element[0]
        assert reference[0, :place].tobytes() == value[0, :place].tobytes()
        assert reference[0, place].tobytes() != value[0, place].tobytes()


def test_a_divergence_names_row_part_and_element():
    reference = np.zeros((2, 3), np.float32), np.ones((2, 2, 2), np.float32)
    value = reference[0].copy(), reference[1].copy()
    value[1][1, 0, 1] = np.nextafter(np.float32(1), np.float32(2))
    found = first_element(reference, value, ["row 0", "row 1"])
    assert (found.row, found.part, found.element) == ("row 1", 1, (0, 1))
    assert (found.ulps, found.most_ulps, found.differing, found.elements) == (1, 1, 1, 14)
    assert str(found) == (
        "first at element [0, 1] of part 1 of row 1: 1.0000001 for 1.0, 1 ULP; 1 of 14 elements differ, "
        "the most 1 ULP"
    )
    value[1][1, 0, 1] = np.nan
    assert "nan for 1.0, NaN on one side" in str(first_element(reference, value, ["row 0", "row 1"]))
    assert first_element(reference, reference, []) is None


# -- reports --------------------------------------------------------------------------------------


def test_the_report_as_json_and_as_a_table():
    report = invariance_classes(by_batch_size, ROWS, buffer=BUFFER, batch_sizes=FEW)
    told = json.loads(report.to_json())
    assert told["holds"] is False and told["deterministic"] is True
    assert told["function"].endswith(":by_batch_size") and told["batches"] == report.batches
    first, second = told["axes"]["batch size"]["series"][0]["classes"]
    assert (first["members"], first["divergence"]) == ([1, 2, 3], None)
    assert second["members"] == [5, 8] and second["divergence"]["ulps"] > 0
    out = Console(width=100, record=True, file=io.StringIO())
    out.print(report)
    text = " ".join(out.export_text().split())
    assert "rows: 1 .. 3 | 5, 8" in text and "first at element [0] of row 0" in text
    assert "one class: 5 series, the last with 8 rows, beside: copies of itself" in text


def test_a_value_that_is_partly_nan_is_told_of():
    assert invariance_classes(lambda x: np.where(x > 0, x, np.float32(np.nan)), ROWS, batch_sizes=FEW).holds
    report = invariance_classes(lambda x: x * (np.nan if len(x) > 3 else 1), ROWS, batch_sizes=FEW)
    assert failing(report) == ["batch size"] and report["batch size"].classes[1].divergence.ulps is None


@pytest.mark.parametrize(("rows", "more"), [(5, "and 1 more class"), (6, "and 2 more classes")])
def test_so_many_classes_are_not_all_told(rows, more):
    report = invariance_classes(lambda x: x * len(x), ROWS, batch_sizes=range(1, rows + 1))
    out = Console(width=100, record=True, file=io.StringIO())
    out.print(report)
    words = " ".join(out.export_text().split())
    assert f"{more} │" in words and not report.holds


def test_the_usual_batch_sizes_are_beside_powers_of_two():
    assert BATCH_SIZES[:10] == (1, 2, 3, 4, 5, 7, 8, 9, 15, 16) and BATCH_SIZES[-3:] == (129, 255, 256)


# -- bad input ------------------------------------------------------------------------------------


def _raises(x):
    raise KeyError(f"weights of {x.dtype}")


BAD = [
    (lambda x: x.sum(0), {"rows": ROWS}, "a value for each row: got shape (4,) for 1 rows"),
    (lambda x: x.sum(), {"rows": ROWS}, "a value for each row: got shape ()"),
    (lambda x: (), {"rows": ROWS}, "a value for each row: got nothing"),
    (lambda x: x[:, : len(x)], {"rows": ROWS}, "got shape (2,) of float32 in a batch of 2 rows"),
    (lambda x: x.astype("f4" if len(x) < 3 else "f8"), {"rows": ROWS}, "got shape (4,) of float64"),
    (lambda x: None, {"rows": ROWS}, "arrays of real numbers: got NoneType"),
    (lambda x: x.astype(np.longdouble), {"rows": ROWS}, "of real numbers: got numbers of type "),
    (lambda x: x[:, :0], {"rows": ROWS}, "holds a number, whose bits can differ: got no elements"),
    (lambda x: x * np.nan, {"rows": ROWS}, "holds a number, whose bits can differ: got NaN alone"),
    (lambda x: sys.exit(0), {"rows": ROWS}, "got SystemExit: 0 (called with shapes (1, 4))"),
    (lambda x: x + 1j, {"rows": ROWS}, "arrays of real numbers: got numbers of type complex"),
    (_raises, {"rows": ROWS}, "got KeyError: 'weights of float32' (called with shapes (1, 4))"),
    (keeps, {"rows": ROWS[:1]}, "at least 2 of them"),
    (keeps, {"rows": np.float32(3)}, "at least 2 of them"),
    (keeps, {"rows": ()}, "got no array"),
    (keeps, {"rows": "text"}, "rows are arrays of real numbers"),
    (keeps, {"rows": (ROWS, ROWS[:3])}, "as many in every array: got shape (6, 4) and shape (3, 4)"),
    (keeps, {"rows": ROWS, "buffer": BUFFER[:0]}, "at least 1 of them"),
    (keeps, {"rows": ROWS, "batch_sizes": [0]}, "batch sizes are whole numbers of at least 1: got [0]"),
    (keeps, {"rows": ROWS, "batch_sizes": []}, "batch sizes are whole numbers of at least 1"),
    (keeps, {"rows": ROWS, "batch_sizes": [1.5]}, "batch sizes are whole numbers of at least 1"),
    (keeps, {"rows": ROWS, "extents": [8]}, "extents are of a buffer"),
    (keeps, {"rows": ROWS, "buffer": BUFFER, "extents": [4]}, "extents are whole numbers of at least 5"),
    (keeps, {"rows": ROWS, "array": "cupy"}, "arrays are of a known library: got 'cupy'"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "arguments", "words"), BAD, ids=[words[:40] for *_, words in BAD])
def test_bad_input(function, arguments, words):
    with pytest.raises(InputError) as caught:
        invariance_classes(function, **arguments)
    assert words in str(caught.value)
