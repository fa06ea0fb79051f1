"""One pure function per kind of event, and the primitives that keep batch invariance."""

from causalsim.kernels.bundle import (
    CERTIFIED,
    CERTIFIED_BUCKETS,
    FIXED,
    FIXED_BUCKETS,
    STOCK,
    Buckets,
    Kernels,
)
from causalsim.kernels.elementwise import longest_text
from causalsim.kernels.paged import KV, PAGE, Pages

__all__ = [
    "CERTIFIED",
    "CERTIFIED_BUCKETS",
    "FIXED",
    "FIXED_BUCKETS",
    "KV",
    "PAGE",
    "STOCK",
    "Buckets",
    "Kernels",
    "Pages",
    "longest_text",
]
