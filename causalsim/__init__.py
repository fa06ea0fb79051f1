"""causalsim: a transformer is one causal graph of events, and every schedule a foliation of it.

- An event is one computation, ``Event("attn", layer=3, position=7)``; an edge is what one reads of another.
- A foliation gives every event a time that grows along every edge: prefill, decoding, chunks and
  wavefronts are foliations, and one that breaks causality cannot exist.
- A run executes any foliation on real weights.
- Not one bit of the result depends on the choice, and ``verify`` proves it of a model and a text.
- What it costs, what can reach what, and by how many routes, the graph alone tells.

The packages, each using only those below it:

- ``cli``: the command ``causalsim``
- ``scenario``: experiments as TOML files
- ``verification``: order independence, causal invariance and batch invariance, with planted faults
- ``calibration``: batch sizes measured on the machine at hand
- ``engine``: programs, plans, their execution, and runs
- ``kernels``: one pure function for each kind of event
- ``testing``: traces, values and orders of other engines, judged
- ``models``: configurations, parameters, tokenizers and checkpoint formats
- ``rendering``: graphs and foliations as pictures
- ``foliations``: the Foliation type, families, sampling, costs
- ``events``: kinds of events, wirings, event graphs, paths, lattices
- ``posets``: order theory

``import causalsim as cs`` imports neither JAX nor networkx; names are fetched when used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from causalsim.lazy import fetched

if TYPE_CHECKING:
    from causalsim import testing as testing
    from causalsim import verification as verification
    from causalsim.engine import Model, Run, generate, load, random_model, run
    from causalsim.errors import (
        CausalityError,
        CausalsimError,
        CheckpointError,
        InputError,
        LimitError,
        ScenarioError,
    )
    from causalsim.events import Event, EventGraph, Wiring
    from causalsim.foliations import (
        Foliation,
        Footprint,
        chunked,
        earliest,
        from_slices,
        from_time,
        latest,
        layer_major,
        peak_at_cuts,
        peak_during,
        random_foliation,
        random_linear_extension,
        tilted,
        token_major,
        wavefront,
    )
    from causalsim.models import ModelConfig
    from causalsim.rendering import render, to_graphviz
    from causalsim.testing import strategies as strategies
    from causalsim.verification import Report, verify

__version__ = "0.1.0"

_HOMES = {
    "engine": ["Model", "Run", "generate", "load", "random_model", "run"],
    "errors": [
        "CausalityError", "CausalsimError", "CheckpointError", "InputError", "LimitError", "ScenarioError",
    ],
    "events": ["Event", "EventGraph", "Wiring"],
    "foliations": [
        "Foliation", "Footprint", "chunked", "earliest", "from_slices", "from_time", "latest", "layer_major",
        "peak_at_cuts", "peak_during", "random_foliation", "random_linear_extension", "tilted", "token_major",
        "wavefront",
    ],
    "models": ["ModelConfig"],
    "rendering": ["render", "to_graphviz"],
    "verification": ["Report", "verify"],
}  # fmt: skip

# Not in __all__: strategies need hypothesis, which a star import must not ask for.
_MODULES = {"strategies": "testing.strategies", "testing": "testing", "verification": "verification"}

__all__ = [
    "CausalityError", "CausalsimError", "CheckpointError", "Event", "EventGraph", "Foliation", "Footprint",
    "InputError", "LimitError", "Model", "ModelConfig", "Report", "Run", "ScenarioError", "Wiring", "chunked",
    "earliest", "from_slices", "from_time", "generate", "latest", "layer_major", "load", "peak_at_cuts",
    "peak_during", "random_foliation", "random_linear_extension", "random_model", "render", "run", "tilted",
    "to_graphviz", "token_major", "verify", "wavefront",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        return fetched(__name__, name, _HOMES)
    globals()[name] = value = import_module(f"{__name__}.{_MODULES[name]}")
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
