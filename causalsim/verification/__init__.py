"""Proof that order does not matter: verdicts with their coverage, and the faults that they must see.

Needs the engine. Names are fetched when used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from causalsim.lazy import fetched

if TYPE_CHECKING:
    from causalsim.engine.environment import environment as environment
    from causalsim.verification.campaign import Campaign, run_campaign
    from causalsim.verification.causal_invariance import RecordedGraph, recorded_graph
    from causalsim.verification.certificate import certify
    from causalsim.verification.counterexample import Counterexample
    from causalsim.verification.mutation import mutate
    from causalsim.verification.reproducer import Replayed, Reproducer, replay
    from causalsim.verification.score import Score
    from causalsim.verification.verifier import Report, verify

_HOMES = {
    "campaign": ["Campaign", "run_campaign"],
    "causal_invariance": ["RecordedGraph", "recorded_graph"],
    "certificate": ["certify"],
    "counterexample": ["Counterexample"],
    "mutation": ["mutate"],
    "reproducer": ["Replayed", "Reproducer", "replay"],
    "score": ["Score"],
    "verifier": ["Report", "environment", "verify"],
}

__all__ = [
    "Campaign", "Counterexample", "RecordedGraph", "Replayed", "Report", "Reproducer", "Score", "certify",
    "environment", "mutate", "recorded_graph", "replay", "run_campaign", "verify",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    return fetched(__name__, name, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
