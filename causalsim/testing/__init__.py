"""Checks for other people's engines, kernels and tests: traces, values, rows and orders.

Needs no model of ours and none of our arithmetic. Names are fetched when used: the pytest plugin lives
here, and no test run may pay for NumPy or JAX because of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from causalsim.lazy import fetched

if TYPE_CHECKING:
    from causalsim.testing.bits import Divergence, first_divergence, relative_error, same_bits, ulps_apart
    from causalsim.testing.classes import InvarianceClasses
    from causalsim.testing.findings import Finding, PlantedFault, Statement
    from causalsim.testing.invariance import invariance_classes
    from causalsim.testing.order_check import OrderDivergence, OrdersCheck, check_orders
    from causalsim.testing.rows import BatchTrials, Rows
    from causalsim.testing.steps import trace_of_steps
    from causalsim.testing.trace_check import TraceCheck, check_trace
    from causalsim.testing.traces import Fault
    from causalsim.testing.value_check import ValuesCheck, compare_values

_HOMES = {
    "bits": ["Divergence", "first_divergence", "relative_error", "same_bits", "ulps_apart"],
    "classes": ["InvarianceClasses"],
    "findings": ["Finding", "PlantedFault", "Statement"],
    "invariance": ["invariance_classes"],
    "order_check": ["OrderDivergence", "OrdersCheck", "check_orders"],
    "rows": ["BatchTrials", "Rows"],
    "steps": ["trace_of_steps"],
    "trace_check": ["TraceCheck", "check_trace"],
    "traces": ["Fault"],
    "value_check": ["ValuesCheck", "compare_values"],
}

__all__ = [
    "BatchTrials", "Divergence", "Fault", "Finding", "InvarianceClasses", "OrderDivergence", "OrdersCheck",
    "PlantedFault", "Rows", "Statement", "TraceCheck", "ValuesCheck", "check_orders", "check_trace",
    "compare_values", "first_divergence", "invariance_classes", "relative_error", "same_bits",
    "trace_of_steps", "ulps_apart",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    return fetched(__name__, name, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
