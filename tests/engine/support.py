"""Support for the engine's tests: bits of runs, and a plain transformer in double precision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

import causalsim as cs
from causalsim.engine import Output, Plan, Program, State, plan
from causalsim.engine import execute as follow
from causalsim.kernels import CERTIFIED, Kernels
from causalsim.models import ModelConfig
from causalsim.testing.strategies import graphs
from causalsim.verification.target import Target
from tests.models_for_tests import tiny


def architectures() -> list[cs.Model]:
    """Tiny models with every switch on and off: each costs seconds of compilation, once a session."""
    return [
        tiny(),
        tiny(1, 2, 1),
        tiny(2, 4, 2, windows=(None, 3)),
        tiny(3, 2, 2, windows=(2, None, 3), parallel_residual=True),
    ]


def ids(model: cs.Model, length: int, seed: int = 0) -> list[int]:
    """Some token ids."""
    return np.random.default_rng([seed, length]).integers(model.config.vocab_size, size=length).tolist()


def texts(model: cs.Model, lengths, seed: int = 0) -> list[list[int]]:
    return [ids(model, length, seed + number) for number, length in enumerate(lengths)]


def graphs_of(model: cs.Model) -> st.SearchStrategy[cs.EventGraph]:
    """Any graph of a model: both granularities, feedback, one request or two; batches of 1 or 8 rows."""
    return graphs(model.config, max_length=8, max_positions=8)


def bits(value: Any) -> Any:
    """The bits of a value: of an array, of a pair, or of a token."""
    if isinstance(value, tuple):
        return tuple(map(bits, value))
    return np.ascontiguousarray(value).view(np.int32).tobytes()


def fresh(model: cs.Model, graph: cs.EventGraph, given) -> State:
    """A poisoned state over given ids, one list a request, in which samples are teacher-forced."""
    return target(model, graph, given).fresh()


def target(model: cs.Model, graph: cs.EventGraph, given=(), kernels: Kernels = CERTIFIED) -> Target:
    """A model with its kernels over given ids: what executes programs and steps on states."""
    return Target(model, graph, tuple(np.asarray(tokens, np.int32) for tokens in given), kernels)


def execute(model: cs.Model, program: Program, state: State) -> tuple[State, list[Output]]:
    """Run a program on a state with a pool a layer, which it consumes."""
    return target(model, program.graph).execute(program, state)


def step(model: cs.Model, state: State, events) -> tuple[State, list[Output]]:
    """Run chosen events on a state with a pool a layer, which it consumes."""
    return target(model, state.graph).step(state, events)


def recycled(model: cs.Model, program: Program, given) -> tuple[Plan, State, list[Output]]:
    """Run a program on fresh memory in which K/V is given up after its last reader."""
    made = plan(program, CERTIFIED.buckets)
    state = fresh_for(model, made, given)
    return made, *follow(made, state, model.computation())


def fresh_for(model: cs.Model, made: Plan, given) -> State:
    """A poisoned state with as many pools as a plan needs."""
    whole = fresh(model, made.graph, given)
    few = slice(made.placement.pools)
    return replace(whole, keys=whole.keys[few], values=whole.values[few])


def cells_of(state: State) -> dict[str, Any]:
    """The bits of everything a state remembers, but for the scratch row and page."""
    layout = state.layout
    return {
        "tokens": bits(np.asarray(state.tokens)[: layout.tokens]),
        "residual": bits(np.asarray(state.residual)[:, : layout.tokens]),
        "logits": bits(np.asarray(state.logits)[: layout.tokens]),
        "keys": [bits(np.asarray(cells)[: layout.pages]) for cells in state.keys],
        "values": [bits(np.asarray(cells)[: layout.pages]) for cells in state.values],
    }


# -- a transformer as one would write it for its reader --------------------------------------------


def reference_logits(model: cs.Model, tokens) -> np.ndarray:
    """Llama's arithmetic in NumPy and float64, whole text at once, windows and parallel residual included."""
    config, params = model.config, model.params
    x = params["embed"][list(tokens)].astype(np.float64)
    for layer, window in enumerate(config.wiring.windows_by_layer):
        weights = {name: params[f"layers.{layer}.{name}"].astype(np.float64) for name in _NAMES}
        after = x + _attention(config, weights, normed(config, x, weights["attn.norm"]), window)
        into_mlp = x if config.parallel_residual else after
        hidden = normed(config, into_mlp, weights["mlp.norm"])
        gate = hidden @ weights["mlp.gate"]
        x = after + (gate / (1 + np.exp(-gate)) * (hidden @ weights["mlp.up"])) @ weights["mlp.down"]
    out = params["embed"].T if config.tied_embeddings else params["unembed"]
    return normed(config, x, params["final_norm"]) @ out.astype(np.float64)


_NAMES = (
    "attn.norm", "attn.q", "attn.k", "attn.v", "attn.o", "mlp.norm", "mlp.gate", "mlp.up", "mlp.down"
)  # fmt: skip


def normed(config: ModelConfig, x: np.ndarray, gain: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x * x).mean(axis=1, keepdims=True) + config.norm_epsilon) * gain


def _attention(config: ModelConfig, weights: dict, x: np.ndarray, window: int | None) -> np.ndarray:
    length, d_head = len(x), config.d_head
    q, k, v = (np.moveaxis((x @ weights[f"attn.{n}"]).reshape(length, -1, d_head), 1, 0) for n in "qkv")
    groups = config.n_heads // config.n_kv_heads
    keys, values = np.repeat(turned(config, k), groups, axis=0), np.repeat(v, groups, axis=0)
    scores = turned(config, q) @ np.moveaxis(keys, 1, 2) / np.sqrt(d_head)
    distance = np.arange(length)[:, None] - np.arange(length)
    seen = (distance >= 0) & (distance < (length if window is None else window))
    shares = np.exp(np.where(seen, scores, -np.inf))
    mixed = shares / shares.sum(axis=-1, keepdims=True) @ values
    return np.moveaxis(mixed, 0, 1).reshape(length, -1) @ weights["attn.o"]


def turned(config: ModelConfig, heads: np.ndarray) -> np.ndarray:
    """Coordinate i and i + d_head / 2 as one complex number, turned by the position's angle."""
    half = config.d_head // 2
    angles = np.outer(np.arange(heads.shape[1]), config.rope_base ** (-np.arange(half) / half))
    both = (heads[..., :half] + 1j * heads[..., half:]) * np.exp(1j * angles)
    return np.concatenate([both.real, both.imag], axis=-1)
