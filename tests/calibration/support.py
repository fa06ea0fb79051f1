"""Calibrations as if they had been measured, and where they are kept."""

from __future__ import annotations

from importlib import import_module

import numpy as np

from causalsim.engine import Calibration, calibrations
from causalsim.engine.calibrations import Measurement, kinds_of_dispatch, plain, trials
from causalsim.engine.environment import environment
from causalsim.kernels import CERTIFIED_BUCKETS, Buckets
from tests.models_for_tests import tiny

MODEL = tiny(2, 2, 1)
FEW = Buckets((1, 16))
CARRIED = kinds_of_dispatch()
# The package has a function of the same name.
MODULE = import_module("causalsim.calibration.storing")
# Two pages of K/V, and no batch of sixteen that is not full.
LENGTH = 256


def made(
    model=MODEL, dropped=(), dispatches=tuple(CARRIED), sizes=CERTIFIED_BUCKETS.sizes, seed=0
) -> Calibration:
    """A calibration as if it had been measured, with random times."""
    rng = np.random.default_rng(seed)
    rows = tuple(
        Measurement(dispatch, size, size not in dropped, float(rng.uniform(1, 9)))
        for dispatch, size in trials({name: CARRIED[name] for name in dispatches}, sizes)
    )
    return Calibration(environment(), plain(model.config), 192, rows)


def file_of(model):
    return calibrations.file_of(model.config, model.dtype)


def is_damaged(model) -> bool:
    return calibrations.is_damaged(model.config, model.dtype)


def stored(model) -> Calibration | None:
    return calibrations.stored(model.config, model.dtype)


def kernels_for(model, kernels=None):
    return model.kernels_or(kernels)


def keep(found: Calibration, model=MODEL) -> None:
    path = file_of(model)
    path.parent.mkdir(exist_ok=True)
    path.write_text(found.to_json())
