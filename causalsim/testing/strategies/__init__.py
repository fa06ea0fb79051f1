"""Hypothesis strategies for property tests of schedules, engines and kernels: ``cs.strategies``.

They shrink toward one reference: ``earliest(graph)``, which is layer-major order wherever that
is valid and no residual is parallel, over one text of one position and one layer of a plain
Llama. A failing order comes down to the fewest pairs of events that must be the other way round.

Needs the extra ``test``.
"""

from causalsim.errors import MissingPackageError

try:
    import hypothesis  # noqa: F401
except ImportError:
    raise MissingPackageError(
        "strategies are drawn by the package hypothesis",
        got="no such package",
        hint="Install it: pip install 'causalsim[test]'. cs.verify works without it.",
    ) from None

from causalsim.testing.strategies.graphs import Requests, graphs, requests, wirings
from causalsim.testing.strategies.models import configs
from causalsim.testing.strategies.orders import (
    BrokenTimes,
    broken_times,
    down_sets,
    foliations,
    linear_extensions,
)
from causalsim.testing.strategies.schedules import batch_mixes, traces

__all__ = [
    "BrokenTimes", "Requests", "batch_mixes", "broken_times", "configs", "down_sets", "foliations", "graphs",
    "linear_extensions", "requests", "traces", "wirings",
]  # fmt: skip
