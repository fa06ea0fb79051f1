"""A new kind of event is a row in the table of kinds and a kernel: it runs, is drawn, costed and verified."""

from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

import causalsim as cs
from causalsim.engine import event_function
from causalsim.events.kinds import SUBLAYERS, Kind, registered
from causalsim.foliations import costs
from causalsim.kernels import CERTIFIED
from causalsim.verification import certify

ROW = Kind(
    "adapter", "layer", ("residual",), "residual", (("d_model",),), "adapter", "ad", "#b45309",
    parameters={"scale": ("d_model",), "shift": ("d_model",)},
)  # fmt: skip
SIZES = {"n_layers": 2, "n_heads": 2, "d_model": 16, "d_ff": 24, "vocab_size": 20, "max_length": 32}
IDS = [3, 1, 4, 1, 5]


def adapter(_config, weights, x):
    """A residual that is scaled and shifted number by number."""
    return jnp.tanh(x * weights["scale"]) + weights["shift"] + x


KERNELS = CERTIFIED.replaced("certified, with an adapter", adapter=adapter)


@pytest.fixture(params=[False, True], ids=["sequential", "parallel"])
def model(request):
    """A model with the new kind; the only registration that there is."""
    with registered(ROW):
        config = cs.ModelConfig(**SIZES, sublayers=(*SUBLAYERS, "adapter"), parallel_residual=request.param)
        yield cs.random_model(config)


def test_it_runs_in_any_order(model):
    graph = cs.EventGraph(model.config, len(IDS))
    assert cs.Event("adapter", 1, 2) in graph
    run = cs.run(model, IDS, record=True, kernels=KERNELS)
    for order in (cs.token_major, cs.wavefront, cs.earliest, lambda g: cs.random_foliation(g, 1)):
        again = cs.run(model, IDS, order(graph), record=True, kernels=KERNELS)
        assert again.values_digest == run.values_digest and again.program.refines(order(graph))
    blocks = cs.EventGraph(model.config, len(IDS), granularity="block")
    assert cs.run(model, IDS, cs.layer_major(blocks), kernels=KERNELS).digest == run.digest
    story = cs.generate(model, IDS[:2], 3, kernels=KERNELS)
    assert cs.run(model, story.tokens, kernels=KERNELS).digest == story.digest


def test_its_values_are_the_kernels_own(model):
    run = cs.run(model, IDS, record=True, kernels=KERNELS)
    event = cs.Event("adapter", 0, 2)
    function = event_function(model.config, model.weights(KERNELS), event, kernels=KERNELS)
    assert function(run.values).tobytes() == run.values[event].tobytes()
    if not model.config.parallel_residual:
        (below,) = run.graph.predecessors(event)
        params = {name: model.params[f"layers.0.adapter.{name}"] for name in ("scale", "shift")}
        x = run.values[below].astype(np.float64)
        np.testing.assert_allclose(
            run.values[event], np.tanh(x * params["scale"]) + params["shift"] + x, rtol=1e-5
        )


def test_it_is_drawn_and_costed(model):
    graph = cs.EventGraph(model.config, 3)
    source = cs.to_graphviz(cs.wavefront(graph)).source
    assert source.count("adapter(") >= 6 and ROW.colour in source and "adapter" in source
    footprint = model.config.footprint()
    assert footprint.values["adapter"] == 4 * 16 and footprint.weights["adapter"] == 4 * 2 * 16
    plain = replace(model.config, sublayers=SUBLAYERS)
    found, without = (
        costs(cs.layer_major(cs.EventGraph(config, 3)), config.footprint())
        for config in (model.config, plain)
    )
    assert found.batches == without.batches + 2
    assert found.weight_bytes == without.weight_bytes + 2 * footprint.weights["adapter"]
    assert found.flops == without.flops + 2 * 3 * footprint.flops["adapter"]


def test_it_is_verified_and_its_faults_are_seen(model):
    assert certify(model, IDS[:2], kernels=KERNELS).holds
    report = cs.verify(model, IDS, orders=3, exhaustive=0, kernels=KERNELS)
    assert report.holds, report.to_json()

    def leaking(config, weights, x):
        value = adapter(config, weights, x)
        return value + jnp.float32(2**-20) * jnp.roll(value, 1, axis=0)

    faulty = KERNELS.replaced("an adapter that reads its neighbour", adapter=leaking)
    assert not certify(model, IDS[:2], kernels=faulty).holds
    assert not cs.verify(model, IDS, orders=3, exhaustive=0, kernels=faulty).holds


def test_it_is_gone_when_it_is_no_longer_registered():
    with registered(ROW):
        assert cs.Wiring(1, sublayers=(*SUBLAYERS, "adapter")).sites()[4].kind == "adapter"
    with pytest.raises(cs.InputError, match="each kind of event once"):
        cs.Wiring(1, sublayers=(*SUBLAYERS, "adapter"))
