"""The arithmetic of causalsim: every product and every sum keeps the lane rule.

A lane's bits depend on nothing but its own row, its position and the K/V that it sees.
"""

from __future__ import annotations

from causalsim.kernels.kinds import Arithmetic
from causalsim.kernels.paged import attend
from causalsim.kernels.panels import linear, linear_into, panelled

PANELLED = Arithmetic(pack=panelled, product=linear, product_into=linear_into, attend=attend)
