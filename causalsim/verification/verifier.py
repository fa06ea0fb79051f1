"""The whole check of one model over one text or several."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import jax

from causalsim.engine import Model
from causalsim.engine.tokens import Texts, encode_texts
from causalsim.errors import InputError
from causalsim.events import EventGraph
from causalsim.kernels import CERTIFIED, Kernels
from causalsim.verification.lanes import lane_rule
from causalsim.verification.orders import order_independence
from causalsim.verification.progress import Progress, silent
from causalsim.verification.reads import causal_invariance
from causalsim.verification.report import Report
from causalsim.verification.subject import Subject


def verify(
    model: Model,
    tokens: Texts,
    *,
    prompt: int | Sequence[int] | None = None,
    orders: int = 20,
    events: int = 24,
    draws: int = 2,
    seed: int = 0,
    kernels: Kernels = CERTIFIED,
    progress: Progress = silent,
) -> Report:
    """Whether the order of events changes a bit of what a model computes over given tokens.

    Runs named and ``orders`` random foliations; records what ``events`` sampled events read;
    runs every kind of event in launches of all shapes, ``draws`` times each; and plants faults
    that each of these checks must see. With ``prompt`` the positions from there on wait for
    their tokens (teacher-forced); one number, or one a request. ``progress(stage, done, total)``
    is called as work goes on. Raises ``InputError`` for tokens that do not fit the model.
    """
    counts = (("orders", orders, 1), ("events", events, 1), ("draws", draws, 2), ("seed", seed, 0))
    for name, count, least in counts:
        if isinstance(count, bool) or not isinstance(count, int) or count < least:
            raise InputError(f"{name} is a whole number of at least {least}", got=repr(count))
    ids = encode_texts(model, tokens)
    graph = EventGraph(model.config, [len(text) for text in ids], prompt=prompt)
    subject = Subject(model, graph, ids, kernels)
    return Report(
        order_independence(subject, orders, seed, progress),
        causal_invariance(subject, events, seed, progress),
        lane_rule(subject, draws, seed, progress),
        environment(kernels, model.dtype),
    )


def environment(kernels: Kernels = CERTIFIED, dtype: str = "float32") -> dict[str, str]:
    """What bits are a property of, besides the model and the text."""
    options = ", ".join(f"{key}={value!r}" for key, value in kernels.compiler_options)
    return {
        "jax": version("jax"),
        "jaxlib": version("jaxlib"),
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "machine": platform.machine(),
        "vector instructions": _vector_instructions(),
        "processors": str(os.cpu_count()),
        "dtype": dtype,
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        "jax_enable_x64": str(jax.config.values["jax_enable_x64"]),
        "jax_default_matmul_precision": str(jax.config.values["jax_default_matmul_precision"]),
        "kernels": kernels.name,
        "compiler options": options or "defaults",
        "lanes": ", ".join(map(str, kernels.lanes.counts)) or "any",
    }


def _vector_instructions() -> str:
    """The widest vectors that the processor says it has, where the system tells."""
    try:
        said = Path("/proc/cpuinfo").read_text()
    except OSError:
        return "unknown"
    return next((name for name in ("avx512f", "avx2", "asimd", "sse2") if name in said), "unknown")
