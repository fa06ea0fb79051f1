"""Many orders in one call (``run_orders``), whose executable is none of the dispatches': compared."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from causalsim.engine.many import TOGETHER, run_orders
from causalsim.posets import kahn_orders
from causalsim.testing.bits import same_bits
from causalsim.testing.findings import Statement
from causalsim.verification.target import Target

# The most positions over which orders are compared, and the fewest: one position has a single order.
MOST, FEWEST = 4, 2
# What logits of all orders and a second copy of the weights may take.
MOST_BYTES = 1 << 30


class Compared(NamedTuple):
    """Orders that were compared.

    Attributes:
        orders: How many, each once.
        positions: Over how many of the first positions; 0 where it would take too much memory.
        witness: The first whose logits are not the reference's.
    """

    orders: int
    positions: int
    witness: Statement | None


def compare_in_one_call(target: Target, seed: int) -> Compared:
    """Run as many random orders as advance in step, over the beginning of the first text.

    Args:
        target: The model and its kernels.
        seed: What the orders are drawn from.

    Returns:
        What was compared, and what was seen.
    """
    if (positions := _positions(target)) == 0:
        return Compared(0, 0, None)
    short = target.beginning(positions)
    orders = kahn_orders(short.graph.explicit(), np.random.default_rng(seed), TOGETHER)
    made = run_orders(short.model, short.ids[0], orders, kernels=short.kernels).logits
    due = np.stack([short.reference[event] for event in short.graph if event.kind == "unembed"])
    different = len(np.unique(orders, axis=0))
    wrong = (number for number, logits in enumerate(made) if not same_bits(logits, due))
    if (first := next(wrong, None)) is None:
        return Compared(different, len(short.ids[0]), None)
    words = "of {count} orders in one call, order {number} leaves other logits"
    return Compared(different, len(short.ids[0]), Statement.of(words, count=TOGETHER, number=first))


def _positions(target: Target) -> int:
    """Over so many positions orders are compared; the first text may be shorter."""
    weights = sum(part.nbytes for part in target.model.params.values())
    fitting = (MOST_BYTES - weights) // (TOGETHER * target.model.config.vocab_size * 4)
    return min(fitting, MOST) if fitting >= FEWEST else 0
