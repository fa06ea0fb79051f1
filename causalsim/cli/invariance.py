"""``causalsim invariance MODULE:FUNCTION``: the classes of equal bits of somebody else's kernel."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from rich.text import Text

from causalsim.cli.exit_codes import FAILS, HOLDS
from causalsim.cli.results import check_file, write_result
from causalsim.cli.tables import last_word
from causalsim.cli.terminal import console, progress
from causalsim.errors import InputError
from causalsim.testing import InvarianceClasses, invariance_classes

# Rows to draw where none are given: each row's neighbours then differ from one another.
DRAWN = 16
GREATEST_INDEX = 100
ABOUT_INPUTS = ("shape", "dtype", "buffer", "filled", "seed")


def invariance(name: str, options: Mapping[str, Any], path: Path | None) -> int:
    """Import a function, batch it in every way, show the classes; fails where there are several."""
    check_file(path)
    function = imported(name)
    inputs = _inputs(name, options)
    passed = {key: numbers(options[key]) for key in ("batch_sizes", "extents") if key in options}
    array = options.get("array", "numpy")
    out = console()
    with progress(out) as watch:
        report = invariance_classes(function, **inputs, **passed, array=array, progress=watch)
    out.print(Text(f"{name}, {_described(report, inputs)}"))
    out.print(report)
    out.print(_last_word(report))
    write_result(out, path, report.to_json())
    return HOLDS if report.holds else FAILS


def imported(name: str) -> Any:
    """The function that ``module:function`` names, from where Python looks and from the current folder."""
    found = _named(name)
    if not callable(found):
        raise InputError("MODULE:FUNCTION names a function", got=f"{name}, of type {type(found).__name__}")
    return found


def _named(name: str) -> Any:
    module, colon, path = name.partition(":")
    if not colon:
        hint = "Of a model's batches, causalsim calibrate MODEL tells."
        raise InputError("MODULE:FUNCTION names a function", got=name, expected="my_kernels:norm", hint=hint)
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = import_module(module)
    except (Exception, SystemExit) as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        hint = "Run the command in the module's folder, or install the module."
        raise InputError(f"the module {module!r} can be imported", got=words, hint=hint) from error
    for part in path.split("."):
        if not hasattr(found, part):
            raise InputError("MODULE:FUNCTION names what the module has", got=f"no {path!r} in {module}")
        found = getattr(found, part)
    return found


# -- inputs --------------------------------------------------------------------------------------


def _inputs(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Rows, and a buffer for a function that reads one: the module's own, or drawn."""
    if "inputs" not in options:
        return _drawn(options)
    if drawn := [f"--{key}" for key in ABOUT_INPUTS if key in options]:
        raise InputError("inputs come from the module or are drawn", got=f"--inputs and {', '.join(drawn)}")
    found = _named(f"{name.partition(':')[0]}:{options['inputs']}")
    found = found() if callable(found) else found
    return dict(found) if isinstance(found, Mapping) and "rows" in found else {"rows": found}


def _drawn(options: Mapping[str, Any]) -> dict[str, Any]:
    if "shape" not in options:
        raise InputError(
            "a function is told of what shape its rows are",
            got="neither --shape nor --inputs",
            hint="For example --shape 768, or --shape 12x64 --dtype bfloat16.",
        )
    if ("buffer" in options) != ("filled" in options):
        raise InputError(
            "a buffer has entries of a shape, some of them filled", expected="--buffer and --filled"
        )
    rng, dtype = np.random.default_rng(options.get("seed", 0)), _dtype(options.get("dtype", "float32"))
    inputs = {"rows": _numbers(rng, (DRAWN, *_shape(options["shape"])), dtype)}
    if "buffer" in options:
        inputs["buffer"] = _numbers(rng, (options["filled"], *_shape(options["buffer"])), dtype)
    return inputs


def _numbers(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    # Standard normal, or indices that a table of some size has.
    drawn = rng.integers(0, GREATEST_INDEX, shape) if dtype.kind in "iu" else rng.standard_normal(shape)
    return drawn.astype(dtype)


def _dtype(name: str) -> np.dtype:
    try:
        dtype = np.dtype(name)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.hasobject or dtype.kind in "bcSUMm":
        raise InputError(
            "a dtype is one of real numbers", got=repr(name), expected="float32, bfloat16, int32, ..."
        )
    return dtype


def _shape(text: str) -> tuple[int, ...]:
    return tuple(_positive("a shape", text, "x", "768 or 12x64"))


def numbers(text: str) -> list[int]:
    """Whole numbers as an option lists them: 1,2,8."""
    return _positive("a list of counts", text, ",", "1,2,8")


def _positive(what: str, text: str, separator: str, example: str) -> list[int]:
    parts = text.split(separator)
    if not all(part.isascii() and part.isdigit() and int(part) for part in parts):
        raise InputError(
            f"{what} is of whole numbers of at least 1", got=repr(text), expected=f"such as {example}"
        )
    return [int(part) for part in parts]


# -- words ---------------------------------------------------------------------------------------


def _described(report: InvarianceClasses, inputs: Mapping[str, Any]) -> str:
    each = [
        f"{name} {' and '.join(_sized(part) for part in (given if isinstance(given, tuple) else (given,)))}"
        for name, given in inputs.items()
    ]
    where = ", ".join(f"{key} {value}" for key, value in report.environment.items())
    return f"{'; '.join(each)}; {report.batches:,} batches; {where}"


def _sized(part: Any) -> str:
    return f"{'x'.join(map(str, np.shape(part)))} {getattr(part, 'dtype', '')}".strip()


def _last_word(report: InvarianceClasses) -> str:
    if report.deterministic:
        return last_word(report.holds)
    return "[bold red]The function is not deterministic: the same batch gave other bits.[/] No more is told."
