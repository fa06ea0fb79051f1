"""Proof that order does not matter: verdicts with their coverage, and the faults that they must see.

Names are fetched when used: the pytest plugin lives here, and no test run may pay for JAX because of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from causalsim.lazy import fetched

if TYPE_CHECKING:
    from causalsim.engine.environment import environment as environment
    from causalsim.verification.campaign import Campaign, run_campaign
    from causalsim.verification.certificate import Certificate, Condition, certify
    from causalsim.testing.bits import (
        Divergence,
        first_divergence,
        relative_error,
        same_bits,
        ulps_apart,
    )
    from causalsim.verification.counterexample import Counterexample
    from causalsim.testing.invariance import invariance_classes
    from causalsim.testing.invariance_report import InvarianceClasses
    from causalsim.verification.mutation import mutate
    from causalsim.testing.order_check import OrderDivergence, OrdersCheck, check_orders
    from causalsim.testing.value_check import ValuesCheck
    from causalsim.verification.causal_invariance import RecordedGraph, recorded_graph
    from causalsim.verification.report import Control, Report, Verdict
    from causalsim.verification.reproducer import Replayed, Reproducer, replay
    from causalsim.verification.score import Mutation, Score
    from causalsim.testing.steps import trace_of_steps
    from causalsim.testing.trace_check import TraceCheck, check_trace
    from causalsim.testing.traces import Fault
    from causalsim.verification.verifier import verify

_HOMES = {
    "campaign": ["Campaign", "run_campaign"],
    "certificate": ["Certificate", "Condition", "certify"],
    "comparison": ["Divergence", "first_divergence", "relative_error", "same_bits", "ulps_apart"],
    "counterexample": ["Counterexample"],
    "foreign": ["invariance_classes"],
    "invariance_report": ["InvarianceClasses"],
    "mutation": ["mutate"],
    "orders_check": ["OrderDivergence", "OrdersCheck", "check_orders"],
    "recorded": ["ValuesCheck"],
    "recording": ["RecordedGraph", "recorded_graph"],
    "report": ["Control", "Report", "Verdict"],
    "reproducer": ["Replayed", "Reproducer", "replay"],
    "score": ["Mutation", "Score"],
    "steps": ["trace_of_steps"],
    "trace_check": ["TraceCheck", "check_trace"],
    "traces": ["Fault"],
    "verifier": ["environment", "verify"],
}

__all__ = [
    "Campaign",
    "Certificate",
    "Condition",
    "Control",
    "Counterexample",
    "Divergence",
    "Fault",
    "InvarianceClasses",
    "Mutation",
    "OrderDivergence",
    "OrdersCheck",
    "RecordedGraph",
    "Replayed",
    "Report",
    "Reproducer",
    "Score",
    "TraceCheck",
    "ValuesCheck",
    "Verdict",
    "certify",
    "check_orders",
    "check_trace",
    "environment",
    "first_divergence",
    "invariance_classes",
    "mutate",
    "recorded_graph",
    "relative_error",
    "replay",
    "run_campaign",
    "same_bits",
    "trace_of_steps",
    "ulps_apart",
    "verify",
]


def __getattr__(name: str) -> Any:
    return fetched(__name__, name, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
