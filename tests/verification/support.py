"""Stand-ins for what checks find."""

from __future__ import annotations

import numpy as np

import causalsim as cs
from causalsim.testing import PlantedFault, Statement

SAID = Statement("it broke")
CAUGHT, MISSED = (PlantedFault("a fault", {"a check": found}) for found in (SAID, None))
EVENT = cs.Event("mlp", 0, 1)
VALUES, OTHERS = {EVENT: np.float32([1])}, {EVENT: np.float32([2])}


def said(value):
    """A function that always says the same."""
    return lambda *_, **__: value
