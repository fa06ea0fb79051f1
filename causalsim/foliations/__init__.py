"""The Foliation type, one registry of families, sampling, steps from one to another, and costs."""

from causalsim.foliations.costs import (
    Costs,
    Footprint,
    Shape,
    admissible,
    batches,
    costs,
    flops,
    kv_bytes_read,
    least_peak,
    peak_at_cuts,
    peak_during,
    shape,
    weight_bytes_read,
)
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
from causalsim.foliations.recognition import chunks_of
from causalsim.foliations.registry import FAMILIES, Argument, Family, family_of
from causalsim.foliations.sampling import (
    random_down_set,
    random_foliation,
    random_linear_extension,
    random_orders,
)
from causalsim.foliations.spacetime import dimension, ordering_fraction, ticks
from causalsim.foliations.swaps_and_merges import (
    Path,
    adjacent_swaps,
    distance,
    is_refinement,
    merge_path,
    swap_path,
    swapped,
)

__all__ = [
    "FAMILIES", "Argument", "Costs", "Family", "Foliation", "Footprint", "Path", "Shape", "Velocity",
    "adjacent_swaps", "admissible", "batches", "chunked", "chunks_of", "costs", "dimension", "distance",
    "earliest", "family_of", "flops", "from_slices", "from_time", "is_refinement", "kv_bytes_read", "latest",
    "layer_major", "least_peak", "merge_path", "ordering_fraction", "peak_at_cuts", "peak_during",
    "random_down_set", "random_foliation", "random_linear_extension", "random_orders", "shape", "swap_path",
    "swapped", "ticks", "tilt_bound", "tilted", "token_major", "wavefront", "weight_bytes_read",
]  # fmt: skip
