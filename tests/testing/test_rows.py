"""The harness for batches, with rows made by hand: what keeps the rule holds, each kind of fault is found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causalsim.testing import BatchTrials, same_bits
from causalsim.testing.bisection import first_change

NUDGED = np.float32(1 + 2**-20)


@dataclass
class Doubled:
    """Rows whose value is twice their number and one; a fault changes a batch's values."""

    count: int
    fault: str = ""

    def __len__(self):
        return self.count

    def run(self, rows, garbage):
        found = np.where(garbage, np.nan, 2 * rows + 1).astype(np.float32)
        if self.fault == "size":
            found *= NUDGED if len(rows) != self.count else 1
        if self.fault == "place":
            found[1:] *= np.where(rows[1:] == np.arange(1, len(rows)), 1, NUDGED)
        if self.fault == "garbage":
            found += 0 * np.roll(found, 1)
        return found[:, None], rows


def tried(fault, count, seed, size=4):
    trials = BatchTrials.of(Doubled(count, fault))
    rng = np.random.default_rng(seed)
    trials.at_random(min(size, count), 6, rng)
    trials.alone(3, rng)
    return trials


@given(st.integers(1, 9), st.integers(0, 99))
def test_what_keeps_the_rule_holds_and_is_counted(count, seed):
    trials = tried("", count, seed)
    size = min(4, count)
    assert trials.divergence is None and trials.sizes == {size}
    assert trials.compared == 3 * size + 3 * -(-size // 2) + min(3, count)


@pytest.mark.parametrize("fault", ["size", "place", "garbage"])
@given(seed=st.integers(0, 99))
def test_a_fault_is_found_where_it_is(fault, seed):
    trials = tried(fault, 9, seed)
    row, place, size = trials.divergence
    batch = np.full(size, (row + 1) % 9)
    batch[place] = row
    spoilt = np.arange(size) != place if fault == "garbage" else np.zeros(size, bool)
    seen = tuple(part[place] for part in Doubled(9, fault).run(batch, spoilt))
    assert size in (4, 1) and not same_bits(seen, tuple(part[row] for part in trials.reference))


@given(st.integers(1, 10**6), st.data())
def test_bisection_finds_the_step_in_as_many_looks_as_digits(steps, data):
    changed, looks = data.draw(st.integers(1, steps)), []

    def look(place):
        looks.append(place)
        return place if place >= changed else None

    assert first_change(range(steps + 1), look, steps) == (changed - 1, changed, changed)
    assert len(looks) <= steps.bit_length()
