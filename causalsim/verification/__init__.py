"""Proof that order does not matter: verdicts with their coverage, and the faults that they must see."""

from causalsim.verification.comparison import (
    Departure,
    first_departure,
    relative_error,
    same_bits,
    ulps_apart,
)
from causalsim.verification.recorded import ValuesCheck
from causalsim.verification.report import Control, Report, Verdict
from causalsim.verification.steps import trace_of_steps
from causalsim.verification.trace_check import Costs, TraceCheck, check_trace
from causalsim.verification.traces import Fault
from causalsim.verification.verifier import environment, verify

__all__ = [
    "Control",
    "Costs",
    "Departure",
    "Fault",
    "Report",
    "TraceCheck",
    "ValuesCheck",
    "Verdict",
    "check_trace",
    "environment",
    "first_departure",
    "relative_error",
    "same_bits",
    "trace_of_steps",
    "ulps_apart",
    "verify",
]
