"""The families of foliations by the names that files and command lines give them.

A family's arguments are those of its function, so that a new one is a line in ``FAMILIES``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from types import MappingProxyType
from typing import Any

from causalsim.errors import ScenarioError
from causalsim.events import EventGraph, parse_event
from causalsim.foliations import (
    Foliation,
    chunked,
    earliest,
    from_slices,
    latest,
    layer_major,
    random_foliation,
    random_linear_extension,
    tilted,
    token_major,
    wavefront,
)
from causalsim.scenario.problems import nearest


def slices(graph: EventGraph, slices: list[list[str]]) -> Foliation:
    """The foliation with these slices of events, written as they are printed."""
    layers = graph.wiring.n_layers
    return from_slices(graph, [[parse_event(event, layers) for event in events] for events in slices])


FAMILIES: Mapping[str, Callable[..., Foliation]] = MappingProxyType(
    {
        "layer_major": layer_major,
        "token_major": token_major,
        "chunked": chunked,
        "wavefront": wavefront,
        "tilted": tilted,
        "earliest": earliest,
        "latest": latest,
        "random_linear_extension": random_linear_extension,
        "random_foliation": random_foliation,
        "slices": slices,
    }
)


def arguments_of(family: str) -> dict[str, bool]:
    """The names of a family's arguments, each with whether it can be left out.

    >>> arguments_of("chunked"), arguments_of("random_linear_extension")
    ({'size': False}, {'seed': True, 'method': True, 'limit': True, 'steps': True})
    """
    _, *rest = signature(FAMILIES[family]).parameters.values()
    return {given.name: given.default is not Parameter.empty or given.name == "seed" for given in rest}


def written(text: str) -> tuple[str, dict[str, Any]]:
    """A family as a command line names it, alone or with its first argument behind a colon.

    >>> written("wavefront"), written("chunked:512"), written("tilted:-1/7")
    (('wavefront', {}), ('chunked', {'size': 512}), ('tilted', {'velocity': '-1/7'}))
    """
    family, colon, argument = text.partition(":")
    if not colon or family not in FAMILIES:
        return family, {}
    name = next(iter(arguments_of(family)), "argument")
    return family, {name: int(argument) if argument.isdecimal() else argument}


def build(graph: EventGraph, family: str, arguments: Mapping[str, Any]) -> Foliation:
    """The foliation of a family with arguments; seeds that are left out are 0.

    ``ScenarioError`` for an unknown family, or an argument that it lacks or does not take;
    else whatever the family raises, ``CausalityError`` for an order that breaks the graph.
    """
    check_arguments(family, arguments)
    seeded = {"seed": 0} if "seed" in arguments_of(family) else {}
    return FAMILIES[family](graph, **{**seeded, **arguments})


def check_arguments(family: str, arguments: Mapping[str, Any]) -> None:
    """Refuse a family that there is not, and arguments that it does not take or cannot do without."""
    if family not in FAMILIES:
        raise ScenarioError(
            "a foliation is of a known family",
            key="family",
            got=repr(family),
            expected=", ".join(FAMILIES),
            hint=nearest(family, FAMILIES),
        )
    known = arguments_of(family)
    for name in arguments:
        if name not in known:
            taken = f"it takes {' and '.join(known)}" if known else "it takes no arguments"
            raise ScenarioError(f"{family} takes no {name}", key=name, hint=f"Leave {name} out: {taken}.")
    for name, optional in known.items():
        if not optional and name not in arguments:
            raise ScenarioError(f"{family} needs its {name}", key=name, got="none", hint=f"Give {name}.")
