"""Programs, state, execution, runs."""

from causalsim.engine.execution import as_run, event_values, execute, step
from causalsim.engine.machine import Output
from causalsim.engine.many import ManyRuns, run_orders
from causalsim.engine.model import Model, load, random_model
from causalsim.engine.program import Launch, Program, compile, compile_unchecked
from causalsim.engine.runs import Run, generate, run, teacher_forced
from causalsim.engine.state import Sampling, State
from causalsim.engine.values import Values

__all__ = [
    "Launch", "ManyRuns", "Model", "Output", "Program", "Run", "Sampling", "State", "Values",
    "as_run", "compile", "compile_unchecked", "event_values", "execute", "generate", "load", "random_model",
    "run", "run_orders", "step", "teacher_forced",
]  # fmt: skip
