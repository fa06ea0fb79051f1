"""Attention over pages: right, and blind to everything that a row does not see."""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causalsim.kernels import PAGE, Pages
from causalsim.kernels.paged import attend
from tests.kernels.batches import GARBAGE, bits, certified, offenders

LONGEST = 300  # Positions: into the third page.
EDGES = (0, 1, 7, 126, 127, 128, 129, 255, 256, 257, 299)
attend_ = certified(attend)


@dataclass(frozen=True)
class Case:
    """Keys, values and queries of a text, and how its pages lie in a pool."""

    kv_heads: int
    group: int
    d_head: int
    window: int = 2**30
    pool: int = 4
    entries: int = 4
    seed: int = 0
    garbage: float = np.nan

    def _normal(self, number: int, *shape: int) -> np.ndarray:
        return np.random.default_rng([number, self.d_head]).standard_normal(shape, dtype=np.float32)

    def text(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        queries = self._normal(0, LONGEST, self.kv_heads, self.group, self.d_head)
        keys, values = (self._normal(n, LONGEST, self.kv_heads, self.d_head) for n in (1, 2))
        return queries, keys, values

    def pages(self, written: int = LONGEST) -> Pages:
        """The first positions in pages at random places of a pool that holds garbage elsewhere."""
        _, keys, values = self.text()
        k = np.full((self.pool, self.kv_heads, self.d_head, PAGE), self.garbage, np.float32)
        v = np.full((self.pool, self.kv_heads, PAGE, self.d_head), self.garbage, np.float32)
        needed = -(-LONGEST // PAGE)
        places = np.random.default_rng(self.seed).permutation(self.pool)[:needed]
        for number, place in enumerate(places):
            there = slice(number * PAGE, min((number + 1) * PAGE, written))
            count = max(0, there.stop - there.start)
            k[place, :, :, :count] = keys[there].transpose(1, 2, 0)
            v[place, :, :count] = values[there].transpose(1, 0, 2)
        table = np.full(self.entries, self.pool - 1, np.int32)
        table[:needed] = places
        return Pages(jnp.asarray(k), jnp.asarray(v), jnp.asarray(table), jnp.int32(self.window))

    def attend(self, positions, written: int = LONGEST) -> np.ndarray:
        positions = np.asarray(positions, np.int32)
        return np.asarray(attend_(self.text()[0][positions], positions, self.pages(written)))

    def exact(self, position: int) -> np.ndarray:
        """Softmax attention in double precision."""
        queries, keys, values = (part.astype(np.float64) for part in self.text())
        seen = slice(max(0, position - self.window + 1), position + 1)
        scores = np.einsum("hgd,phd->hgp", queries[position], keys[seen])
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return np.einsum("hgp,phd->hgd", shares / shares.sum(axis=-1, keepdims=True), values[seen])


GLASS = Case(2, 2, 32)
HEADS = [GLASS, Case(3, 3, 64), Case(1, 8, 16), Case(12, 1, 64)]
# 768 wide: 12 heads of 64, grouped by three.
WIDE = Case(4, 3, 64)
NAMES = ["glass", "grouped", "multi-query", "ungrouped"]


@pytest.mark.parametrize("window", [2**30, 1, 2, 127, 128, 129, 200])
@pytest.mark.parametrize("case", HEADS, ids=NAMES)
def test_it_is_softmax_attention(case, window):
    case = replace(case, window=window)
    positions = [*EDGES, 63, 64, 65, 200, 298]
    for position, found in zip(positions, case.attend(positions), strict=True):
        np.testing.assert_allclose(found, case.exact(position), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("case", "window"),
    [
        (GLASS, 130),
        (WIDE, 2**30),
        (Case(12, 1, 64), 2**30),
        (Case(2, 4, 64), 2**30),
        (Case(1, 7, 128), 2**30),
    ],
    ids=["glass", "wide", "ungrouped", "four", "seven"],
)
def test_bits_do_not_depend_on_how_many_rows_there_are(case, window):
    """Several query heads on one K/V head make 2 to 7 rows of a single row: counts of their own to XLA."""
    case = replace(case, window=window)
    queries = case.text()[0]
    pages = case.pages()

    def rows(table):
        positions = (
            np.nan_to_num(table[:, 0], nan=3, posinf=4, neginf=5).clip(0, LONGEST - 1).astype(np.int32)
        )
        heads = np.ascontiguousarray(table[:, 1:]).reshape(len(table), *queries.shape[1:])
        return np.asarray(attend_(heads, positions, pages)).reshape(len(table), -1)

    places = np.arange(256) + LONGEST - 256
    table = np.concatenate([places[:, None].astype(np.float32), queries[places].reshape(256, -1)], axis=1)
    assert offenders(rows, table, (1, 8, 33, 256)) == []


@settings(max_examples=40)
@given(
    st.sampled_from([GLASS, WIDE]),
    st.lists(st.integers(0, LONGEST - 1) | st.sampled_from(EDGES), min_size=8, max_size=8),
    st.sampled_from([2**30, 1, 3, 128, 129]),
    st.integers(0, 99),
    st.sampled_from(GARBAGE),
)
def test_bits_do_not_depend_on_what_a_row_does_not_see(case, positions, window, seed, garbage):
    """Neighbours, garbage in the pool, the place of pages, and what follows in the same page."""
    plain = replace(case, window=window)
    other = replace(plain, seed=seed, garbage=garbage)
    alone = bits(plain.attend([positions[0]]))
    assert np.array_equal(bits(other.attend(positions))[:1], alone)
    assert np.array_equal(bits(other.attend([positions[0]] * 8, written=positions[0] + 1))[:1], alone)


@pytest.mark.parametrize(("pool", "entries"), [(3, 3), (5, 32), (8, 7), (32, 4)])
def test_bits_do_not_depend_on_the_pool_or_the_table(pool, entries):
    positions = list(EDGES[:8])
    there = replace(GLASS, pool=pool, entries=entries, seed=pool)
    assert np.array_equal(bits(there.attend(positions)), bits(GLASS.attend(positions)))


@pytest.mark.parametrize("case", [GLASS, WIDE], ids=["glass", "wide"])
@pytest.mark.parametrize("garbage", [np.nan, np.inf])
def test_an_unwritten_cell_poisons_exactly_the_rows_that_see_it(case, garbage):
    case = replace(case, garbage=garbage, window=130)
    positions = [126, 127, 128, 129, 130, 255, 10, 0]
    for written in (0, 1, 127, 128, 129, 256):
        found = case.attend(positions, written)
        lost = np.array([position >= written for position in positions])
        assert np.array_equal(np.isnan(found).any(axis=(1, 2, 3)), lost)
        assert np.isnan(found[lost]).all()
        assert np.array_equal(bits(found[~lost]), bits(case.attend(positions)[~lost]))


@pytest.mark.parametrize("part", ["keys", "values"])
@pytest.mark.parametrize("cell", [0, 64, 127, 128, 130])
def test_one_poisoned_number_is_enough(part, cell):
    pages = GLASS.pages()
    page, column = int(pages.table[cell // PAGE]), cell % PAGE
    place = (page, 1, 5, column) if part == "keys" else (page, 1, column, 5)
    poisoned = pages._replace(**{part: getattr(pages, part).at[place].set(jnp.nan)})
    positions = np.array([0, 63, 64, 127, 128, 129, 130, 257], np.int32)
    found = np.asarray(attend_(GLASS.text()[0][positions], positions, poisoned))
    assert np.isnan(found[:, 1]).all(axis=(1, 2)).tolist() == (positions >= cell).tolist()
    assert np.isfinite(found[:, 0]).all()


def test_a_page_that_the_table_does_not_have_is_poison():
    positions = np.array([100, 128, 257, 299], np.int32)
    pages = GLASS.pages()
    for table in (pages.table[:1], jnp.asarray([int(pages.table[0]), 99, -1], jnp.int32)):
        found = np.asarray(attend_(GLASS.text()[0][positions], positions, pages._replace(table=table)))
        assert np.isnan(found).all(axis=(1, 2, 3)).tolist() == [False, True, True, True]


def test_scores_that_overflow_a_plain_softmax():
    """Queries so large that exp of a score is infinite: the greatest takes all, and stays finite."""
    pages, positions = GLASS.pages(), np.full(8, 299, np.int32)
    queries = np.float32(1e4) * GLASS.text()[0][positions]
    found = np.asarray(attend_(queries, positions, pages))
    _, keys, values = GLASS.text()
    best = np.einsum("hgd,phd->hgp", queries[0], keys).argmax(axis=-1)
    expected = np.stack([values[best[head], head] for head in range(2)])
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)
