"""The arithmetic of causalsim: every product and every sum keeps batch invariance.

A row's bits depend on nothing but its own row, its position and the K/V that it sees.
"""

from __future__ import annotations

from causalsim.kernels.k_blocks import k_blocked, linear, linear_into
from causalsim.kernels.kinds import Arithmetic
from causalsim.kernels.paged import attend

K_BLOCKED = Arithmetic(pack=k_blocked, product=linear, product_into=linear_into, attend=attend)
