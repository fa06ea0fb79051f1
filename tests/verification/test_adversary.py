"""Faults by a fresh pair of eyes: each changes bits between batches or orders, and a condition refuses it.

Ids name the fault; the tables say which condition of the certificate sees it.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from causalsim.engine import executor
from causalsim.engine.planning import Planner
from causalsim.events import Site
from causalsim.kernels import CERTIFIED
from causalsim.verification import bench
from causalsim.verification.certificate import certificate_of
from causalsim.verification.covering import possible
from causalsim.verification.executable_flow import traced, unsound
from causalsim.verification.target import Target
from tests.models_for_tests import tiny
from tests.verification.test_exploration import target

LITTLE = 2.0**-12


def refused(whole, kind, rows=8):
    """Faults that the certificate reads off the executable of a kind, by condition."""
    form = next(form for form, _ in possible(whole.graph, whole.kernels.buckets).values()
                if form.executable == (kind, 0, rows))  # fmt: skip
    return dict(reversed([*unsound(traced(whole, form, several=False))]))


# -- kernels that let rows meet ------------------------------------------------------------------------


def _segments(v):
    own = (v[:, 0] > 0).astype(np.int32)
    return v * jax.ops.segment_sum(v, own, 2)[own]


def _as_long_as_rows(v):
    turns = lax.while_loop(lambda n: n < (v[:, 0] > 0).sum(), lambda n: n + 1, 0)
    return v * (1 + LITTLE * turns)


def _reference(v):
    held = jax.new_ref(jnp.zeros_like(v))
    held[...] = v
    return v + held[0]


def _pairs(v):
    return lax.map(lambda one: lax.map(lambda other: one * other, v), v).sum(0)


def _overflowing(v):
    bits = lax.bitcast_convert_type(v, np.int32)
    return v * (1 + LITTLE * ((bits.cumsum(0) >> 28) & 1))


def _drawn(v):
    keys = jax.vmap(lambda n: jax.random.fold_in(jax.random.key(0, impl="rbg"), n))(
        lax.bitcast_convert_type(v[:, 0], np.int32)
    )
    return v * jax.vmap(lambda key: jax.random.uniform(key, v.shape[1:]))(keys)


def _checked(v):
    return lax.cond(v[0, 0] > 0, lambda v: v, lambda v: -v, v)


@jax.custom_vjp
def _behind_a_rule(v):
    return v + v.mean(0)


_behind_a_rule.defvjp(lambda v: (v, None), lambda _, g: (g,))
HIDDEN = np.linspace(1, 2, 8, dtype=np.float32)


def _alternating(v):
    return v * jnp.broadcast_to(jnp.arange(1.0, 3), (12, 2)).reshape(8, 3)[:, :1]


MEETING = {
    "sort": lambda v: lax.sort(v, dimension=0),
    "top_k": lambda v: lax.top_k(v, len(v), axis=0)[0],
    "cumsum": lambda v: lax.cumsum(v, axis=0),
    "scatter-add": lambda v: v * jnp.asarray(v).at[jnp.zeros(len(v), np.int32)].add(v)[0],
    "segment sum": _segments,
    "roll laid out anew": lambda v: jnp.roll(v.reshape(-1), v.shape[1]).reshape(v.shape),
    "gather of computed rows": lambda v: v[jnp.argmax(v, axis=0)[0]] * v,
    "one-hot product": lambda v: jax.nn.one_hot(jnp.argmax(v[:, :8], 1), len(v)) @ v,
    "scan with a carry": lambda v: lax.scan(lambda c, r: (c + r, c + r), 0 * v[0], v)[1],
    "scan that counts": lambda v: lax.scan(lambda n, r: (n + 1, r * n), 1.0, v)[1],
    "loop for each row": _pairs,
    "trips by rows": _as_long_as_rows,
    "branch by the first row": _checked,
    "collective": jax.vmap(lambda r: r / lax.pmax(r, "rows"), axis_name="rows"),
    "bits of a shape": lambda v: v * jax.random.uniform(jax.random.key(0), v.shape),
    "keys that draw together": _drawn,
    "whole numbers that overflow": _overflowing,
    "pad that shifts": lambda v: v + lax.pad(v, np.float32(0), [(1, -1, 0), (0, 0, 0)]),
    "reduction by a function": lambda v: v + lax.reduce(v, np.float32(0), lambda a, b: a + b * 0.5, (0,)),
    "convolution over rows": lambda v: lax.conv_general_dilated(
        v[None, None], np.ones((1, 1, 3, 1), np.float32), (1, 1), "SAME"
    )[0, 0],
    "reference": _reference,
    "behind a custom rule": _behind_a_rule,
    "remat": jax.remat(lambda v: v + v[::-1]),
    "constant of a closure": lambda v: v * HIDDEN[:, None],
    "constant that alternates": _alternating,
    "choice by place": lambda v: jnp.where(jnp.arange(len(v))[:, None] % 2 == 0, v, -v),
    "half in less precision": lambda v: jnp.concatenate([v[:4], lax.reduce_precision(v[4:], 8, 7)]),
}  # fmt: skip


@pytest.mark.parametrize("name", MEETING)
def test_rows_that_meet_in_a_kernel_change_bits_and_are_refused(name):
    rows = np.random.default_rng(0).standard_normal((8, 32), np.float32)
    batches = rows, np.roll(rows, 3, axis=0), np.where(np.arange(8)[:, None] > 3, rows, -2 * rows)
    plain, turned, beside = (np.asarray(MEETING[name](each)) for each in batches)
    assert (np.roll(plain, 3, axis=0) != turned).any() or (plain[4:] != beside[4:]).any()

    def mlp(config, weights, x):
        value = CERTIFIED.mlp(config, weights, x)
        return MEETING[name](value) if len(value) == 8 else value

    assert "rows" in refused(target(8, n_layers=1, kernels=CERTIFIED.replaced("spoilt", mlp=mlp)), "mlp")


# -- kernels that get more than rows ---------------------------------------------------------------------


def _through_scratch(value, _positions, pages):
    """Rows meet in a cell of a copy of memory."""
    left = pages.keys.at[-1, 0, 0, : value.shape[0]].set(value[:, 0])
    return value * (1 + left[-1, 0, 0, 0])


def _summed_in_scratch(value, positions, pages):
    left = pages.keys.at[positions * 0, 0, 0, 0].add(value[:, 0])
    return value * (1 + left[0, 0, 0, 0])


def _last_in_scratch(value, positions, pages):
    left = pages.keys.at[positions * 0, 0, 0, 0].set(value[:, 0])
    return value * (1 + left[0, 0, 0, 0])


ATTENDING = {
    "written by place": ("rows", _through_scratch),
    "added up in a copy of memory": ("rows", _summed_in_scratch),
    "last one in a copy of memory": ("rows", _last_in_scratch),
    "greatest position": ("rows", lambda v, p, _: v * (1 + LITTLE * p.max())),
    "distance of neighbours": ("rows", lambda v, p, _: v * (1 + LITTLE * jnp.diff(p, prepend=0)[:, None])),
    "how much is written": ("rows", lambda v, _, pages: v * (1 + jnp.isfinite(pages.keys).sum() * LITTLE)),
    "page's number": ("addresses", lambda v, _, pages: v + pages.table.reshape(-1)[0]),
    "page's number, looked up": (
        "addresses",
        lambda v, _, pages: v * jnp.arange(1.0, 99)[pages.table.reshape(-1)[0]],
    ),
    "page's number, written down": (
        "addresses",
        lambda v, _, pages: v + jnp.zeros(99).at[pages.table.reshape(-1)[0]].set(1)[0],
    ),
    "page by content": (
        "addresses",
        lambda v, p, pages: v + pages.keys.at[pages.keys[0, 0, 0, 0].astype(np.int32), 0, 0, 0].get(),
    ),
    "branch by content": (
        "addresses",
        lambda v, p, pages: lax.cond(pages.keys[0, 0, 0, 0] > 0, lambda v: v, lambda v: -v, v),
    ),
}


@pytest.mark.parametrize("name", ATTENDING)
def test_an_attention_that_gets_more_than_its_row_is_refused(name):
    condition, spoil = ATTENDING[name]

    def attn(config, weights, x, positions, pages):
        return spoil(CERTIFIED.attn(config, weights, x, positions, pages), positions, pages)

    whole = target(8, n_layers=1, kernels=CERTIFIED.replaced("spoilt", attn=attn))
    assert condition in refused(whole, "attn")


def test_a_sampler_whose_key_depends_on_the_place_is_refused():
    def sample(config, logits, positions, given, temperature, seed):
        moved = positions + jnp.arange(len(positions))
        return CERTIFIED.sample(config, logits, moved, given, temperature, seed)

    whole = Target.of(
        tiny(n_layers=1), [[1, 2, 3]] * 8, prompt=2, kernels=CERTIFIED.replaced("spoilt", sample=sample)
    )
    assert "rows" in refused(whole, "sample")


# -- an engine that goes wrong -----------------------------------------------------------------------------


def _around(monkeypatch, owner, name, spoil):
    """Replace a function by ``spoil(original, *arguments)``."""
    original = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *given, **named: spoil(original, *given, **named))


def _padding_writes_first_cell(original, self, site, rows, size):
    padded = original(self, site, rows, size)
    padded[0, rows.shape[1] :] = 0
    return padded


def _wrong_table(original, self, batch, size, several):
    table = original(self, batch, size, several)
    return np.roll(table, 1, axis=0) if np.ndim(table) == 2 and len(batch) > 1 else table


def _short_extent(original, self, batch, rows):
    extent = original(self, batch, rows)
    return extent * 0 if rows.shape[1] > 1 else extent


def _wide_window(original, self, batch, rows, size, several):
    made = original(self, batch, rows, size, several)
    return made if made.window is None or size == 1 else made._replace(window=made.window + 1)


def _nothing_kept(original, dispatch, before, computation, keep):
    """Many rows of an attention are computed and not left."""
    held = before.residual.copy()
    after, value = original(dispatch, before, computation, keep)
    return (replace(after, residual=held) if dispatch.size > 1 else after), value


def _otherwise_unless_kept(original, dispatch, before, computation, *, keep=True):
    after, values = original(dispatch, before, computation, keep=keep)
    return (after if keep else replace(after, residual=after.residual * (1 + LITTLE))), values


def _now_and_then():
    turns = count()

    def spoilt(original, dispatch, before, computation, *, keep=True):
        after, values = original(dispatch, before, computation, keep=keep)
        return (replace(after, residual=after.residual * 1.5) if next(turns) % 7 == 3 else after), values

    return spoilt


def _late_logits():
    """Logits are left when the next ones are made."""
    waiting = []

    def spoilt(original, dispatch, before, computation, keep):
        is_traced = isinstance(before.logits, jax.core.Tracer)
        left = before.logits.copy()
        after, value = original(dispatch, before, computation, keep)
        if is_traced:
            return after, value
        waiting.append(after.logits)
        return replace(after, logits=left if len(waiting) < 2 else waiting.pop(0).copy()), value

    return spoilt


def _stale_token(original, self, batches):
    return [rows - np.array([[1], [0], [0]], np.int32) * (batch.site.kind == "embed") * (rows.shape[1] == 1)
            for batch, rows in zip(batches, original(self, batches), strict=True)]  # fmt: skip


def _other_weights(original, dispatch, computation):
    if dispatch.site.kind == "mlp" and dispatch.size > 1:
        dispatch = replace(dispatch, batches=(replace(dispatch.batches[0], site=Site("mlp", 0)),))
    return original(dispatch, computation)


def _zeros(original, before, places):
    """Pages that serve again are zeros instead of poison."""
    after = original(before, places)
    return replace(after, keys=tuple(jnp.where(jnp.isnan(part), 0, part) for part in after.keys))


def _one_place_beside(original, before, places):
    return original(before, [(pool, (place + 1) % before.layout.pages) for pool, place in places])


def _one_pool_beside(original, before, places):
    return original(before, [((pool + 1) % len(before.keys), place) for pool, place in places])


TWO = {"tokens": [[1, 2, 3], [4, 5]]}
ENGINE = {
    "padding writes a real cell": (Planner, "_padded", _padding_writes_first_cell, {}, {"garbage", "frame"}),
    "another request's table": (Planner, "_table", _wrong_table, TWO, {"garbage"}),
    "extent too short": (Planner, "_extent", _short_extent, {}, {"garbage"}),
    "window too wide": (Planner, "_indices", _wide_window, {"windows": 1}, {"garbage"}),
    "a lost write": (executor._RUNNERS, "attend", _nothing_kept, {}, {"garbage"}),
    "otherwise when not recorded": (
        executor,
        "run_dispatch",
        _otherwise_unless_kept,
        {},
        {"garbage", "frame"},
    ),
    "every seventh dispatch": (executor, "run_dispatch", _now_and_then(), {}, {"garbage"}),
    "logits left late": (executor._RUNNERS, "unembed", _late_logits(), {}, {"garbage"}),
    "the token before": (Planner, "_rows", _stale_token, {}, {"garbage"}),
    "another layer's weights": (executor, "_weights", _other_weights, {"n_layers": 2}, {"garbage"}),
    "zeros for poison": (executor, "_with_poison", _zeros, {"n_layers": 2}, {"lifetime"}),
    "the page beside": (executor, "_with_poison", _one_place_beside, TWO | {"n_layers": 2}, {"lifetime"}),
    "the pool beside": (executor, "_with_poison", _one_pool_beside, {"n_layers": 2}, {"lifetime"}),
}


@pytest.fixture
def engine(request, monkeypatch):
    """A target whose engine has a fault, and the conditions that have to refuse it."""
    owner, name, spoil, switches, conditions = ENGINE[request.param]
    if isinstance(owner, dict):
        original = owner[name]
        monkeypatch.setitem(owner, name, lambda *given: spoil(original, *given))
    else:
        _around(monkeypatch, owner, name, spoil)
    if name == "run_dispatch":
        monkeypatch.setattr(bench, name, executor.run_dispatch)
    switches = {"n_layers": 1} | switches
    tokens = switches.pop("tokens", [[1, 2, 3]])
    return Target.of(tiny(**switches), tokens), conditions


@pytest.mark.parametrize("engine", ENGINE, indirect=True)
def test_an_engine_that_goes_wrong_is_refused(engine):
    whole, conditions = engine
    found = certificate_of(whole, thorough=False)
    broken = {part.name for part in found.parts if not part.holds}
    assert not found.holds and conditions <= broken
