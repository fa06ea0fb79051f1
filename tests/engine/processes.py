"""Questions to a process of its own: ``python -m tests.engine.processes digests all 64 768``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ORDERS = ("layer_major", "token_major", "wavefront", "chunked", "random")
# More than two and less than eight rows: there the loops of products depend on threads.
ODD = 3


def ask(*words: object, **environment: str) -> dict:
    """Output of a process; ``words`` are the name of a function below and its arguments."""
    return answer(start(*words, **environment))


def start(*words: object, **environment: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.engine.processes", *map(str, words)]
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    )


def answer(process: subprocess.Popen) -> dict:
    out, _ = process.communicate()
    assert process.returncode == 0, out
    return json.loads(out.splitlines()[-1])


# -- inside --------------------------------------------------------------------------------------------


def digests(processors: str, orders: str, *widths: str) -> dict:
    """Of every event's value, by width and order, on one processor or on all."""
    if processors == "one":
        # Before JAX counts them.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    found = {width: _of_width(int(width), ORDERS[: int(orders)]) for width in widths}
    return {"found": found, "odd": _odd_rows(), "threads": _pool()}


def _of_width(width: int, orders: tuple[str, ...]) -> dict[str, str]:
    import causalsim as cs

    model, tokens = _model(width), [n * 7 % 512 for n in range(12 if len(orders) < 3 else 40)]
    graph = cs.EventGraph(model.config, len(tokens))
    found = {}
    for name in orders:
        few = {"chunked": lambda: cs.chunked(graph, 8), "random": lambda: cs.random_foliation(graph, 1)}
        foliation = few.get(name, lambda name=name: getattr(cs, name)(graph))()
        run = cs.run(model, tokens, foliation, record=True)
        found[name] = f"{run.digest} {run.values_digest}"
    return found


def _model(width: int, layers: int = 2, vocabulary: int = 512):
    import causalsim as cs

    heads = max(2, width // 64)
    sizes = {"n_heads": heads, "n_kv_heads": max(1, heads // 4), "d_model": width, "d_ff": 4 * width}
    config = cs.ModelConfig(n_layers=layers, vocab_size=vocabulary, max_length=64, **sizes)
    return cs.random_model(config)


def _odd_rows() -> str:
    """In batches of a batch size that is not certified."""
    from dataclasses import replace

    import causalsim as cs
    from causalsim.kernels import CERTIFIED, Buckets

    return cs.run(_model(768, 1, 16_000), [1, 2], kernels=replace(CERTIFIED, buckets=Buckets((ODD,)))).digest


def _pool() -> int:
    """Threads that XLA's products run on."""
    names = [task.joinpath("comm").read_text() for task in Path("/proc/self/task").iterdir()]
    return sum("XLAEigen" in name for name in names)


def calibration() -> dict:
    """Calibrate a tiny model, and run it as calibrated."""
    import causalsim as cs
    from causalsim.calibration import calibrate
    from tests.models_for_tests import tiny

    model = tiny(1, 2, 1)
    found = calibrate(model, 20)
    run = cs.run(model, list(range(20)), record=True)
    used = model.kernels_or(None).calibration
    return {
        "identity": found.identity,
        "used": used,
        "holds": found.holds,
        "digest": run.values_digest,
    }


def under_flags() -> dict:
    """Digests of a wide model and of an odd one in both types, in many orders, and the flags in force."""
    import numpy as np

    import causalsim as cs
    from causalsim.engine.flags import numeric_flags
    from causalsim.testing.suite import named_foliations, random_orders
    from tests.models_for_tests import wide

    sizes = {"n_layers": 2, "n_heads": 3, "d_model": 31, "d_head": 9, "d_ff": 77, "vocab_size": 50}
    odd = cs.ModelConfig(**sizes, max_length=64, norm="layer", positions="learned")
    found = []
    for model in (wide(), cs.random_model(odd), cs.random_model(odd, dtype="bfloat16")):
        graph, ids = cs.EventGraph(model.config, 17), np.arange(17) * 7 % model.config.vocab_size
        orders = [*named_foliations(graph).values(), *dict(random_orders(graph, 2, 0)).values()]
        found.append([cs.run(model, ids, order, record=True).values_digest for order in orders])
    return {"digests": found, "flags": numeric_flags()}


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    known = {"digests": digests, "calibration": calibration, "under_flags": under_flags}
    print(json.dumps(known[name](*arguments)))
