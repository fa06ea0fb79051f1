"""Scenarios: their files' schema, loading, checking and running."""

from causalsim.scenario.experiment import Experiment, prepare
from causalsim.scenario.outcome import FoliationRow, Outcome, RouteRow
from causalsim.scenario.reading import check, load, parse
from causalsim.scenario.running import in_words, run
from causalsim.scenario.schema import Scenario

__all__ = [
    "Experiment", "FoliationRow", "Outcome", "RouteRow", "Scenario", "check", "in_words", "load", "parse",
    "prepare", "run",
]  # fmt: skip
