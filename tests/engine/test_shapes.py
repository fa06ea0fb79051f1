"""Shape checks are on in this suite: a wrongly shaped call is refused, a fitting one is not."""

from __future__ import annotations

import jaxtyping
import numpy as np
import pytest

import causalsim as cs
from causalsim.engine import Batch
from causalsim.events import Site
from causalsim.kernels.elementwise import rms_norm, rotate
from causalsim.kernels.k_blocks import k_blocked, linear
from causalsim.kernels.paged import Pages, attend
from tests.models_for_tests import tiny

ROW = np.zeros(3, np.int32)


def _zeros(*shape, dtype=np.float32):
    import jax.numpy as jnp

    return jnp.zeros(shape, dtype)


PAGES = Pages(_zeros(2, 1, 4, 128), _zeros(2, 1, 128, 4), _zeros(1, dtype=np.int32), _zeros(dtype=np.int32))
TABLE = np.zeros((2, 8, 2), np.float32)


@pytest.mark.parametrize(
    "call",
    [
        lambda: linear(_zeros(2, 3, 4), k_blocked(np.zeros((4, 2), np.float32)), 2),
        lambda: linear(_zeros(2, 4, dtype=np.int32), k_blocked(np.zeros((4, 2), np.float32)), 2),
        lambda: linear(_zeros(2, 4), _zeros(4, 2), 2),
        lambda: linear(_zeros(2, 4), k_blocked(np.zeros((4, 2), np.float32)), 17),
        lambda: rms_norm(_zeros(2, 4), _zeros(5), 1e-6),
        lambda: rotate(_zeros(2, 1, 4), _zeros(3, dtype=np.int32), _zeros(2, 8, 2)),
        lambda: attend(_zeros(2, 1, 1, 4), _zeros(3, dtype=np.int32), PAGES),
        lambda: attend(_zeros(2, 1, 4), _zeros(2, dtype=np.int32), PAGES),
        lambda: Batch(Site("kv", 0), ROW, ROW[:2]),
        lambda: Batch(Site("kv", 0), ROW.astype(float), ROW),
        lambda: cs.Foliation(cs.EventGraph(cs.Wiring(1), 1), np.zeros((5, 1), np.int64)),
        lambda: cs.run(tiny(), np.zeros(3, np.float32)),
    ],
)
def test_wrongly_shaped_calls_are_refused(call):
    with pytest.raises(jaxtyping.TypeCheckError):
        call()


def test_fitting_calls_are_not():
    import jax.numpy as jnp

    assert linear(_zeros(2, 4), k_blocked(np.zeros((4, 2), np.float32)), 2).shape == (2, 2)
    assert rotate(_zeros(3, 1, 4), jnp.asarray(ROW), jnp.asarray(TABLE)).shape == (3, 1, 4)
    assert len(Batch(Site("kv", 0), ROW, ROW)) == 3


@pytest.mark.usefixtures("unchecked")
def test_the_fixture_switches_them_off():
    assert len(Batch(Site("kv", 0), ROW.astype(float), ROW)) == 3
