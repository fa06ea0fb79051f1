"""One pure function per kind of event, and the primitives that keep the lane rule."""

from causalsim.kernels.bundle import CERTIFIED, CERTIFIED_LANES, FIXED, FIXED_LANES, STOCK, Kernels, Lanes
from causalsim.kernels.elementwise import longest_text
from causalsim.kernels.paged import PAGE, Pages

__all__ = [
    "CERTIFIED",
    "CERTIFIED_LANES",
    "FIXED",
    "FIXED_LANES",
    "PAGE",
    "STOCK",
    "Kernels",
    "Lanes",
    "Pages",
    "longest_text",
]
