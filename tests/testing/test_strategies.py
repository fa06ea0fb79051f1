"""Strategies draw all that there is and nothing else, find planted faults, and shrink them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.statistics import collector, describe_statistics

import causalsim as cs
from causalsim.errors import MissingPackageError
from causalsim.models import random_parameters
from causalsim.testing.steps import trace_of_steps
from tests.foliations.support import backwards

strategies = cs.strategies

SMALL = cs.EventGraph(cs.Wiring(1), 2)  # 186 linear extensions, 30 down-sets, 9 covers
WIDER = cs.EventGraph(cs.Wiring(2), 3)
FED_BACK = cs.EventGraph(cs.Wiring(1), [5, 3, 4], prompt=[4, 3, 2])


def minimal(strategy: st.SearchStrategy, condition: Callable[[Any], bool], examples: int = 2000) -> Any:
    """The smallest failure of this condition after shrinking; the same every time."""
    chosen = settings(max_examples=examples, database=None, suppress_health_check=list(HealthCheck))
    return find(strategy, condition, settings=chosen, random=Random(0))


def drawn(strategy: st.SearchStrategy, examples: int) -> list[Any]:
    """So many examples, unshrunk."""
    found: list[Any] = []

    @settings(max_examples=examples, database=None, phases=[Phase.generate], derandomize=True)
    @given(strategy)
    def keep(value: Any) -> None:
        found.append(value)

    keep()
    return found


def swaps(order: cs.Foliation) -> int:
    """The number of adjacent swaps of an order from the reference, pair by pair."""
    reference = cs.earliest(order.graph).refine()
    ranks = [reference.time(event) for (event,) in order.slices()]
    return sum(first > second for first, second in combinations(ranks, 2))


# -- all that there is, and nothing else -------------------------------------------------------


def test_every_linear_extension_is_drawn():
    # So many that hypothesis has no other choices left.
    found = set(drawn(strategies.linear_extensions(SMALL), 2500))
    assert len(found) == SMALL.count_linear_extensions() == 186
    assert all(order.depth == len(SMALL) for order in found)


def test_every_down_set_is_drawn():
    found = set(drawn(strategies.down_sets(SMALL), 400))
    assert found == set(SMALL.down_sets()) and len(found) == 30


def test_every_foliation_is_drawn():
    """Of two block layers over two positions: all dense ranks that no edge runs against."""
    blocks = cs.EventGraph(cs.Wiring(2), 2, granularity="block")
    every = set()
    for code in range(4**4):
        times = [code // 4**i % 4 for i in range(4)]
        if set(times) == set(range(max(times) + 1)) and not backwards(blocks, times):
            every.add(cs.Foliation(blocks, times))
    assert set(drawn(strategies.foliations(blocks), 400)) == every


def test_every_cover_is_broken():
    found = drawn(strategies.broken_times(SMALL), 200)
    assert {broken.edge for broken in found} == set(SMALL.covers())
    # In one slice, or in slices the wrong way round.
    late = {times[SMALL.index(edge.source)] > times[SMALL.index(edge.target)] for times, edge in found}
    assert late == {False, True}


@given(strategies.graphs(), st.data())
def test_broken_times_break_one_edge_and_name_it(graph, data):
    if not graph.count_edges():
        with pytest.raises(cs.InputError, match="only a graph with edges"):
            strategies.broken_times(graph)
        return
    times, edge = data.draw(strategies.broken_times(graph))
    assert backwards(graph, times) == {edge[:2]}
    with pytest.raises(cs.CausalityError) as caught:
        cs.Foliation(graph, times)
    assert caught.value.edge == edge


@given(strategies.graphs(), st.data())
def test_down_sets_hold_the_past_of_each_event(graph, data):
    found = data.draw(strategies.down_sets(graph))
    assert all(source in found for event in found for source in graph.predecessors(event))


@given(strategies.graphs(), st.data())
def test_traces_tell_of_a_foliation_in_order_of_time(graph, data):
    trace = data.draw(strategies.traces(graph))
    times = [time for _, time in trace]
    assert times == sorted(times) and len(trace) == len(graph)
    assert cs.Foliation(graph, dict(trace)).depth == len(set(times))


@given(strategies.graphs(granularity="sublayer", max_requests=3), st.data())
def test_batches_compute_every_position_once_and_wait_for_tokens(graph, data):
    steps = data.draw(strategies.batch_mixes(graph))
    done = [0] * len(graph.lengths)
    for step in steps:
        assert step
        for request, (before, now) in step.items():
            assert before == done[request] and now > 0
            assert now == 1 or before + now <= graph.prompts[request]
            done[request] += now
    assert done == list(graph.lengths)
    cs.Foliation(graph, trace_of_steps(graph, steps))


def test_batches_are_mixed_split_and_late_in_every_way():
    counts = dict.fromkeys(["mixed", "split", "late", "prefill beside decode"], 0)
    for steps in drawn(strategies.batch_mixes(FED_BACK), 100):
        counts["mixed"] += any(len(step) == 3 for step in steps)
        counts["split"] += any(step.get(0, (0, 0))[0] in (1, 2, 3) for step in steps)
        counts["late"] += any(request not in steps[0] for request in range(3))
        counts["prefill beside decode"] += any(
            {before >= FED_BACK.prompts[request] for request, (before, _) in step.items()} == {True, False}
            for step in steps
        )
    assert min(counts.values()) >= 20, counts


def test_statistics_count_what_batches_exercise():
    """As ``pytest --hypothesis-show-statistics`` prints them; also of batches inside traces."""
    told: list[dict] = []
    with collector.with_value(told.append):
        drawn(strategies.batch_mixes(FED_BACK), 50)
        drawn(strategies.traces(FED_BACK), 50)
        drawn(strategies.batch_mixes(cs.EventGraph(cs.Wiring(1), 1)), 1)
    counted = [re.findall(r"%, (batches: .+)", describe_statistics(each)) for each in told]
    everything = {
        f"batches: {name}"
        for name in (
            "requests share a step",
            "a prompt is split",
            "a request comes late",
            "a prompt beside decoding",
        )
    }
    assert list(map(set, counted)) == [everything, everything, set()]


def test_foliations_reach_from_narrow_to_wide_slices():
    found = drawn(strategies.foliations(WIDER), 100)
    depths = [foliation.depth for foliation in found]
    assert min(depths) == WIDER.depth and max(depths) > 0.9 * len(WIDER)
    ahead = [f for f in found if f.time(cs.Event("unembed", 2, 0)) < f.time(cs.Event("embed", -1, 2))]
    assert len(ahead) >= 5, "columns that are done before others start: decode"


def test_orders_reach_far_from_the_reference():
    found = drawn(strategies.linear_extensions(WIDER), 100)
    most = swaps(cs.token_major(WIDER))
    assert sum(swaps(order) > most / 2 for order in found) >= 5
    assert sum(swaps(order) < most / 4 for order in found) >= 20


@given(strategies.requests(max_requests=4, max_length=6, max_positions=7))
def test_requests_keep_their_bounds(requests):
    lengths, prompts = requests
    assert 1 <= len(lengths) == len(prompts) <= 4 and max(lengths) <= 6 and sum(lengths) <= 7
    assert all(1 <= prompt <= length for prompt, length in zip(prompts, lengths, strict=True))


@given(strategies.configs(max_layers=2, max_width=9, max_length=5), st.data())
def test_configurations_have_parameters_and_graphs(config, data):
    assert config.n_layers <= 2 and max(config.d_model, config.d_ff, config.vocab_size) <= 9
    assert config.max_length <= 5
    assert all(tensor.size for tensor in random_parameters(config, 0).values())
    graph = data.draw(strategies.graphs(config, granularity="block"))
    assert graph.wiring == config.wiring and not graph.has_feedback and graph.granularity == "block"


@given(strategies.configs(n_heads=6, d_head=4, norm="layer", d_model=st.sampled_from([5, 7]), d_rotary=2))
def test_fields_can_be_fixed_or_drawn_otherwise(config):
    assert (config.n_heads, config.d_head, config.norm, config.d_rotary) == (6, 4, "layer", 2)
    assert config.d_model in (5, 7) and 6 % config.n_kv_heads == 0 and config.positions == "rotary"


FIXED = [
    {"windows": (2, None, 3)}, {"d_rotary": 6}, {"d_rotary": 20}, {"rope_factors": (1.0, 2.0, 4.0)},
    {"d_head": 5}, {"d_head": 1}, {"n_kv_heads": 3}, {"positions": "learned"}, {"d_head": 6, "d_rotary": 4},
    {"d_rotary": 0}, {"d_rotary": None, "windows": None, "rope_factors": None, "d_head": None},
]  # fmt: skip


@pytest.mark.parametrize("fields", FIXED, ids=str)
def test_what_is_drawn_fits_what_is_fixed(fields):
    configs = drawn(strategies.configs(**fields), 20)
    assert len(configs) > 10
    for name, value in fields.items():
        found = {getattr(config, name) for config in configs}
        # None is a size that is derived, or drawn.
        assert value is None or found == {value}, (name, found)


# -- planted faults, and how small they get ------------------------------------------------------


def simplest(strategy: st.SearchStrategy) -> Any:
    return minimal(strategy, lambda _: True, examples=3)


def test_without_a_fault_all_shrinks_to_the_reference():
    assert simplest(strategies.foliations(WIDER)) == cs.earliest(WIDER)
    assert simplest(strategies.linear_extensions(WIDER)) == cs.earliest(WIDER).refine()
    assert simplest(strategies.down_sets(WIDER)) == frozenset()
    assert [time for _, time in simplest(strategies.traces(SMALL))] == sorted(cs.earliest(SMALL).times)
    assert simplest(strategies.broken_times(WIDER)).edge == next(WIDER.covers())
    at_once = {0: (0, 4), 1: (0, 3), 2: (0, 2)}
    assert simplest(strategies.batch_mixes(FED_BACK)) == [
        at_once, {0: (4, 1), 2: (2, 1)}, {2: (3, 1)}
    ]  # fmt: skip


PAIRS = [
    pair
    for pair in combinations([event for (event,) in cs.earliest(SMALL).refine().slices()], 2)
    if SMALL.separation(*pair) == "spacelike"
][::2]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[0]} {pair[1]}")
def test_a_fault_of_two_swapped_events_shrinks_to_as_few_swaps_as_there_can_be(pair):
    def fails(order: cs.Foliation) -> bool:
        return order.time(pair[1]) < order.time(pair[0])

    every = [cs.from_slices(SMALL, [[event] for event in order]) for order in SMALL.linear_extensions()]
    found = minimal(strategies.linear_extensions(SMALL), fails)
    assert fails(found) and swaps(found) == min(swaps(order) for order in every if fails(order))


def test_a_fault_of_slices_shrinks_to_one_event_that_waits():
    """Two K/V of a layer must not stand in different slices: only one of them and its readers move."""
    first, second = cs.Event("kv", 1, 0), cs.Event("kv", 1, 1)
    found = minimal(strategies.foliations(WIDER), lambda order: order.time(first) > order.time(second))
    reference = cs.earliest(WIDER)
    moved = {event for event in WIDER if found.time(event) != reference.time(event)}
    assert moved == {first, *WIDER.future(first)}
    assert found.time(first) == reference.time(first) + 1


def in_order_of_arrival(order: cs.Foliation) -> dict[cs.Event, object]:
    """A toy model in which values are lists of what was read, in order of arrival: as nothing here may."""
    values: dict[cs.Event, object] = {}
    for (event,) in order.refine().slices():
        read = sorted(order.graph.predecessors(event), key=list(values).index)
        values[event] = (event, *(values[source] for source in read))
    return values


def diverges(order: cs.Foliation) -> bool:
    return in_order_of_arrival(order) != in_order_of_arrival(cs.earliest(order.graph))


def test_a_sum_in_order_of_arrival_is_found_on_the_smallest_graph_that_shows_it():
    sublayers = strategies.graphs(granularity="sublayer")
    found = minimal(sublayers.flatmap(strategies.linear_extensions), diverges)
    # Two K/V of one layer, or the attention and the MLP beside it.
    beside = cs.EventGraph(cs.Wiring(1, parallel_residual=True), 1)
    assert found.graph in (SMALL, beside) and swaps(found) == 1


def test_a_fault_of_the_model_shrinks_to_few_layers_and_positions():
    graph = minimal(strategies.graphs(), lambda graph: graph.wiring.windows is not None)
    assert (graph.wiring.n_layers, graph.lengths, graph.has_feedback) == (1, (1,), False)
    graph = minimal(strategies.graphs(), lambda graph: len(graph.lengths) == 2 and graph.has_feedback)
    assert (graph.wiring, sorted(graph.lengths)) == (cs.Wiring(1), [1, 2])
    config = minimal(strategies.configs(), lambda config: config.parallel_residual and config.n_layers > 1)
    plain = simplest(strategies.configs(n_layers=2, parallel_residual=True))
    assert config == plain
    assert (config.n_heads, config.d_model, config.vocab_size, config.max_length) == (1, 1, 1, 1)
    assert config.gated and config.norm == "rms" and config.windows is None


def test_a_batch_fault_shrinks_to_the_requests_that_it_takes():
    """A text that arrives while another decodes."""

    def late(steps: list) -> bool:
        started = [next(n for n, step in enumerate(steps) if request in step) for request in range(3)]
        return max(started) > 0

    found = minimal(strategies.batch_mixes(FED_BACK), late)
    assert sum(len(step) for step in found) == 3 + 1 + 2  # nothing is split, one text is one step late
    assert len(found) in (3, 4)


# -- guards --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["foliations", "linear_extensions", "down_sets", "broken_times", "batch_mixes", "traces"]
)
def test_a_graph_that_is_too_large_or_none_is_refused_at_once(name):
    strategy = getattr(strategies, name)
    with pytest.raises(cs.LimitError, match=r"got 1,100 events, expected at most 1,000. Draw a seed"):
        strategy(cs.EventGraph(cs.Wiring(3), 100))
    with pytest.raises(cs.InputError, match="a graph must be of type EventGraph"):
        strategy(cs.Wiring(3))


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"max_layers": 0}, "max_layers is a whole number of at least 1: got 0"),
        ({"max_length": 2.0}, "max_length is a whole number of at least 1: got 2.0"),
        ({"max_requests": True}, "max_requests is a whole number"),
        ({"max_requests": 1001}, "for every request: got max_requests=1,001, expected at most 1,000"),
        ({"max_layers": 10**12}, "for every layer .* got max_layers=1,000,000,000,000, expected at most"),
        ({"max_positions": -1}, "max_positions is a whole number"),
        ({"feedback": "no"}, "feedback must be of type bool"),
        ({"granularity": "head"}, "known granularities"),
        ({"config_or_wiring": "glass"}, "a graph is of a Wiring"),
    ],
)
def test_bounds_of_graphs_are_checked(bounds, message):
    with pytest.raises((cs.InputError, cs.LimitError), match=message):
        strategies.graphs(**bounds)


def test_bounds_of_configurations_are_checked():
    with pytest.raises(cs.InputError, match="max_width is a whole number"):
        strategies.configs(max_width=0)
    with pytest.raises(cs.LimitError, match="for every layer"):
        strategies.configs(max_layers=10**6)
    with pytest.raises(cs.InputError, match="n_heads is a whole number of at least 1: got 'six'"):
        strategies.configs(n_heads="six")
    with pytest.raises(cs.InputError, match="no other fields: got depth, expected n_layers"):
        strategies.configs(depth=3)


def test_without_hypothesis_all_else_works():
    code = """
import sys
sys.modules["hypothesis"] = None
import causalsim as cs
cs.testing.first_divergence
config = cs.ModelConfig(n_layers=1, n_heads=1, d_model=8, d_ff=8, vocab_size=9, max_length=2)
assert cs.verify(cs.random_model(config, 0), [3, 1], orders=1, events=1, exhaustive=0).holds
try:
    cs.strategies
except ImportError as error:
    assert isinstance(error, cs.CausalsimError)
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert "drawn by the package hypothesis: got no such package" in done.stdout
    assert "pip install 'causalsim[test]'" in done.stdout
    assert issubclass(MissingPackageError, cs.CausalsimError)
