"""Many orders in one call (``run_orders``), whose executable is none of the dispatches': compared."""

from __future__ import annotations

import numpy as np

from causalsim.engine.many import TOGETHER, run_orders
from causalsim.posets import kahn_orders
from causalsim.testing.bits import same_bits
from causalsim.testing.findings import Statement
from causalsim.verification.target import Target

# Positions over which orders are compared, and bytes that the logits of all may take.
POSITIONS, MOST_BYTES = 4, 1 << 28


def in_one_call(target: Target, seed: int) -> tuple[int, Statement | None]:
    """Run as many random orders as advance in step, over the beginning of the first text.

    Args:
        target: The model and its kernels.
        seed: What the orders are drawn from.

    Returns:
        The number of orders, and the first whose logits are not the reference's.
    """
    fitting = MOST_BYTES // (TOGETHER * target.model.config.vocab_size * 4)
    short = target.beginning(min(POSITIONS, max(fitting, 1)))
    orders = kahn_orders(short.graph.explicit(), np.random.default_rng(seed), TOGETHER)
    made = run_orders(short.model, short.ids[0], orders, kernels=short.kernels).logits
    due = np.stack([short.reference[event] for event in short.graph if event.kind == "unembed"])
    wrong = (number for number, logits in enumerate(made) if not same_bits(logits, due))
    if (first := next(wrong, None)) is None:
        return TOGETHER, None
    words = "of {count} orders in one call, order {number} leaves other logits"
    return TOGETHER, Statement.of(words, count=TOGETHER, number=first)
