"""Proof that order does not matter: verdicts with their coverage, and the faults that they must see."""

from causalsim.engine.environment import environment
from causalsim.verification.comparison import Departure, first_departure, same_bits, ulps_apart
from causalsim.verification.mutation import Score, mutate
from causalsim.verification.report import Control, Report, Verdict
from causalsim.verification.verifier import verify

__all__ = [
    "Control",
    "Departure",
    "Report",
    "Score",
    "Verdict",
    "environment",
    "first_departure",
    "mutate",
    "same_bits",
    "ulps_apart",
    "verify",
]
