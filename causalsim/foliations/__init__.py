"""The Foliation type, named families, sampling, and costs over a footprint."""

from causalsim.foliations.costs import Footprint, peak_at_cuts, peak_during
from causalsim.foliations.families import (
    Velocity,
    chunked,
    earliest,
    latest,
    layer_major,
    tilt_bound,
    tilted,
    token_major,
    wavefront,
)
from causalsim.foliations.foliation import Foliation, describe, from_slices, from_time
from causalsim.foliations.sampling import (
    random_down_set,
    random_foliation,
    random_linear_extension,
    random_orders,
)

__all__ = [
    "Foliation",
    "Footprint",
    "Velocity",
    "chunked",
    "describe",
    "earliest",
    "from_slices",
    "from_time",
    "latest",
    "layer_major",
    "peak_at_cuts",
    "peak_during",
    "random_down_set",
    "random_foliation",
    "random_linear_extension",
    "random_orders",
    "tilt_bound",
    "tilted",
    "token_major",
    "wavefront",
]
