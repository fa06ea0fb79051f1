"""Conditions on executables, read off their programs: rows apart, addresses as addresses, no steering.

Every program of every foliation is a sequence of dispatches of the same executables. So what is shown of
each executable, over cells, indices and draws that stay unknown, holds for all programs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from causalsim.engine import run_dispatch
from causalsim.engine.planning import IndexArrays
from causalsim.engine.state import ARRAYS
from causalsim.kernels.paged import tile_of
from causalsim.verification.dataflow import misused, steered
from causalsim.verification.flows import CELLS, Flow, rows_along
from causalsim.verification.row_flow import mixed_rows
from causalsim.verification.target import Target
from causalsim.verification.trials import Form


@dataclass(frozen=True)
class Traced:
    """The program of a dispatch: a jaxpr over cells, indices and draws, and the role of each argument.

    Attributes:
        form: What it carries.
        closed: The jaxpr with its constants, which are the weights.
        names: A path for each argument.
        leaves: The arguments with which it was traced.
    """

    form: Form
    closed: Any
    names: tuple[str, ...]
    leaves: tuple[Any, ...]

    def flows(self, rows: int) -> list[Flow]:
        """The flow of each argument, as dispatches give them."""
        return [self._flow(name, leaf, rows) for name, leaf in zip(self.names, self.leaves, strict=True)]

    def _flow(self, name: str, leaf: Any, rows: int) -> Flow:
        if name.startswith(ARRAYS) or "given" in name:
            return CELLS
        if "rows" in name or ("table" in name and leaf.ndim == 2):
            return rows_along(0, leaf.shape)
        if "extent" in name:
            return rows_along(0, leaf.shape, tile_of(rows))
        return Flow()

    def addresses(self) -> list[bool]:
        """True for what says where something lies and is no fact about an event."""
        return [
            any(word in name for word in ("rows[0]", "table", "layer")) or _page(name) for name in self.names
        ]

    def cells(self, *, sampling: bool = False) -> list[bool]:
        """True for what lies in memory; the ids that samples are given, too, if asked for."""
        return [name.startswith(ARRAYS) or (sampling and "given" in name) for name in self.names]


def _page(name: str) -> bool:
    return "rows[" in name and "rows[1]" not in name


def traced(target: Target, form: Form, several: bool) -> Traced:
    """Trace a dispatch of a form, over unknown cells, indices and draws."""
    # Options are of a whole program; weights are made before tracing, not as a part of it.
    plain = target.with_kernels(replace(target.kernels, compiler_options=())).computation
    # Pools that a dispatch does not take are no part of its program.
    state = target.fresh(max(form.layers, 1))
    planner = target.planner(state, form.rows)
    dispatch = planner.scratch(form.site, form.rows, layers=form.layers, several=several)
    given = {**state.cells(), "sampling": state.sampling, "at": _apart(dispatch.indices)}

    def run(given: dict[str, Any]) -> Any:
        cells = {name: given[name] for name in (*ARRAYS, "sampling")}
        own = replace(dispatch, indices=given["at"])
        after, values = run_dispatch(own, replace(state, **cells), plain)
        return after.cells(), values

    leaves, _ = jax.tree_util.tree_flatten_with_path(given)
    names = tuple(_name(path) for path, _ in leaves)
    closed = jax.make_jaxpr(run)(given)
    return Traced(form, closed, names, tuple(leaf for _, leaf in leaves))


def _apart(at: IndexArrays) -> IndexArrays:
    """Indices whose parts are arrays of their own."""
    return jax.tree.map(jnp.asarray, at._replace(rows=tuple(at.rows)))  # type: ignore[arg-type]


def _name(path: Iterable[Any]) -> str:
    return jax.tree_util.keystr(tuple(path)).replace("['", "").replace("']", "").replace("at.", "", 1)


def unsound(program: Traced) -> Iterator[tuple[str, str]]:
    """Yield a condition and the way in which the program of a dispatch breaks it."""
    jaxpr, constants = program.closed.jaxpr, program.closed.consts
    results, faults = mixed_rows(jaxpr, constants, program.flows(program.form.rows))
    for reason in (*faults, *(flow.mixed for flow in results if flow.mixed)):
        yield "rows", reason
    for fault in steered(jaxpr, program.cells()):
        yield "addresses", fault
    for fault in misused(jaxpr, program.addresses(), program.cells(sampling=True)):
        yield "addresses", fault
