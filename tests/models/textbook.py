"""Every family's forward pass as a textbook has it: NumPy, float64, one text, nothing clever."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from causalsim.models import ModelConfig

Array = np.ndarray[Any, Any]


def forward(config: ModelConfig, params: Mapping[str, Array], ids: Array) -> dict[str, Array]:
    """The residual stream, K after rotation, V and the logits, under TransformerLens's names."""
    p = {name: tensor.astype(np.float64) for name, tensor in params.items()}
    x = p["embed"][ids] * config.embedding_scale
    if config.positions == "learned":
        x = x + p["positions"][: len(ids)]
    seen = {}
    for layer in range(config.n_layers):
        weights = {name.split(".", 2)[2]: w for name, w in p.items() if name.startswith(f"layers.{layer}.")}
        for name, value in _layer(config, weights, x, config.wiring.windows_by_layer[layer]).items():
            seen[f"blocks.{layer}.{name}"] = value
        x = seen[f"blocks.{layer}.hook_resid_post"]
    table = p["embed"].T if config.tied_embeddings else p["unembed"]
    logits = _norm(config, x, p["final_norm"], p.get("final_norm_bias")) @ table
    return {**seen, "logits": _capped(logits, config.logit_cap)}


def _layer(config: ModelConfig, w: Mapping[str, Array], x: Array, reach: int | None) -> dict[str, Array]:
    attended, k, v = _attention(config, w, _norm(config, x, w["attn.norm"], w.get("attn.norm_bias")), reach)
    seen = {"hook_resid_pre": x, "attn.hook_rot_k": k, "attn.hook_v": v}
    if config.post_norms:
        attended = _norm(config, attended, w["attn.post_norm"], w.get("attn.post_norm_bias"))
    middle = x + attended
    read = x if config.parallel_residual else middle
    added = _mlp(config, w, _norm(config, read, w["mlp.norm"], w.get("mlp.norm_bias")))
    if config.post_norms:
        added = _norm(config, added, w["mlp.post_norm"], w.get("mlp.post_norm_bias"))
    if not config.parallel_residual:
        seen["hook_resid_mid"] = middle
    return {**seen, "hook_resid_post": middle + added}


def _norm(config: ModelConfig, x: Array, gain: Array, bias: Array | None = None) -> Array:
    if config.norm == "layer":
        x = x - x.mean(-1, keepdims=True)
    scaled = x / np.sqrt((x * x).mean(-1, keepdims=True) + config.norm_epsilon) * gain
    return scaled if bias is None else scaled + bias


def _attention(config: ModelConfig, w: Mapping[str, Array], h: Array, reach: int | None) -> Any:
    heads = {
        part: (h @ w[f"attn.{part}"] + w.get(f"attn.{part}_bias", 0.0)).reshape(len(h), -1, config.d_head)
        for part in "qkv"
    }
    q, k, v = heads.values()
    if config.qk_norms:
        q, k = (
            _norm(config, x, w[f"attn.{n}_norm"], w.get(f"attn.{n}_norm_bias"))
            for n, x in (("q", q), ("k", k))
        )
    q, k = _rotated(config, q), _rotated(config, k)
    made = np.zeros_like(q)
    for position in range(len(h)):
        first = 0 if reach is None else max(0, position + 1 - reach)
        for head in range(config.n_heads):
            shared = head * config.n_kv_heads // config.n_heads
            keys, values = k[first : position + 1, shared], v[first : position + 1, shared]
            scores = _capped(keys @ q[position, head] * config.attention_scale, config.attention_cap)
            shares = np.exp(scores - scores.max())
            made[position, head] = shares @ values / shares.sum()
    return made.reshape(len(h), -1) @ w["attn.o"] + w.get("attn.o_bias", 0.0), k, v


def _rotated(config: ModelConfig, x: Array) -> Array:
    half = config.d_rotary // 2
    if not half:
        return x
    frequencies = config.rope_base ** (-np.arange(half) / half) / np.array(config.rope_factors or 1.0)
    angles = np.arange(len(x))[:, None, None] * frequencies
    turned = (x[..., :half] + 1j * x[..., half : 2 * half]) * np.exp(1j * angles)
    return np.concatenate([turned.real, turned.imag, x[..., 2 * half :]], axis=-1)


def _mlp(config: ModelConfig, w: Mapping[str, Array], h: Array) -> Array:
    up = h @ w["mlp.up"] + w.get("mlp.up_bias", 0.0)
    if config.gated:
        up = _ACTIVATIONS[config.activation](h @ w["mlp.gate"] + w.get("mlp.gate_bias", 0.0)) * up
    else:
        up = _ACTIVATIONS[config.activation](up)
    return up @ w["mlp.down"] + w.get("mlp.down_bias", 0.0)


_ACTIVATIONS = {
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
}


def _capped(scores: Array, cap: float | None) -> Array:
    return scores if cap is None else cap * np.tanh(scores / cap)
