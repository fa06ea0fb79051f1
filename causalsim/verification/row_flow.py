"""Independence of rows, read off a jaxpr: a row's results come of its own indices, memory and what all share.

Every value is followed by its flow. An operation that lets two rows meet, or takes a row by its place, gives
a value that is ``mixed``, and with it whatever is computed of it. What is left for a backend to do wrong is
to run equal operations on equal rows in different ways: that is tried and not proved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from causalsim.verification.flows import (
    Digit,
    Flow,
    Shape,
    along,
    combined,
    meet,
    of_constant,
    scalars,
    whole,
)
from causalsim.verification.row_rules import (
    CALLS,
    ELEMENTWISE,
    KEEPING,
    OPAQUE,
    OPERATIONS,
    WRITING,
    draws_together,
)


def mixed_rows(jaxpr: Any, constants: Sequence[Any], given: Sequence[Flow]) -> tuple[list[Flow], list[str]]:
    """Follow flows through a jaxpr.

    Args:
        jaxpr: The jaxpr.
        constants: Its constants, which no row chooses.
        given: The flow of each argument.

    Returns:
        The flow of each result, and what was seen on the way that no result tells: a write of mixed rows
        to memory, memory that is read as a whole, or a call that cannot be looked into.
    """
    tracer = _Tracer()
    outer = [of_constant(constant) for constant in constants]
    return tracer.through(jaxpr, [*outer, *given]), list(tracer.faults)


@dataclass
class _Tracer:
    """Flows through jaxprs within jaxprs, and what was seen on the way."""

    faults: dict[str, None] = field(default_factory=dict)

    def through(self, jaxpr: Any, given: Sequence[Flow]) -> list[Flow]:
        """Return the flow of each result of a jaxpr."""
        fresh = [replace(flow, written=False) for flow in given]
        flows = dict(zip([*jaxpr.constvars, *jaxpr.invars], fresh, strict=True))
        lasting = _lasting(jaxpr)

        def of(variable: Any) -> Flow:
            return of_constant(variable.val) if hasattr(variable, "val") else flows[variable]

        for equation in jaxpr.eqns:
            found = self._equation(equation, [of(variable) for variable in equation.invars])
            flows.update(zip(equation.outvars, found, strict=True))
            writes = equation.primitive.name in WRITING
            if writes and any(flow.written for flow, each in zip(found, equation.outvars, strict=True)
                              if each not in lasting):  # fmt: skip
                self.faults[f"{equation.primitive.name} writes to a copy of memory"] = None
        return [of(variable) for variable in jaxpr.outvars]

    def _equation(self, equation: Any, given: Sequence[Flow]) -> Sequence[Flow]:
        name, params = equation.primitive.name, equation.params
        # What has effects, such as a reference that is written and read, goes by ways that no value tells.
        if equation.effects or any(word in name for word in OPAQUE):
            self.faults[f"{name} cannot be looked into"] = None
            return [Flow(mixed=f"{name} cannot be looked into")] * len(equation.outvars)
        loops = {"while": self._while, "scan": self._scan, "cond": self._cond}
        if name in loops:
            return loops[name](params, given, equation)
        if name in CALLS:
            return self._call(params["jaxpr"] if "jaxpr" in params else params["call_jaxpr"], given)
        if name == "random_bits" and draws_together(equation.invars[0].aval):
            return [given[0].spoilt("random_bits draws for all rows by the first row's key")]
        shapes = [variable.aval.shape for variable in equation.invars]
        outs = [variable.aval.shape for variable in equation.outvars]
        if name.startswith("scatter"):
            return [self._scatter(name, given, shapes, params)]
        if name not in KEEPING and any(flow.memory for flow in given):
            self.faults[f"{name} reads cells at no address"] = None
        return self._plain(name, given, shapes, outs, params)

    def _plain(
        self,
        name: str,
        given: Sequence[Flow],
        shapes: Sequence[Shape],
        outs: Sequence[Shape],
        params: Mapping[str, Any],
    ) -> Sequence[Flow]:
        if mixed := next((flow.mixed for flow in given if flow.mixed), ""):
            # A barrier hands each of its values on by itself.
            return given if name == "optimization_barrier" else [Flow(mixed=mixed)] * len(outs)
        if name in ELEMENTWISE:
            ranked = [
                flow if shape else scalars([flow])[0] for flow, shape in zip(given, shapes, strict=True)
            ]
            return [_named(combined(ranked, outs[0]), name)] * len(outs)
        if name in OPERATIONS:
            return [_named(flow, name) for flow in OPERATIONS[name](given, shapes, outs, params)]
        if all(flow.is_shared for flow in given):
            return [Flow(memory=any(flow.memory for flow in given))] * len(outs)
        return [Flow(mixed=f"{name} is not known to keep rows apart")] * len(outs)

    def _call(self, inner: Any, given: Sequence[Flow]) -> list[Flow]:
        constants = [of_constant(constant) for constant in getattr(inner, "consts", ())]
        return self.through(getattr(inner, "jaxpr", inner), [*constants, *given])

    def _scatter(
        self, name: str, given: Sequence[Flow], shapes: Sequence[Shape], params: Mapping[str, Any]
    ) -> Flow:
        operand, indices, updates = given
        numbers, rank = params["dimension_numbers"], len(shapes[2])
        batch = [axis for axis in range(rank) if axis not in numbers.update_window_dims]
        at = along(indices, [len(shapes[1]) - 1], "takes an address from several rows")
        at = at.moved(dict(enumerate(batch)) | {len(shapes[1]) - 1: -1}, numbers.update_window_dims)
        wrote = combined([at, updates], shapes[2])
        if operand.memory:
            if wrote.mixed:
                self.faults[f"memory gets what {wrote.mixed}"] = None
            if name != "scatter":
                self.faults[f"{name} adds to what memory holds"] = None
            if not (updates.digits <= at.digits and updates.fixed <= at.fixed):
                self.faults["several rows are written at an address that is none of theirs"] = None
            return replace(operand, written=True)
        if operand.is_shared and wrote.is_shared:
            return Flow()
        return _named(operand.spoilt(wrote.mixed or "writes rows at addresses"), "scatter")

    def _while(self, params: Mapping[str, Any], given: Sequence[Flow], equation: Any) -> list[Flow]:
        of_cond, of_body = params["cond_nconsts"], params["body_nconsts"]
        cond, body, carry = given[:of_cond], given[of_cond : of_cond + of_body], given[of_cond + of_body :]
        shapes = [variable.aval.shape for variable in equation.outvars]
        carry = _settled(lambda now: self._call(params["body_jaxpr"], [*body, *now]), carry, shapes)
        (turns,) = self._call(params["cond_jaxpr"], [*cond, *carry])
        if turns.mixed:
            return [flow.spoilt(f"loops as often as several rows say ({turns.mixed})") for flow in carry]
        return [replace(flow, fixed=flow.fixed | turns.fixed) for flow in carry]

    def _cond(self, params: Mapping[str, Any], given: Sequence[Flow], equation: Any) -> list[Flow]:
        shapes = [variable.aval.shape for variable in equation.outvars]
        branches = [self._call(branch, given[1:]) for branch in params["branches"]]
        chosen = scalars(given[:1])
        return [
            combined([*each, *chosen], shape)
            for *each, shape in zip(*branches, shapes, strict=True)
        ]  # fmt: skip

    def _scan(self, params: Mapping[str, Any], given: Sequence[Flow], equation: Any) -> list[Flow]:
        consts, carried, length = params["num_consts"], params["num_carry"], params["length"]
        before, carry, rest = given[:consts], given[consts : consts + carried], given[consts + carried :]
        over = {digit for flow in rest for digit in flow.digits if digit.axis == 0}
        if len(over) > 1 or any((digit.stride, digit.size) != (1, length) for digit in over):
            return [Flow(mixed="goes over rows by their places")] * len(equation.outvars)
        fixed = frozenset((digit.size, digit.weight) for digit in over)
        if any(meet(over, flow.fixed) for flow in given):
            return [Flow(mixed="goes over rows for each row")] * len(equation.outvars)
        each = [_of_turn(flow, over, fixed, length) for flow in rest]
        shapes = [variable.aval.shape for variable in equation.outvars]
        body = params["jaxpr"]
        carry = _settled(lambda now: self._call(body, [*before, *now, *each])[:carried], carry, shapes)
        if over:
            # Even what only counts turns tells rows by their places.
            same = _unchanged(body.jaxpr, consts, carried)
            carry = [flow if flow.memory or kept else flow.spoilt("goes from row to row")
                     for flow, kept in zip(carry, same, strict=True)]  # fmt: skip
        made = self._call(body, [*before, *carry, *each])[carried:]
        return [*carry, *(_of_turns(flow, over, fixed) for flow in made)]


def _lasting(jaxpr: Any) -> set[Any]:
    """Variables that are what memory is in the end, or before something else in it was written."""
    found = {variable for variable in jaxpr.outvars if not hasattr(variable, "val")}
    for equation in reversed(jaxpr.eqns):
        name, pairs = equation.primitive.name, zip(equation.outvars, equation.invars, strict=False)
        if name == "scatter" or name == "optimization_barrier":
            found.update(own for after, own in pairs if after in found and not hasattr(own, "val"))
    return found


def _unchanged(body: Any, consts: int, carried: int) -> list[bool]:
    """The carries of a loop that every turn hands on as it got them."""
    return [body.outvars[at] is body.invars[consts + at] for at in range(carried)]


def _of_turn(flow: Flow, over: Iterable[Digit], fixed: frozenset[tuple[int, int]], length: int) -> Flow:
    """The part of an array that one turn of a loop gets: that of its row, if the loop goes over rows."""
    own = {digit for digit in flow.digits if digit.axis == 0}
    if over and not own and 0 not in flow.constant and length > 1:
        return flow.spoilt("has what depends on a row's place")
    inner = frozenset(digit._replace(axis=digit.axis - 1) for digit in flow.digits - own)
    equal = frozenset(axis - 1 for axis in flow.constant if axis)
    return replace(flow, digits=inner, constant=equal, fixed=flow.fixed | (fixed if own else frozenset()))


def _of_turns(flow: Flow, over: Iterable[Digit], fixed: frozenset[tuple[int, int]]) -> Flow:
    """The results of all turns of a loop, one behind another."""
    inner = frozenset(digit._replace(axis=digit.axis + 1) for digit in flow.digits)
    outer = frozenset(over) if flow.fixed & fixed else frozenset()
    constant = frozenset(axis + 1 for axis in flow.constant)
    return replace(flow, digits=whole(inner | outer), fixed=flow.fixed - fixed, constant=constant)


def _named(flow: Flow, name: str) -> Flow:
    """A flow that was mixed here, with the operation's name."""
    return flow if not flow.mixed or ": " in flow.mixed else Flow(mixed=f"{name}: {flow.mixed}")


def _settled(
    once: Callable[[Sequence[Flow]], Sequence[Flow]], carry: Sequence[Flow], shapes: Sequence[Shape]
) -> list[Flow]:
    """The carries of a loop, after as many turns as change anything."""
    now = list(carry)
    while True:
        made = once(now)
        more = [_either(*pair) for pair in zip(now, made, shapes, strict=False)]
        if more == now:
            return more
        now = more


def _either(a: Flow, b: Flow, shape: Shape) -> Flow:
    return replace(combined([a, b], shape), memory=a.memory and b.memory)
