"""Models small enough to verify whole, and one wide enough that bits are not kept by luck."""

from __future__ import annotations

from functools import lru_cache

import causalsim as cs

SENTENCE = "The old man went down to the sea and looked at the ships for a long time."


@lru_cache(maxsize=32)
def tiny(
    n_layers=2, n_heads=4, n_kv_heads=2, windows=None, parallel_residual=False, seed=0, dtype="float32"
) -> cs.Model:
    config = cs.ModelConfig(
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        d_model=8 * n_heads,
        d_ff=24,
        vocab_size=40,
        max_length=512,
        windows=windows,
        parallel_residual=parallel_residual,
    )
    return cs.random_model(config, seed, dtype=dtype)


@lru_cache(maxsize=2)
def wide(dtype="float32") -> cs.Model:
    config = cs.ModelConfig(
        n_layers=2, n_heads=12, n_kv_heads=4, d_model=768, d_ff=2048, vocab_size=512, max_length=64
    )
    return cs.random_model(config, 0, dtype=dtype)


@lru_cache(maxsize=1)
def glass() -> cs.Model:
    return cs.load("glass")
