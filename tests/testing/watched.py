"""A model of transformers, watched while it reads a prompt in chunks and writes on with its cache.

Needs the extra ``oracle``. Hooks tell every event at the moment at which it happens, with its value
as ``Run.values`` would have it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel

from causalsim.events import Event
from tests.golden.make import MIDDLE, layers_of


@dataclass
class Watched:
    """Record of a run: events in order with their times, values, and what each step scheduled."""

    n_layers: int
    trace: list[tuple[Event, int]] = field(default_factory=list)
    values: dict[Event, Any] = field(default_factory=dict)
    steps: list[dict[int, tuple[int, int]]] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)

    def saw(self, kind: str, layer: int, *parts: torch.Tensor) -> None:
        """Positions of the present step all at once; parts begin with the position."""
        time, (before, now) = len(self.trace), self.steps[-1][0]
        for row in range(now):
            event = Event(kind, layer, before + row)
            value = tuple(part[row].numpy().copy() for part in parts)
            self.trace.append((event, time))
            self.values[event] = value if kind == "kv" else value[0]

    def sampled(self, token: int) -> None:
        before, now = self.steps[-1][0]
        event = Event("sample", self.n_layers, before + now - 1)
        self.trace.append((event, len(self.trace)))
        self.values[event] = token


class WatchedCache(DynamicCache):
    """A cache that tells what is put into it: K after the rotation, and V."""

    def __init__(self, watched: Watched) -> None:
        super().__init__()
        self.watched = watched

    def update(self, keys: torch.Tensor, values: torch.Tensor, layer: int, *rest: Any, **more: Any) -> Any:
        self.watched.saw("kv", layer, *(part[0].transpose(0, 1) for part in (keys, values)))
        return super().update(keys, values, layer, *rest, **more)


def load(folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32
    ).eval()


@torch.no_grad()
def watch(
    model: PreTrainedModel,
    prompt: Sequence[int],
    chunk: int,
    n: int,
    *,
    given: Sequence[int] = (),
    altered: Event | None = None,
) -> Watched:
    """Read a prompt in chunks, then write ``n`` tokens (or those ``given``), each from the cache.

    ``altered`` is an attention whose output is a little off.
    """
    watched = Watched(len(layers_of(model)), tokens=list(prompt))
    cache, done = WatchedCache(watched), 0
    with _hooks(model, watched, altered):
        while done < len(prompt) + n:
            now = min(chunk, len(prompt) - done) if done < len(prompt) else 1
            watched.steps.append({0: (done, now)})
            ids = torch.tensor([watched.tokens[done : done + now]])
            logits = model(ids, past_key_values=cache, use_cache=True).logits[0]
            watched.saw("unembed", watched.n_layers, logits)
            done += now
            if len(prompt) <= done < len(prompt) + n:
                watched.tokens.append(given[done] if given else int(logits[-1].argmax()))
                watched.sampled(watched.tokens[-1])
    return watched


@contextmanager
def _hooks(model: PreTrainedModel, watched: Watched, altered: Event | None) -> Iterator[None]:
    middle = MIDDLE.get(model.config.model_type, "post_attention_layernorm")
    layers = layers_of(model)
    handles = [layers[0].register_forward_pre_hook(lambda _, given: watched.saw("embed", -1, given[0][0]))]
    for number, layer in enumerate(layers):
        handles += [
            getattr(layer, middle).register_forward_pre_hook(_before(watched, "attn", number)),
            layer.register_forward_hook(_behind(watched, "mlp", number)),
        ]
    if altered is not None:
        layer = layers[altered.layer]
        attention = layer.attn if hasattr(layer, "attn") else layer.self_attn
        handles.append(attention.register_forward_hook(_alteration(watched, altered.position)))
    yield
    for handle in handles:
        handle.remove()


def _before(watched: Watched, kind: str, layer: int) -> Any:
    return lambda module, given: watched.saw(kind, layer, given[0][0])


def _behind(watched: Watched, kind: str, layer: int) -> Any:
    def tell(module: Any, given: Any, made: Any) -> None:
        watched.saw(kind, layer, (made if isinstance(made, torch.Tensor) else made[0])[0])

    return tell


def _alteration(watched: Watched, position: int) -> Any:
    def alter(module: Any, given: Any, made: Any) -> Any:
        before, now = watched.steps[-1][0]
        if before <= position < before + now:
            made[0][0, position - before, 0] += 0.01
        return made

    return alter
