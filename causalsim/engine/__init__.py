"""Programs, state, execution, runs."""

from causalsim.engine.calibration import Calibration
from causalsim.engine.execution import as_run, event_values, execute, step
from causalsim.engine.kept import calibrate, kernels_for
from causalsim.engine.machine import Output
from causalsim.engine.many import ManyRuns, run_orders
from causalsim.engine.model import Model, load, random_model
from causalsim.engine.program import Batch, Program, compile, compile_unchecked
from causalsim.engine.runs import Run, generate, run, teacher_forced
from causalsim.engine.state import Sampling, State
from causalsim.engine.values import Values

__all__ = [
    "Batch",
    "Calibration",
    "ManyRuns",
    "Model",
    "Output",
    "Program",
    "Run",
    "Sampling",
    "State",
    "Values",
    "as_run",
    "calibrate",
    "compile",
    "compile_unchecked",
    "event_values",
    "execute",
    "generate",
    "kernels_for",
    "load",
    "random_model",
    "run",
    "run_orders",
    "step",
    "teacher_forced",
]  # fmt: skip
