"""Recorded values: every event's, addressed by event or by the name that the field has for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from causalsim.engine.digests import digest_of
from causalsim.engine.executor import Output, event_values
from causalsim.errors import InputError
from causalsim.events import Event, EventGraph, Site
from causalsim.kernels.elementwise import rotary_table
from causalsim.models import ModelConfig

Value = np.ndarray | np.generic | tuple[np.ndarray, np.ndarray]

_HOOK = re.compile(r"blocks\.(\d+)\.(.+)")


class Values(Mapping[Event, Any]):
    """Values of every event of a run.

    ``values[event]`` is a row: the residual after the add (``embed``, ``attn``, ``mlp``,
    ``block``), the pair (K after norm and rotary embedding, V) with the head axis first
    (``kv``), the logits (``unembed``), the token id (``sample``).

    ``values[name]`` stacks the rows of one site over all positions under TransformerLens's
    names: ``hook_embed``, ``blocks.3.hook_resid_pre``, ``.hook_resid_mid``, ``.hook_resid_post``,
    ``.attn.hook_rot_k`` and ``.attn.hook_v`` of shape (position, kv_head, d_head), and
    ``.attn.hook_k``, the keys before the rotation, which are turned back for you. With
    several requests ``values.stack(name, request)`` says whose. Iterates over events.
    """

    def __init__(self, config: ModelConfig, graph: EventGraph, lines: dict[tuple[Site, int], Any]) -> None:
        self._config, self._graph, self._lines = config, graph, lines

    @classmethod
    def from_outputs(cls, config: ModelConfig, graph: EventGraph, outputs: Iterable[Output]) -> Values:
        lines: dict[tuple[Site, int], Any] = {}
        _, positions, requests = graph.codes()
        for site, events, arrays in event_values(outputs):
            for request in np.unique(requests[events]):
                mine = requests[events] == request
                held = graph.requests[request].positions(site)
                line = lines.setdefault((site, int(request)), _blank(arrays, len(held)))
                _put(line, positions[events[mine]] - held.start, arrays, mine)
        for line in lines.values():
            for part in _parts(line):
                part.flags.writeable = False
        return cls(config, graph, lines)

    def __getitem__(self, key: Event | str) -> Any:
        if isinstance(key, str):
            if len(self._graph.lengths) > 1:
                raise InputError(
                    "a hook name stands for one text",
                    got=f"{key!r} in a run of {len(self._graph.lengths)} requests",
                    hint="values.stack(name, request) says whose.",
                )
            return self.stack(key)
        self._graph.check(key)
        site = Site(key.kind, key.layer)
        row = key.position - self._graph.requests[key.request].positions(site).start
        return _map(lambda line: line[row], self._lines[site, key.request])

    @property
    def lines(self) -> Mapping[tuple[Site, int], Any]:
        """By site and request, the values of all positions, a row each."""
        return MappingProxyType(self._lines)

    def __contains__(self, event: object) -> bool:
        return event in self._graph

    def __iter__(self) -> Iterator[Event]:
        return iter(self._graph)

    def __len__(self) -> int:
        return len(self._graph)

    def stack(self, name: str, request: int = 0) -> np.ndarray:
        """All positions of a request under a TransformerLens name; ``InputError`` lists what there is."""
        site, pick = self._resolve(name)
        if (site, request) not in self._lines:
            raise InputError(
                "a request of this run was asked for",
                got=request,
                expected=f"0..{len(self._graph.lengths) - 1}",
            )
        return pick(self._lines[site, request])

    def digest(self) -> str:
        """sha256 over all events in canonical order: shape, dtype and bytes of every value."""
        return digest_of(part for event in self for part in _parts(self[event]))

    def _resolve(self, name: str) -> tuple[Site, Callable[[Any], np.ndarray]]:
        block = _HOOK.fullmatch(name)
        layer = int(block[1]) if block else -1
        hooks = self._layer_hooks(layer) if block and layer < self._config.n_layers else self._outer_hooks()
        found = hooks.get(block[2] if block and layer < self._config.n_layers else name)
        if found is None or found[0] not in self._graph.sites:
            raise InputError(
                "a value is asked for by an event or a known hook name",
                got=repr(name),
                expected=self._known(),
            )
        return found

    def _outer_hooks(self) -> dict[str, tuple[Site, Callable[[Any], np.ndarray]]]:
        return {
            "hook_embed": (Site("embed", -1), _same),
            "logits": (Site("unembed", self._config.n_layers), _same),
        }

    def _layer_hooks(self, layer: int) -> dict[str, tuple[Site, Callable[[Any], np.ndarray]]]:
        kv = Site("kv", layer)
        hooks = {
            "attn.hook_rot_k": (kv, lambda pair: pair[0]),
            "attn.hook_v": (kv, lambda pair: pair[1]),
            "attn.hook_k": (kv, self._turned_back),
        }
        if self._graph.granularity == "block":
            residuals = {"hook_resid_pre": Site("block", layer - 1), "hook_resid_post": Site("block", layer)}
        elif self._config.parallel_residual:
            residuals = {"hook_mlp_out": Site("mlp", layer)}
        else:
            below = Site("mlp", layer - 1) if layer else Site("embed", -1)
            residuals = {
                "hook_resid_pre": below,
                "hook_resid_mid": Site("attn", layer),
                "hook_resid_post": Site("mlp", layer),
            }
        return {**hooks, **{name: (site, _same) for name, site in residuals.items()}}

    def _turned_back(self, pair: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        half = self._config.d_rotary // 2
        if not half:
            return pair[0]
        cos, sin = rotary_table(self._config, len(pair[0]))[:, :, None, :]
        first, second, rest = np.split(pair[0], [half, 2 * half], axis=-1)
        turned = [first * cos + second * sin, second * cos - first * sin, rest]
        return np.concatenate(turned, axis=-1).astype(pair[0].dtype)

    def _known(self) -> str:
        inner = [
            f"blocks.L.{name}"
            for name, (site, _) in self._layer_hooks(1).items()
            if site in self._graph.sites
        ]
        outer = [name for name, (site, _) in self._outer_hooks().items() if site in self._graph.sites]
        return ", ".join([*outer, *inner]) + f" with L in 0..{self._config.n_layers - 1}"


def _same(line: np.ndarray) -> np.ndarray:
    return line


def _map(f: Callable[[np.ndarray], Any], value: Any) -> Any:
    return tuple(map(f, value)) if isinstance(value, tuple) else f(value)


def _parts(value: Value) -> tuple[np.ndarray, ...]:
    return value if isinstance(value, tuple) else (np.asarray(value),)


def _blank(arrays: Any, length: int) -> Any:
    return _map(lambda a: np.zeros((length, *a.shape[1:]), a.dtype), arrays)


def _put(line: Any, rows: np.ndarray, arrays: Any, chosen: np.ndarray) -> None:
    for target, source in zip(_parts(line), _parts(arrays), strict=True):
        target[rows] = source[chosen]
