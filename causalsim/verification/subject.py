"""What is verified: a model with its kernels, over given texts on a graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from causalsim.engine import Model, Program, State, Values, compile, execute, teacher_forced
from causalsim.events import Event, EventGraph
from causalsim.foliations import earliest
from causalsim.kernels import Kernels


@dataclass(frozen=True, eq=False)
class Subject:
    """A model and kernels over texts whose ids are given (teacher-forced where the graph has feedback)."""

    model: Model
    graph: EventGraph
    ids: tuple[np.ndarray, ...]
    kernels: Kernels

    def with_kernels(self, kernels: Kernels) -> Subject:
        return replace(self, kernels=kernels)

    def fresh(self) -> State:
        """Poisoned memory with the prompts in it."""
        return State.fresh(self.model, self.graph, self.ids, teacher_forced(self.graph, self.ids))

    def values(self, program: Program) -> Values:
        """Every event's value as a program makes it."""
        _, outputs = execute(program, self.fresh(), self.kernels)
        return Values.from_outputs(self.model.config, self.graph, outputs)

    @cached_property
    def program(self) -> Program:
        """The order that others are compared with: as few slices as the graph allows."""
        return compile(earliest(self.graph))

    @cached_property
    def reference(self) -> Mapping[Event, Any]:
        return self.values(self.program)
