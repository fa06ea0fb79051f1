"""Measuring a model's dispatches, and keeping the choice."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from causalsim.arguments import as_int, check_type
from causalsim.calibration.measuring import measure
from causalsim.engine import Model, calibrations
from causalsim.engine.calibrations import Calibration, kinds_of_dispatch, plain
from causalsim.engine.environment import environment
from causalsim.engine.flags import debugging_off
from causalsim.engine.tokens import check_length
from causalsim.errors import InputError
from causalsim.files import write_whole
from causalsim.kernels import CERTIFIED, Kernels, longest_text
from causalsim.models.fetching import CACHE
from causalsim.progress import Progress, silent

# Positions of the texts that are measured: more than one page of K/V.
LENGTH = 192
_HINT = 'load("glass") or random_model(config) gives one.'


@debugging_off()
def calibrate(model: Model, length: int | None = None, *, progress: Progress = silent) -> Calibration:
    """Measure a model's dispatches on this machine and keep the choice: runs of it use it from then on.

    Takes as long as compiling every kind of dispatch at every batch size.

    Args:
        model: A model.
        length: Positions of the texts that are measured, as for ``measured``.
        progress: Is called as work goes on.

    Returns:
        The calibration that was kept.

    Raises:
        InputError: There is no such model or length, or nothing can be kept.
    """
    check_type("a model", model, Model, _HINT)
    path = calibrations.file_of(model.config, model.dtype)
    _check_writable(path.parent)
    # Whatever was there before, damaged or not, is replaced.
    found = measured(model, length, progress=progress)
    write_whole(path, f"{found.to_json()}\n".encode())
    calibrations.forget()
    return found


def measured(
    model: Model,
    length: int | None = None,
    *,
    kernels: Kernels = CERTIFIED,
    dispatches: Sequence[str] | None = None,
    progress: Progress = silent,
) -> Calibration:
    """Measure a model's dispatches on this machine, of given kernels; nothing is kept.

    Args:
        model: A model.
        length: Positions of the texts that are measured, by default a page and a half of K/V or the
            model's context.
        kernels: The kernels to measure.
        dispatches: What dispatches carry, by name; by default all.
        progress: Is called as work goes on.

    Returns:
        What was measured.

    Raises:
        InputError: There is no such model, or it has no room for such a text.
    """
    check_type("a model", model, Model, _HINT)
    size = min(LENGTH, longest_text(model.config)) if length is None else as_int(length)
    if size is None or size < 1:
        raise InputError("a length is a whole number of at least 1 positions", got=repr(length))
    check_length(model, 0, size)
    carried = kinds_of_dispatch(model.config.wiring.sublayers)
    asked = {name: carried[name] for name in (carried if dispatches is None else dispatches)}
    rows = tuple(measure(model, size, kernels, asked, progress))
    return Calibration(environment(kernels, model.dtype), plain(model.config), size, rows)


def _check_writable(folder: Path) -> None:
    """Refuse, before anything is measured, a place where nothing could be kept."""
    hint = f"Set {CACHE} to a folder of yours."
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("a calibration is kept in the cache", got=str(error), hint=hint) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        got = f"{folder}, which is not writable"
        raise InputError("a calibration is kept in the cache", got=got, hint=hint)
