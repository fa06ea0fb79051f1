"""All mutations, from the order of events up to what is said of it."""

from __future__ import annotations

from tests.mutants import of_engine, of_order, of_proof

MUTATIONS = (*of_order.MUTATIONS, *of_engine.MUTATIONS, *of_proof.MUTATIONS)
