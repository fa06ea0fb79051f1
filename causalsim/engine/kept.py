"""The calibration of a model that is kept on this machine, and the kernels that runs take by default.

It lies in the user's cache, under all that bits are a property of: what was measured elsewhere, of
another model or of other kernels is never found.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import jax

from causalsim.arguments import check_type
from causalsim.engine.calibration import Calibration, measured, plain
from causalsim.engine.environment import environment
from causalsim.engine.model import Model
from causalsim.errors import InputError
from causalsim.files import write_whole
from causalsim.kernels import CERTIFIED, FIXED, Kernels
from causalsim.models import ModelConfig
from causalsim.models.fetching import CACHE, cache_folder
from causalsim.progress import Progress, silent

BUCKETS = "CAUSALSIM_BUCKETS"
# Where the batch sizes of the certified kernels were seen to keep their bits.
MEASURED = "cpu"
NAMED: Mapping[str, Kernels] = MappingProxyType({"fixed": FIXED, "certified": CERTIFIED})
SHOWN = 16


def calibrate(model: Model, length: int | None = None, *, progress: Progress = silent) -> Calibration:
    """Measure a model's forms on this machine and keep the choice: runs of it use it from then on.

    Takes as long as compiling every form at every batch size. ``length`` is as for
    ``measured``. Raises ``InputError`` as that does, and where nothing can be kept.
    """
    check_type("a model", model, Model, 'load("glass") or random_model(config) gives one.')
    path = file_of(model)
    _check_kept(path.parent)
    # Whatever was there before, damaged or not, is replaced.
    found = measured(model, length, progress=progress)
    write_whole(path, f"{found.to_json()}\n".encode())
    _stored.cache_clear()
    return found


def kernels_for(model: Model, kernels: Kernels | None = None) -> Kernels:
    """The kernels given; by default those of the model's calibration, and the certified ones without one.

    Without one, and on another backend than a CPU, where nothing was measured, rows are fixed.
    ``CAUSALSIM_BUCKETS`` set to ``fixed`` or ``certified`` overrides the default; ``InputError`` for
    anything else.
    """
    if kernels is not None:
        check_type("a set of kernels", kernels, Kernels, "causalsim.kernels has CERTIFIED, FIXED and STOCK.")
        return kernels
    if asked := os.environ.get(BUCKETS):
        if asked not in NAMED:
            raise InputError(f"{BUCKETS} names rows", got=repr(asked), expected=" or ".join(map(repr, NAMED)))
        return NAMED[asked]
    found = stored(model)
    if found is None:
        return CERTIFIED if jax.default_backend() == MEASURED else FIXED
    return found.kernels


def stored(model: Model) -> Calibration | None:
    """The calibration that was kept of a model on this machine, if there is one."""
    return _stored(cache_folder(), model.config, tuple(environment(dtype=model.dtype).items()))


def file_of(model: Model) -> Path:
    """Where the calibration of a model on this machine is kept."""
    return _file(cache_folder(), model.config, environment(dtype=model.dtype))


def is_damaged(model: Model) -> bool:
    """Whether a file lies where the calibration of a model is kept, and is not one as it was written."""
    path = file_of(model)
    try:
        _read(path, model.config, environment(dtype=model.dtype))
    except ValueError:
        return True
    except OSError:
        pass
    return False


def _file(folder: Path, config: ModelConfig, facts: Mapping[str, str]) -> Path:
    key = json.dumps([facts, plain(config)]).encode()
    return folder / "rows" / f"{hashlib.sha256(key).hexdigest()[:SHOWN]}.json"


@lru_cache(maxsize=64)
def _stored(folder: Path, config: ModelConfig, facts: tuple[tuple[str, str], ...]) -> Calibration | None:
    """Read once a process; a file that is damaged or speaks of something else is as good as none."""
    try:
        return _read(_file(folder, config, dict(facts)), config, dict(facts))
    except (OSError, ValueError):
        return None


def _read(path: Path, config: ModelConfig, facts: Mapping[str, str]) -> Calibration:
    found = Calibration.from_json(path.read_bytes().removesuffix(b"\n"))
    if (found.environment, found.model) != (facts, plain(config)):
        raise ValueError("the calibration of something else")
    return found


def _check_kept(folder: Path) -> None:
    """Refuse, before anything is measured, a place where nothing could be kept."""
    hint = f"Set {CACHE} to a folder of yours."
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("a calibration is kept in the cache", got=str(error), hint=hint) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(
            "a calibration is kept in the cache", got=f"{folder}, which is not writable", hint=hint
        )
