"""One pure function per kind of event, and the primitives that keep batch invariance.

**What decides bits.** By default the bits of a row of a matrix product depend on how many rows stand
beside it: XLA takes another loop for one row than for twenty. The kernels here keep one rule, *batch
invariance*: a row's bits depend on nothing but its own inputs.

- Products are cut along K into blocks of at most 128 terms, which are added in a fixed order; columns
  are padded to whole vectors (``k_blocks``).
- Attention goes over pages of 128 positions with a running softmax, so that neither the length of the
  text nor the size of the buffer enters (``paged``).
- Batches have 1, 8, 16, 32, ... rows, padded; a calibration drops sizes whose bits differ from those of
  batches of 16, and ``CAUSALSIM_BUCKETS=fixed`` takes 16 everywhere (``bundle``).
- XLA's library whose loops depend on the number of rows is switched off, for these kernels alone.
- bfloat16 is a matter of storage: kernels upcast what they read, compute in float32 and round an
  event's value once, to nearest even, so that the rule carries over (``precision``).

K/V goes into pages that are recycled after their last reader; a page is poison before it serves again,
so where it lies does not enter either. Bits remain a property of the machine and of jaxlib's version:
across those a tolerance can be claimed, bits cannot. One thread and two gave the same bits at widths of
64, 768, 2048 and 4096, and so did 3, 4, 5, 6, 8 and 16 at 64 and 768 (``tests/engine/test_threads.py``).
All of this was measured on x86-64 CPUs that multiply and add in one instruction; ``verify`` measures it on
yours.
"""

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
