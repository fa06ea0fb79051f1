"""The Foliation type, named families, sampling, and costs over a footprint."""

from causalsim.foliations.accounts import (
    Costs,
    Shape,
    admissible,
    batches,
    costs,
    flops,
    kv_bytes_read,
    shape,
    weight_bytes_read,
)
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
from causalsim.foliations.foliation import Foliation, from_slices, from_time
from causalsim.foliations.frames import dimension, ordering_fraction, ticks
from causalsim.foliations.memory import least_peak
from causalsim.foliations.naming import chunks_of, family_of
from causalsim.foliations.orders import (
    Path,
    adjacent_swaps,
    distance,
    is_refinement,
    merge_path,
    swap_path,
    swapped,
)
from causalsim.foliations.sampling import (
    random_down_set,
    random_foliation,
    random_linear_extension,
    random_orders,
)

__all__ = [
    "Costs",
    "Foliation",
    "Footprint",
    "Path",
    "Shape",
    "Velocity",
    "adjacent_swaps",
    "admissible",
    "batches",
    "chunked",
    "chunks_of",
    "costs",
    "dimension",
    "distance",
    "earliest",
    "family_of",
    "flops",
    "from_slices",
    "from_time",
    "is_refinement",
    "kv_bytes_read",
    "latest",
    "layer_major",
    "least_peak",
    "merge_path",
    "ordering_fraction",
    "peak_at_cuts",
    "peak_during",
    "random_down_set",
    "random_foliation",
    "random_linear_extension",
    "random_orders",
    "shape",
    "swap_path",
    "swapped",
    "ticks",
    "tilt_bound",
    "tilted",
    "token_major",
    "wavefront",
    "weight_bytes_read",
]
