"""Programs, plans, states, execution, runs."""

from causalsim.engine.calibrations import Calibration
from causalsim.engine.event_function import EventFunction, event_function
from causalsim.engine.executor import Computation, Output, as_run, event_values, execute, run_dispatch
from causalsim.engine.layout import Layout
from causalsim.engine.many import ManyRuns, run_orders
from causalsim.engine.model import Model, load, random_model
from causalsim.engine.planning import Dispatch, Plan, Planner, plan
from causalsim.engine.program import Batch, Program, compile, compile_together, compile_unchecked
from causalsim.engine.runs import RequestRun, Run, generate, run, teacher_forced
from causalsim.engine.state import Sampling, State
from causalsim.engine.values import Values

__all__ = [
    "Batch", "Calibration", "Computation", "Dispatch", "EventFunction", "Layout", "ManyRuns", "Model",
    "Output", "Plan", "Planner", "Program", "RequestRun", "Run", "Sampling", "State", "Values", "as_run",
    "compile", "compile_together", "compile_unchecked", "event_function", "event_values", "execute",
    "generate", "load", "plan", "random_model", "run", "run_dispatch", "run_orders", "teacher_forced",
]  # fmt: skip
