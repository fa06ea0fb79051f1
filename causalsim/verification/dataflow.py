"""Flow of values while a program runs: of cells into values alone, of addresses into addresses alone.

A program is traced with abstract cells. What the host decides while tracing it cannot decide by a
cell's value: there is none. What a device decides is read off the jaxpr: the values of cells are
followed through it, and must not reach an index into memory, a predicate or a callback. Addresses are
followed in the same way, and must reach nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from jax.errors import ConcretizationTypeError, TracerArrayConversionError

# Of each value: bits of what it depends on, and of what it is.
Flags = tuple[int, ...]
FOLLOWED, MEMORY = 1, 2
HOST = "the host reads a cell"
HOST_READS = (ConcretizationTypeError, TracerArrayConversionError)

# By primitive: the operands that say where something is read or written.
_ADDRESSES: dict[str, Callable[[Sequence[Any]], Sequence[Any]]] = {
    "gather": lambda operands: operands[1:2],
    "dynamic_slice": lambda operands: operands[1:],
    "dynamic_update_slice": lambda operands: operands[2:],
}
# Those after which memory is still memory.
_KEEPING = frozenset(["dynamic_slice", "expand_dims", "reshape", "scatter", "slice", "squeeze", "transpose"])
# Primitives that read at an index and may clamp one that is off.
_MAY_CLAMP = ("gather", "scatter")


def steering(function: Callable[[Any], Any], cells: Any) -> Iterator[str]:
    """Yield ways in which the values of ``cells`` steer what ``function(cells)`` does.

    >>> import jax.numpy as jnp
    >>> list(steering(lambda cells: cells * 2, jnp.zeros(3)))
    []
    >>> list(steering(lambda cells: cells[cells.argmax()], jnp.zeros(3)))
    ['dynamic_slice takes an address from a cell']
    >>> list(steering(lambda cells: cells if cells[0] > 0 else -cells, jnp.zeros(3)))
    ['the host reads a cell']
    """
    try:
        traced = jax.make_jaxpr(function)(cells)
    except HOST_READS:
        yield HOST
        return
    yield from steered(traced.jaxpr, (True,) * len(traced.jaxpr.invars))


def steered(jaxpr: Any, cells: Sequence[bool]) -> Iterator[str]:
    """Yield ways in which arguments that are cells steer a jaxpr."""
    flow = _Flow("a cell")
    flow.through(jaxpr, tuple(cells))
    yield from flow.faults


def misused(jaxpr: Any, addresses: Sequence[bool], cells: Sequence[bool]) -> Iterator[str]:
    """Yield ways in which arguments that are addresses do more than to say where arguments' cells lie.

    >>> import jax.numpy as jnp
    >>> cells, at = jnp.zeros(3), jnp.zeros(2, int)
    >>> def found(function):
    ...     return list(misused(jax.make_jaxpr(function)(cells, at).jaxpr, [False, True], [True, False]))
    >>> found(lambda cells, at: cells[at])
    []
    >>> found(lambda cells, at: cells[at] + at)
    ['a result is made of an address']
    >>> found(lambda cells, at: cells[at] + jnp.arange(3)[at])
    ['a result is made of an address']
    """
    flow = _Flow("an address", is_address=True)
    given = tuple(FOLLOWED * at + MEMORY * own for at, own in zip(addresses, cells, strict=True))
    if any(flag & FOLLOWED for flag in flow.through(jaxpr, given)):
        flow.faults["a result is made of an address"] = None
    yield from flow.faults


class _Flow:
    """Follows what depends on some arguments; a jaxpr is gone through once for each pattern of inputs."""

    def __init__(self, what: str, is_address: bool = False) -> None:
        self.what, self.is_address = what, is_address
        self.faults: dict[str, None] = {}
        self.known: dict[tuple[int, Flags], Flags] = {}
        self.kept: list[Any] = []

    def through(self, jaxpr: Any, given: Flags) -> Flags:
        """Flags for the results that depend on cells if these inputs do."""
        key = id(jaxpr), given
        if key not in self.known:
            # Held, so that no other jaxpr gets its id.
            self.kept.append(jaxpr)
            self.known[key] = self._through(jaxpr, given)
        return self.known[key]

    def _through(self, jaxpr: Any, given: Flags) -> Flags:
        depends = dict(zip(jaxpr.invars, given, strict=True))

        def flags(variables: Sequence[Any]) -> Flags:
            return tuple(0 if hasattr(v, "val") else depends.get(v, 0) for v in variables)

        for equation in jaxpr.eqns:
            found = self._equation(equation, flags(equation.invars))
            depends.update(zip(equation.outvars, found, strict=True))
        return flags(jaxpr.outvars)

    def _equation(self, equation: Any, given: Flags) -> Flags:
        name, params = equation.primitive.name, equation.params
        if name == "while":
            return self._while(params, given)
        if name == "scan":
            return self._scan(params, given)
        if name == "cond":
            return self._cond(params["branches"], given)
        self._check(name, params, given)
        inner = params.get("jaxpr", params.get("call_jaxpr"))
        if inner is not None:
            return self.through(getattr(inner, "jaxpr", inner), given)
        if name == "optimization_barrier":
            return given
        addresses, kept = self._addresses(name), given[:1] if name in _KEEPING else ()
        # To read at an address what is no memory would make a number of it.
        if self.is_address and addresses is not None and given[0] & MEMORY:
            chosen = addresses(range(len(given)))
            given = tuple(flag for at, flag in enumerate(given) if at not in chosen)
        return (_any(given) | sum(flag & MEMORY for flag in kept),) * len(equation.outvars)

    def _addresses(self, name: str) -> Callable[[Sequence[Any]], Sequence[Any]] | None:
        return _ADDRESSES.get(name, (lambda operands: operands[1:2]) if "scatter" in name else None)

    def _check(self, name: str, params: dict[str, Any], given: Flags) -> None:
        if "callback" in name and _any(given):
            self.faults[f"{name} shows the host {self.what}"] = None
        if self.is_address:
            return
        addresses = self._addresses(name)
        if addresses is not None:
            # Rows of a table of weights may be chosen by a token: that address is in no memory of events.
            touches_cells = given[0] or name != "gather"
            if touches_cells and any(addresses(given)):
                self.faults[f"{name} takes an address from a cell"] = None
        if name.startswith(_MAY_CLAMP) and given[0] and "CLIP" in str(params["mode"]):
            self.faults[f"{name} clamps an address that is off"] = None

    def _while(self, params: dict[str, Any], given: Flags) -> Flags:
        of_cond, of_body = params["cond_nconsts"], params["body_nconsts"]
        cond, body, carry = given[:of_cond], given[of_cond : of_cond + of_body], given[of_cond + of_body :]
        carry = self._settled(lambda now: self.through(params["body_jaxpr"].jaxpr, body + now), carry)
        if _any(self.through(params["cond_jaxpr"].jaxpr, cond + carry)):
            self.faults[f"a loop runs as long as {self.what} says"] = None
        return carry

    def _scan(self, params: dict[str, Any], given: Flags) -> Flags:
        consts, carried = params["num_consts"], params["num_carry"]
        before, carry, rest = given[:consts], given[consts : consts + carried], given[consts + carried :]
        jaxpr = params["jaxpr"].jaxpr
        carry = self._settled(lambda now: self.through(jaxpr, before + now + rest)[:carried], carry)
        return carry + self.through(jaxpr, before + carry + rest)[carried:]

    def _cond(self, branches: Sequence[Any], given: Flags) -> Flags:
        if given[0] & FOLLOWED:
            self.faults[f"a branch is taken by {self.what}"] = None
        results = [self.through(branch.jaxpr, given[1:]) for branch in branches]
        return tuple(map(_either, zip(*results, strict=True)))

    def _settled(self, once: Callable[[Flags], Flags], carry: Flags) -> Flags:
        """The flags of what a loop carries, after as many turns as change anything."""
        while True:
            more = tuple(map(_either, zip(carry, once(carry), strict=True)))
            if more == carry:
                return carry
            carry = more


def _any(flags: Flags) -> int:
    """Flags of what is made of several values."""
    return FOLLOWED * any(flag & FOLLOWED for flag in flags)


def _either(flags: Flags) -> int:
    """Flags of what is one of several values: memory only if all are."""
    return _any(flags) | MEMORY * all(flag & MEMORY for flag in flags)
