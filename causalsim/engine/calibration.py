"""Calibration: which batch sizes keep their bits on the machine at hand, and what they cost.

Only batch sizes whose every form was measured to have the bits of the fixed-row form are chosen,
so that the choice decides how long a run takes and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from causalsim.arguments import as_int, check_type
from causalsim.engine.dispatches import LAYER
from causalsim.engine.environment import environment
from causalsim.engine.measuring import FORMS, Measurement, measure, trials
from causalsim.engine.model import Model
from causalsim.engine.tokens import check_length
from causalsim.errors import InputError
from causalsim.kernels import CERTIFIED, CERTIFIED_BUCKETS, FIXED_BUCKETS, Buckets, Kernels, longest_text
from causalsim.models import ModelConfig
from causalsim.progress import Progress, silent
from causalsim.sealed import from_line, to_line

# Positions of the texts that are measured: more than one page of K/V.
LENGTH = 192
SHOWN = 12
# Of a batch, in microseconds; a file that says more is damaged.
LONGEST = 1e12


@dataclass(frozen=True)
class Calibration:
    """What was measured of a model's forms, where, and the batch sizes that follow from it.

    ``environment`` and ``model`` are all that the bits are a property of besides the weights.
    """

    environment: Mapping[str, str]
    model: Mapping[str, Any]
    length: int
    measurements: tuple[Measurement, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """The batch sizes that were tried, rising."""
        return tuple(sorted({each.rows for each in self.measurements}))

    @property
    def dropped(self) -> tuple[int, ...]:
        """The batch sizes at which some form has other bits than at sixteen rows in order."""
        return tuple(sorted({each.rows for each in self.measurements if not each.same_bits}))

    @property
    def holds(self) -> bool:
        """Whether every batch size that was tried keeps its bits."""
        return not self.dropped

    @cached_property
    def buckets(self) -> Buckets:
        """The batch sizes to batch, with what they cost: the fixed one where no other holds beside it."""
        kept = tuple(count for count in self.counts if count not in self.dropped)
        if not {*FIXED_BUCKETS.sizes} < {*kept}:
            return FIXED_BUCKETS
        return Buckets(kept, tuple(map(self.microseconds, kept)))

    def microseconds(self, rows: int) -> float:
        """What it takes to carry so many rows up a whole column, one call a kind of event."""
        time = {each.form: each.microseconds for each in self.measurements if each.rows == rows}
        layer = sum(time[kind] for kind in LAYER)
        return time["embed"] + self.model["n_layers"] * layer + time["unembed"]

    @cached_property
    def identity(self) -> str:
        """A short digest of all that was measured, by which reports name it."""
        return hashlib.sha256(json.dumps(asdict(self), indent=1).encode()).hexdigest()[:SHOWN]

    @cached_property
    def kernels(self) -> Kernels:
        """The certified kernels with these batch sizes, to be given as ``kernels=``."""
        return replace(CERTIFIED, buckets=self.buckets, calibration=self.identity)

    def to_json(self) -> str:
        """One line of JSON with its checksum, as it is kept."""
        return to_line(asdict(self))

    @staticmethod
    def from_json(text: str | bytes) -> Calibration:
        """Read what ``to_json`` wrote; ``ValueError`` for anything else, altered in any byte."""
        try:
            content = from_line(text)
            rows = [Measurement(**row) for row in content.pop("measurements")]
            found = Calibration(**content, measurements=tuple(rows))
            whole = sorted((row.form, row.rows) for row in rows) == _EXPECTED and all(map(_is_sound, rows))
            numbers = found.length, found.model["n_layers"]
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"no calibration: {error}") from error
        if not whole or {*map(type, numbers)} != {int}:
            raise ValueError("no calibration: its measurements are not those of every form")
        return found


_EXPECTED = sorted(trials(FORMS, CERTIFIED_BUCKETS.sizes))


def _is_sound(row: Measurement) -> bool:
    types = type(row.rows), type(row.same_bits), type(row.microseconds)
    return types == (int, bool, float) and 0 < row.microseconds < LONGEST


def measured(
    model: Model,
    length: int | None = None,
    *,
    kernels: Kernels = CERTIFIED,
    forms: Sequence[str] = tuple(FORMS),
    progress: Progress = silent,
) -> Calibration:
    """Measure a model's forms on this machine, of these kernels; nothing is kept.

    ``length`` is that of the texts that are measured, by default a page and a half of K/V or the
    model's context. ``InputError`` for one that the model has no room for.
    """
    check_type("a model", model, Model, 'load("glass") or random_model(config) gives one.')
    size = min(LENGTH, longest_text(model.config)) if length is None else as_int(length)
    if size is None or size < 1:
        raise InputError("a length is a whole number of at least 1 positions", got=repr(length))
    check_length(model, 0, size)
    rows = tuple(measure(model, size, kernels, forms, progress))
    return Calibration(environment(kernels, model.dtype), plain(model.config), size, rows)


def plain(config: ModelConfig) -> dict[str, Any]:
    """A configuration as JSON gives it back."""
    return json.loads(json.dumps(asdict(config)))
