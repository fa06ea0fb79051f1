"""Proof that order does not matter: verdicts with their coverage, and the faults that they must see."""

from causalsim.engine.environment import environment
from causalsim.verification.campaign import Campaign, run_campaign
from causalsim.verification.comparison import (
    Departure,
    first_departure,
    relative_error,
    same_bits,
    ulps_apart,
)
from causalsim.verification.counterexample import Counterexample
from causalsim.verification.mutation import Score, mutate
from causalsim.verification.recorded import ValuesCheck
from causalsim.verification.report import Control, Report, Verdict
from causalsim.verification.reproducer import Replayed, Reproducer, replay
from causalsim.verification.steps import trace_of_steps
from causalsim.verification.trace_check import TraceCheck, check_trace
from causalsim.verification.traces import Fault
from causalsim.verification.verifier import verify

__all__ = [
    "Campaign",
    "Control",
    "Counterexample",
    "Departure",
    "Fault",
    "Replayed",
    "Report",
    "Reproducer",
    "Score",
    "TraceCheck",
    "ValuesCheck",
    "Verdict",
    "check_trace",
    "environment",
    "first_departure",
    "mutate",
    "relative_error",
    "replay",
    "run_campaign",
    "same_bits",
    "trace_of_steps",
    "ulps_apart",
    "verify",
]
