"""Order theory over a finite poset, given as the predecessors of elements numbered along the order.

Elements are 0 to n-1, ``predecessors[i]`` lists elements below i, and down-sets are integer bitmasks.
"""

from causalsim.posets.antichains import maximal_antichains, maximum_antichain, minimum_chain_cover, width
from causalsim.posets.chains import levels, longest_chain
from causalsim.posets.counting import (
    count_down_sets,
    count_lattice_edges,
    count_linear_extensions,
    lattice_counts,
)
from causalsim.posets.coupling import DEFAULT_STEPS, CoupledSampler
from causalsim.posets.downsets import down_sets
from causalsim.posets.extensions import kahn_order, kahn_orders, linear_extensions
from causalsim.posets.growth import DEFAULT_LIMIT
from causalsim.posets.ideals import DownSetSampler
from causalsim.posets.relations import Predecessors, closure, covers
from causalsim.posets.sampling import UniformSampler
from causalsim.posets.sizes import LatticeCounts

__all__ = [
    "DEFAULT_LIMIT", "DEFAULT_STEPS", "CoupledSampler", "DownSetSampler", "LatticeCounts", "Predecessors",
    "UniformSampler", "closure", "count_down_sets", "count_lattice_edges", "count_linear_extensions",
    "covers", "down_sets", "kahn_order", "kahn_orders", "lattice_counts", "levels", "linear_extensions",
    "longest_chain", "maximal_antichains", "maximum_antichain", "minimum_chain_cover", "width",
]  # fmt: skip
