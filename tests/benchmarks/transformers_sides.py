"""The same model in transformers: torch on the CPU, ``sdpa``, logits of all positions. Extra ``oracle``."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

import causalsim as cs
from tests.benchmarks.sides import Pair, Side, Sides

PROJECTIONS = {
    "attn.q": "self_attn.q_proj", "attn.k": "self_attn.k_proj", "attn.v": "self_attn.v_proj",
    "attn.o": "self_attn.o_proj", "mlp.gate": "mlp.gate_proj", "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj", "attn.norm": "input_layernorm", "mlp.norm": "post_attention_layernorm",
}  # fmt: skip


def llama_of(model: cs.Model) -> LlamaForCausalLM:
    """The model of transformers with the parameters of ours; none is drawn or downloaded."""
    config = model.config
    shape = LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.d_model,
        intermediate_size=config.d_ff,
        num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads,
        num_key_value_heads=config.n_kv_heads,
        head_dim=config.d_head,
        max_position_embeddings=config.max_length,
        rms_norm_eps=config.norm_epsilon,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_base},
        tie_word_embeddings=config.tied_embeddings,
        attn_implementation="sdpa",
    )
    llama = LlamaForCausalLM(shape).eval()
    missing, surplus = llama.load_state_dict(dict(_renamed(model)), strict=False)
    tied = {"lm_head.weight"} if config.tied_embeddings else set()
    if set(missing) - tied or surplus:
        raise ValueError(f"every parameter has its place: missing {missing}, surplus {surplus}")
    return llama


def _renamed(model: cs.Model) -> Iterator[tuple[str, torch.Tensor]]:
    outer = {"embed": "model.embed_tokens", "final_norm": "model.norm", "unembed": "lm_head"}
    for name, array in model.params.items():
        place = outer.get(name)
        if place is None:
            _, layer, inner = name.split(".", 2)
            place = f"model.layers.{layer}.{PROJECTIONS[inner]}"
        matrix = array.T if array.ndim == 2 and name != "embed" else array
        yield f"{place}.weight", torch.tensor(np.ascontiguousarray(matrix))


class TheirSides:
    """Their sides over the text of ours."""

    def __init__(self, sides: Sides, threads: int) -> None:
        torch.set_num_threads(threads)
        self.llama, self.sizes = llama_of(sides.model), sides.sizes
        self.ids = torch.tensor(sides.ids.astype(np.int64))[None]

    def prefill(self) -> Side:
        return Side("transformers", lambda _: self._forward(self.ids), _first)

    def decode(self) -> Side:
        """A step a position, on a copy of the cache."""
        cache = DynamicCache(config=self.llama.config)
        self._forward(self.ids[:, : self.sizes.before], cache)

        def run(cache: Any) -> Any:
            steps = range(self.sizes.before, self.sizes.text)
            return torch.cat([self._forward(self.ids[:, step : step + 1], cache) for step in steps], dim=1)

        return Side("transformers", run, _first, lambda: copy.deepcopy(cache))

    @torch.inference_mode()
    def _forward(self, ids: Any, cache: Any = None) -> Any:
        return self.llama(ids, past_key_values=cache, use_cache=cache is not None).logits


def _first(logits: Any) -> np.ndarray:
    return logits[0].numpy()


def pairs(sides: Sides, threads: int) -> Iterator[Pair]:
    """Ours and the plain baseline beside transformers."""
    theirs, sizes = TheirSides(sides, threads), sides.sizes
    prefill, decode = theirs.prefill(), theirs.decode()
    steps = sizes.text - sizes.before
    for side in (sides.prefill(), sides.plain_prefill()):
        yield Pair(f"prefill of {sizes.text} positions", side, prefill)
    for side in (sides.decode(), sides.plain_decode()):
        yield Pair(f"decode of {steps} positions after {sizes.before}", side, decode)
