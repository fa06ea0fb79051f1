"""Foliations are called by the family that they are of, and by none where they are of none."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causalsim.errors import CausalityError, InputError
from causalsim.events import EventGraph, Wiring
from causalsim.foliations import (
    Foliation,
    chunked,
    chunks_of,
    earliest,
    family_of,
    latest,
    layer_major,
    tilted,
    token_major,
    wavefront,
)
from causalsim.foliations.recognition import simplest_between
from causalsim.testing.strategies import foliations, graphs

PLAIN = {
    "layer_major": layer_major,
    "token_major": token_major,
    "wavefront": wavefront,
    "earliest": earliest,
    "latest": latest,
}
GRAPH = EventGraph(Wiring(2), 6)

velocities = st.fractions(-2, 12, max_denominator=9)


def called(graph: EventGraph, name: str) -> Foliation:
    """The foliation that a name stands for."""
    if name in PLAIN:
        return PLAIN[name](graph)
    family, argument = name.rstrip(")").split("(")
    return chunked(graph, int(argument)) if family == "chunked" else tilted(graph, Fraction(argument))


def members(graph: EventGraph) -> dict[str, Foliation]:
    """All foliations of a small graph that a family has, up to velocities that are close to others."""
    names = [*PLAIN, *(f"chunked({size})" for size in range(1, max(graph.lengths) + 1))]
    spread = {Fraction(up, right) for right in range(1, 12) for up in range(-right, 12 * right)}
    found = {}
    for name in [*names, *(f"tilted({velocity})" for velocity in sorted(spread))]:
        try:
            found[name] = called(graph, name)
        except CausalityError:
            continue
    return found


@given(graphs(), st.data())
def test_members_of_families_have_names_that_stand_for_them(graph, data):
    size, velocity = data.draw(st.integers(1, 6)), data.draw(velocities)
    name = data.draw(st.sampled_from([*PLAIN, f"chunked({size})", f"tilted({velocity})"]))
    try:
        foliation = called(graph, name)
    except CausalityError:
        return
    found = family_of(foliation)
    assert found is not None and called(graph, found) == foliation


@given(st.data())
def test_what_has_a_name_is_of_a_family_and_what_has_none_of_no_family(data):
    graph = data.draw(st.sampled_from(list(MEMBERS)))
    foliation = data.draw(foliations(graph))
    found = family_of(foliation)
    assert (found is not None) == (foliation in MEMBERS[graph])
    assert found is None or called(graph, found) == foliation


MEMBERS = {
    graph: set(members(graph).values())
    for graph in (
        EventGraph(Wiring(2), 3, granularity="block"),
        EventGraph(Wiring(1), [2, 1]),
        EventGraph(Wiring(1, parallel_residual=True), 3, prompt=2),
    )
}


@pytest.mark.parametrize("parallel", [False, True])
def test_every_velocity_at_which_slices_merge_is_found_and_one_between_any_two(parallel):
    graph = EventGraph(Wiring(1, parallel_residual=parallel), 4)
    merging = sorted({Fraction(up, right) for right in range(1, 4) for up in range(4)})
    between = [(a + b) / 2 for a, b in pairwise(merging)]
    slices = {}
    for velocity in sorted(merging + between):
        slices[velocity] = tilted(graph, velocity)
        name = family_of(slices[velocity])
        assert name is not None and called(graph, name) == slices[velocity]
        if velocity in merging and velocity not in (0, 1):
            assert name == f"tilted({velocity})"
    assert len(set(slices.values())) == len(slices)


@given(velocities, velocities)
def test_the_simplest_velocity_between_two(a, b):
    low, high = min(a, b), max(a, b)
    if low < high:
        found = simplest_between(low, high)
        assert low < found < high
        simpler = range(1, found.denominator)
        assert not any(low < Fraction(n, d) < high for d in simpler for n in range(-3 * d, 13 * d))
    assert low < simplest_between(low, inf) and simplest_between(-inf, low) < low


@given(graphs(), st.data())
def test_chunks_count_the_positions_of_each_slice(graph, data):
    sizes = chunks_of(data.draw(foliations(graph)))
    assert [sum(chunk) for chunk in sizes] == list(graph.lengths)
    assert all(size > 0 for chunk in sizes for size in chunk)


def test_names_of_a_plain_graph():
    named = {
        "layer_major": [
            layer_major(GRAPH),
            earliest(GRAPH),
            chunked(GRAPH, 6),
            chunked(GRAPH, 9),
            tilted(GRAPH, 0),
        ],
        "token_major": [token_major(GRAPH), chunked(GRAPH, 1), tilted(GRAPH, 100)],
        "chunked(4)": [chunked(GRAPH, 4)],
        "wavefront": [wavefront(GRAPH), tilted(GRAPH, 1)],
        "tilted(1/2)": [tilted(GRAPH, 0.5)],
        "tilted(-1/6)": [tilted(GRAPH, Fraction(-1, 6))],
    }
    for name, orders in named.items():
        assert [family_of(order) for order in orders] == [name] * len(orders)
    swapped = np.arange(len(GRAPH))
    swapped[[7, 8]] = swapped[[8, 7]]
    assert family_of(layer_major(GRAPH).refine()) == "tilted(1/6)"
    assert family_of(Foliation(GRAPH, swapped)) is None


def test_a_prompt_and_what_is_written_on():
    graph = EventGraph(Wiring(2), [7, 5], prompt=[5, 2])
    assert family_of(chunked(graph, 5)) == family_of(chunked(graph, 50)) == "chunked(5)"
    assert (family_of(earliest(graph)), family_of(latest(graph))) == ("chunked(5)", "latest")
    assert chunks_of(chunked(graph, 3)) == ((3, 2, 1, 1), (2, 1, 1, 1))


@pytest.mark.usefixtures("unchecked")
def test_only_foliations_have_families():
    with pytest.raises(InputError, match="a foliation must be of type Foliation"):
        family_of([0, 1])
