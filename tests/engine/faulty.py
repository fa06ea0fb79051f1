"""Attentions that are wrong in ways which only a mix, an order or a longer buffer shows."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import jax.numpy as jnp

from causalsim.kernels import PAGE, Kernels
from causalsim.kernels.bundle import CERTIFIED_BUCKETS, LIBRARY_OFF, kernels_of
from causalsim.kernels.certified import K_BLOCKED
from causalsim.kernels.elementwise import capped
from causalsim.kernels.k_blocks import contract
from causalsim.kernels.paged import Pages, attend


@cache
def summing_the_whole_buffer() -> Kernels:
    """Masked as it should be, but all sums go over the whole buffer in as many strides as it has pages."""
    return _with("an attention that sums over the whole buffer", _over_all)


@cache
def unmasked() -> Kernels:
    """Every row sees all that has been written, itself or by others, before or behind it."""
    return _with("an attention without a mask", _without_mask)


def _with(name: str, attention: Any) -> Kernels:
    return kernels_of(name, replace(K_BLOCKED, attend=attention), CERTIFIED_BUCKETS, LIBRARY_OFF)


def _over_all(queries: Any, positions: Any, pages: Pages, cap: float | None = None) -> Any:
    rows, heads, group, d_head = queries.shape
    extent = len(pages.table) * PAGE
    keys = jnp.moveaxis(pages.keys[pages.table], 0, 2).reshape(heads, d_head, extent)
    values = jnp.moveaxis(pages.values[pages.table], 0, 1).reshape(heads, extent, d_head)
    stacked = queries.transpose(1, 0, 2, 3).reshape(heads, rows * group, d_head)
    sees = jnp.arange(extent) <= jnp.repeat(positions, group)[:, None]
    scores = jnp.where(sees, capped(contract(stacked, jnp.nan_to_num(keys)), cap), -jnp.inf)
    shares = jnp.exp(scores - scores.max(axis=2, keepdims=True))
    mixed = _folded(shares[..., None] * jnp.nan_to_num(values)[:, None]) / _folded(shares[..., None])
    return mixed.reshape(heads, rows, group, d_head).transpose(1, 0, 2, 3)


def _folded(terms: Any) -> Any:
    """The sum over the last axis but one, in as many strides as there are pages: ends meet first."""
    strides = terms.reshape(*terms.shape[:2], PAGE, -1, terms.shape[-1])
    return strides.sum(axis=2).sum(axis=2)


def _without_mask(queries: Any, positions: Any, pages: Pages, cap: float | None = None) -> Any:
    clean = pages._replace(keys=jnp.nan_to_num(pages.keys), values=jnp.nan_to_num(pages.values))
    last = jnp.full_like(positions, len(pages.table) * PAGE - 1)
    return attend(queries, last, clean, cap)
