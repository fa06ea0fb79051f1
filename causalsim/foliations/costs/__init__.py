"""Costs of foliations over a footprint: batches, bytes, FLOPs, and the memory that is live; nothing runs."""

from causalsim.foliations.costs.comparison import Costs, Shape, admissible, costs, shape
from causalsim.foliations.costs.footprint import Footprint
from causalsim.foliations.costs.least_peak import least_peak
from causalsim.foliations.costs.peaks import peak_at_cuts, peak_during
from causalsim.foliations.costs.per_slice import batches, flops, kv_bytes_read, weight_bytes_read

__all__ = [
    "Costs", "Footprint", "Shape", "admissible", "batches", "costs", "flops", "kv_bytes_read", "least_peak",
    "peak_at_cuts", "peak_during", "shape", "weight_bytes_read",
]  # fmt: skip
