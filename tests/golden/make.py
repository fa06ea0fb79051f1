"""Makes the golden files: tiny random checkpoints and what transformers computes from them.

Needs the extra ``oracle``: ``python -m tests.golden.make`` writes every folder beside this file
anew. A folder holds what ``save_pretrained`` writes and ``expected.safetensors`` with the ids,
the residual stream, K after rotation, V and the logits, in float32 with eager attention.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache, PreTrainedModel

HERE = Path(__file__).parent
EXPECTED = "expected.safetensors"
LENGTH = 14
# Attention is far from uniform at this spread, and norms and biases far from their usual start.
SPREAD = 0.3


class Specimen(NamedTuple):
    """A checkpoint to make: its family, its keys, the type it is stored in, the size of a shard."""

    family: str
    keys: Mapping[str, Any]
    dtype: torch.dtype = torch.float32
    shard: str = "1GB"


_SIZES = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
_GPT2 = {"vocab_size": 61, "n_positions": 24, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 40}
_NEOX = {**_SIZES, "rotary_pct": 0.5, "layer_norm_eps": 1e-4}
_LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 100.0, "factor": 4.0, "low_freq_factor": 1.0,
    "high_freq_factor": 3.0, "original_max_position_embeddings": 24,
}  # fmt: skip
_LINEAR = {"rope_type": "linear", "rope_theta": 500.0, "factor": 2.5}
_SLIDING = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
_GEMMA = {
    **_SIZES, "num_hidden_layers": 3, "head_dim": 12, "query_pre_attn_scalar": 7, "sliding_window": 4,
    "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0,
}  # fmt: skip


def _heads(count: int, **more: Any) -> dict[str, Any]:
    return {**_SIZES, "num_key_value_heads": count, **more}


SPECIMENS = {
    "gpt2": Specimen("gpt2", {**_GPT2, "bos_token_id": 0, "eos_token_id": 0}),
    "gpt_neox": Specimen("gpt_neox", _NEOX),
    "gpt_neox_sequential": Specimen(
        "gpt_neox", {**_NEOX, "use_parallel_residual": False, "attention_bias": False}
    ),
    "llama_multi_head": Specimen("llama", _heads(4, tie_word_embeddings=True), torch.float16),
    "llama_grouped": Specimen("llama", _heads(2, head_dim=12, attention_bias=True, mlp_bias=True)),
    "llama_multi_query": Specimen("llama", _heads(1, rms_norm_eps=1e-3), shard="40KB"),
    "llama_llama3": Specimen("llama", _heads(2, rope_parameters=_LLAMA3)),
    "llama_linear": Specimen("llama", _heads(2, rope_parameters=_LINEAR)),
    "mistral_multi_head": Specimen("mistral", _heads(4, sliding_window=4)),
    "mistral_grouped": Specimen("mistral", _heads(2, sliding_window=4, head_dim=16)),
    "mistral_multi_query": Specimen("mistral", _heads(1, sliding_window=None), torch.bfloat16),
    "qwen2_multi_head": Specimen("qwen2", _heads(4)),
    "qwen2_grouped": Specimen("qwen2", _heads(2, **_SLIDING)),
    "qwen2_multi_query": Specimen("qwen2", _heads(1, tie_word_embeddings=True), torch.bfloat16),
    "qwen3_multi_head": Specimen("qwen3", _heads(4, head_dim=12)),
    "qwen3_grouped": Specimen("qwen3", _heads(2, head_dim=12, attention_bias=True)),
    "qwen3_multi_query": Specimen("qwen3", _heads(1, head_dim=12, tie_word_embeddings=True, **_SLIDING)),
    "gemma2_multi_head": Specimen("gemma2", {**_GEMMA, "num_key_value_heads": 4}),
    "gemma2_grouped": Specimen("gemma2", {**_GEMMA, "num_key_value_heads": 2}, torch.bfloat16),
    "gemma2_multi_query": Specimen("gemma2", {**_GEMMA, "num_key_value_heads": 1}),
}
# Where the residual stream passes between attention and MLP: the norm that reads it there.
MIDDLE = {"gpt2": "ln_2", "gemma2": "pre_feedforward_layernorm"}


def make(name: str, folder: Path, seed: int = 0) -> None:
    """Write the checkpoint of a specimen and its expected values into a folder."""
    specimen = SPECIMENS[name]
    _random(specimen, seed).to(specimen.dtype).save_pretrained(folder, max_shard_size=specimen.shard)
    (folder / "generation_config.json").unlink(missing_ok=True)
    # Read back, so that what is expected is of the rounded weights but of unrounded rotations.
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    save_file(_expected(model.eval(), seed), folder / EXPECTED)


def _random(specimen: Specimen, seed: int) -> PreTrainedModel:
    torch.manual_seed(seed)
    config = AutoConfig.for_model(specimen.family, **specimen.keys)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            around_one = tensor.ndim == 1 and name.endswith("weight") and specimen.family != "gemma2"
            tensor.copy_(SPREAD * torch.randn(tensor.shape) + float(around_one))
    return model


@torch.no_grad()
def _expected(model: PreTrainedModel, seed: int) -> dict[str, torch.Tensor]:
    ids = torch.randint(model.config.vocab_size, (1, LENGTH), generator=torch.Generator().manual_seed(seed))
    # A cache made from the configuration would drop what has left the window.
    cache = DynamicCache()
    with _recording(model) as seen:
        logits = model(ids, past_key_values=cache, use_cache=True).logits
    for number, layer in enumerate(cache.layers):
        seen[f"blocks.{number}.attn.hook_rot_k"] = layer.keys[0].transpose(0, 1)
        seen[f"blocks.{number}.attn.hook_v"] = layer.values[0].transpose(0, 1)
    values = {"ids": ids[0], **seen, "logits": logits[0]}
    return {name: value.contiguous().clone() for name, value in values.items()}


@contextmanager
def _recording(model: PreTrainedModel) -> Iterator[dict[str, torch.Tensor]]:
    """The residual stream under the names of TransformerLens, while the model runs."""
    seen: dict[str, torch.Tensor] = {}
    handles = []
    middle = MIDDLE.get(model.config.model_type, "post_attention_layernorm")
    for number, layer in enumerate(layers_of(model)):
        before, after = f"blocks.{number}.hook_resid_pre", f"blocks.{number}.hook_resid_post"
        handles.append(layer.register_forward_pre_hook(_keep_input(seen, before)))
        handles.append(layer.register_forward_hook(_keep_output(seen, after)))
        if not getattr(model.config, "use_parallel_residual", False):
            name = f"blocks.{number}.hook_resid_mid"
            handles.append(getattr(layer, middle).register_forward_pre_hook(_keep_input(seen, name)))
    yield seen
    for handle in handles:
        handle.remove()


def layers_of(model: PreTrainedModel) -> torch.nn.ModuleList:
    inner = model.base_model
    return inner.h if model.config.model_type == "gpt2" else inner.layers


def _keep_input(seen: dict[str, torch.Tensor], name: str) -> Callable[..., None]:
    def keep(module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        seen[name] = given[0][0].clone()

    return keep


def _keep_output(seen: dict[str, torch.Tensor], name: str) -> Callable[..., None]:
    def keep(module: torch.nn.Module, given: object, made: Any) -> None:
        seen[name] = (made if isinstance(made, torch.Tensor) else made[0])[0].clone()

    return keep


if __name__ == "__main__":
    for name in SPECIMENS:
        shutil.rmtree(HERE / name, ignore_errors=True)
        make(name, HERE / name)
