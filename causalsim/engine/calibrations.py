"""Stored calibrations, and the kernels that runs take by default.

A calibration says which batch sizes keep their bits on a machine, and what they cost. Only sizes at which
every kind of dispatch was measured to have the bits of batches of sixteen are chosen, so that the choice
decides how long a run takes and nothing else. It lies in the user's cache, under all that bits are a
property of: what was measured elsewhere, of another model or of other kernels is never found.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax

from causalsim.arguments import check_type
from causalsim.engine.environment import environment
from causalsim.errors import InputError
from causalsim.events.kinds import KINDS, SUBLAYERS, kinds_at
from causalsim.kernels import CERTIFIED, CERTIFIED_BUCKETS, FIXED, FIXED_BUCKETS, Buckets, Kernels
from causalsim.models import ModelConfig
from causalsim.models.fetching import cache_folder
from causalsim.sealed import from_line, to_line

BUCKETS = "CAUSALSIM_BUCKETS"
# Where the batch sizes of the certified kernels were seen to keep their bits.
MEASURED = "cpu"
NAMED: Mapping[str, Kernels] = MappingProxyType({"fixed": FIXED, "certified": CERTIFIED})
DIGITS, SHOWN = 16, 12
# Of a dispatch, in microseconds; a file that says more is damaged.
LONGEST = 1e12


@dataclass(frozen=True)
class Carried:
    """The load of a kind of dispatch.

    Attributes:
        kinds: Kinds of events, for the same rows.
        several: True if the rows are of several texts.
        deep: True if it carries them for several layers; it has one row.
    """

    kinds: tuple[str, ...]
    several: bool = False
    deep: bool = False


def kinds_of_dispatch(sublayers: Sequence[str] = SUBLAYERS) -> dict[str, Carried]:
    """List what dispatches of a model carry, by name.

    Args:
        sublayers: The kinds of a layer.

    Returns:
        Kinds of dispatches in the order of the column.
    """
    layer = tuple(sublayers)
    found = {kind: Carried((kind,)) for kind in kinds_at("below")}
    for kind in layer:
        found[kind] = Carried((kind,))
        if KINDS[kind].attends:
            found[f"{kind}, several texts"] = Carried((kind,), several=True)
    found["layer"] = Carried(layer)
    found["layer, several texts"] = Carried(layer, several=True)
    found["several layers"] = Carried(layer, deep=True)
    return found | {kind: Carried((kind,)) for kind in kinds_at("above", "feedback")}


def trials(carried: Mapping[str, Carried], sizes: Iterable[int]) -> list[tuple[str, int]]:
    """List each kind of dispatch with each batch size that it can have."""
    counts = list(sizes)
    return [(name, size) for name, each in carried.items() for size in counts if size == 1 or not each.deep]


@dataclass(frozen=True)
class Measurement:
    """A kind of dispatch at a batch size.

    Attributes:
        dispatch: What it carries, by name.
        size: Its rows.
        same_bits: True if they have the bits of batches of sixteen, each kind apart, in order.
        microseconds: The time of one.
    """

    dispatch: str
    size: int
    same_bits: bool
    microseconds: float


@dataclass(frozen=True)
class Calibration:
    """Measurements of a model's dispatches on a machine, and the batch sizes that follow from them.

    Attributes:
        environment: Machine, versions and flags.
        model: The configuration; with ``environment`` all that bits are a property of but the weights.
        length: Positions of the texts that were measured.
        measurements: One for each kind of dispatch and batch size.
    """

    environment: Mapping[str, str]
    model: Mapping[str, Any]
    length: int
    measurements: tuple[Measurement, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The batch sizes that were tried, rising."""
        return tuple(sorted({each.size for each in self.measurements}))

    @property
    def dropped(self) -> tuple[int, ...]:
        """The batch sizes at which some dispatch has other bits than at sixteen rows in order."""
        return tuple(sorted({each.size for each in self.measurements if not each.same_bits}))

    @property
    def holds(self) -> bool:
        """True if every batch size that was tried keeps its bits."""
        return not self.dropped

    @cached_property
    def buckets(self) -> Buckets:
        """The batch sizes to dispatch, with their costs: the fixed one where no other holds beside it."""
        kept = tuple(size for size in self.sizes if size not in self.dropped)
        if not {*FIXED_BUCKETS.sizes} < {*kept}:
            return FIXED_BUCKETS
        return Buckets(kept, tuple(map(self.microseconds, kept)))

    def microseconds(self, size: int) -> float:
        """Add up what it takes to carry so many rows up a whole column, one dispatch a kind of event."""
        time = {each.dispatch: each.microseconds for each in self.measurements if each.size == size}
        layer = sum(time[kind] for kind in self.model.get("sublayers", SUBLAYERS))
        return time["embed"] + self.model["n_layers"] * layer + time["unembed"]

    @cached_property
    def identity(self) -> str:
        """A short digest of all that was measured, by which reports name it."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:SHOWN]

    @cached_property
    def kernels(self) -> Kernels:
        """The certified kernels with these batch sizes, to be given as ``kernels=``."""
        return replace(CERTIFIED, buckets=self.buckets, calibration=self.identity)

    def to_json(self) -> str:
        """Write it as one sealed line."""
        return to_line(asdict(self))

    @staticmethod
    def from_json(text: str | bytes) -> Calibration:
        """Read what ``to_json`` wrote.

        Args:
            text: A sealed line.

        Returns:
            The calibration.

        Raises:
            ValueError: It is anything else.
        """
        content = from_line(text)
        try:
            rows = [Measurement(**row) for row in content.pop("measurements")]
            found = Calibration(**content, measurements=tuple(rows))
            expected = trials(
                kinds_of_dispatch(found.model.get("sublayers", SUBLAYERS)), CERTIFIED_BUCKETS.sizes
            )
            whole = sorted((row.dispatch, row.size) for row in rows) == sorted(expected)
            numbers = found.length, found.model["n_layers"]
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"no calibration: {error}") from error
        if not (whole and all(map(_is_sound, rows))) or {*map(type, numbers)} != {int}:
            raise ValueError("no calibration: its measurements are not those of every dispatch")
        return found


def _is_sound(row: Measurement) -> bool:
    types = type(row.size), type(row.same_bits), type(row.microseconds)
    return types == (int, bool, float) and 0 < row.microseconds < LONGEST


def default_kernels(config: ModelConfig, dtype: str, kernels: Kernels | None = None) -> Kernels:
    """Choose kernels: those given; else those of the model's calibration; else the certified ones.

    Without a calibration, and on another backend than a CPU, where nothing was measured, batches have one
    size. ``CAUSALSIM_BUCKETS`` set to ``fixed`` or ``certified`` overrides the default.

    Args:
        config: The model's configuration.
        dtype: What its values are kept in.
        kernels: Kernels to take whatever is stored.

    Returns:
        The kernels.

    Raises:
        InputError: The kernels are none, or the environment variable says something else.
    """
    if kernels is not None:
        check_type("a set of kernels", kernels, Kernels, "causalsim.kernels has CERTIFIED, FIXED and STOCK.")
        return kernels
    if asked := os.environ.get(BUCKETS):
        if asked not in NAMED:
            names = " or ".join(map(repr, NAMED))
            raise InputError(f"{BUCKETS} names batch sizes", got=repr(asked), expected=names)
        return NAMED[asked]
    found = stored(config, dtype)
    if found is None:
        return CERTIFIED if jax.default_backend() == MEASURED else FIXED
    return found.kernels


def stored(config: ModelConfig, dtype: str) -> Calibration | None:
    """Find the calibration that was kept of a model on this machine, if there is one."""
    return _stored(cache_folder(), config, tuple(environment(dtype=dtype).items()))


def forget() -> None:
    """Read stored calibrations anew from now on."""
    _stored.cache_clear()


def file_of(config: ModelConfig, dtype: str) -> Path:
    """Tell where the calibration of a model on this machine is kept."""
    return _file(cache_folder(), config, environment(dtype=dtype))


def is_damaged(config: ModelConfig, dtype: str) -> bool:
    """Tell if a file lies where a model's calibration is kept, and is not one as it was written."""
    path = file_of(config, dtype)
    try:
        _read(path, config, environment(dtype=dtype))
    except ValueError:
        return True
    except OSError:
        pass
    return False


def plain(config: ModelConfig) -> dict[str, Any]:
    """Write a configuration as JSON gives it back."""
    return json.loads(json.dumps(asdict(config)))


def _file(folder: Path, config: ModelConfig, facts: Mapping[str, str]) -> Path:
    key = json.dumps([facts, plain(config)]).encode()
    return folder / "calibrations" / f"{hashlib.sha256(key).hexdigest()[:DIGITS]}.json"


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
