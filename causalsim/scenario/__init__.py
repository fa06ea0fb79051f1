"""What a scenario file may say; load it, check it, run it."""

from causalsim.scenario.experiment import Experiment, prepare
from causalsim.scenario.families import FAMILIES, build, written
from causalsim.scenario.outcome import Check, OrderRow, Outcome, RouteRow
from causalsim.scenario.reading import check, load, parse
from causalsim.scenario.running import run
from causalsim.scenario.schema import Scenario

__all__ = [
    "FAMILIES",
    "Check",
    "Experiment",
    "OrderRow",
    "Outcome",
    "RouteRow",
    "Scenario",
    "build",
    "check",
    "load",
    "parse",
    "prepare",
    "run",
    "written",
]
