"""The speed table on a tiny model: both sides of a row run and agree, and are told if not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from causalsim.engine import many
from tests import markers
from tests.benchmarks import speed
from tests.benchmarks.sides import Pair, Side, Sides, Sizes, pairs
from tests.models_for_tests import tiny

SMALL = Sizes(text=12, before=8, chunk=4, extension=5, prompts=(2, 5, 3), continued=3)
TITLES = [
    "prefill of 12 positions",
    "decode of 4 positions after 8",
    "prefill of 12 positions",
    "5 positions, event by event",
    "3 requests, 3 tokens each",
]


@pytest.fixture(scope="module")
def sides() -> Sides:
    return Sides(tiny(), SMALL)


def test_both_sides_of_every_row_agree(sides):
    found = list(pairs(sides))
    assert [pair.title for pair in found] == TITLES
    for pair in found:
        pair.check()
        pair.check()  # what a run consumes is made anew


def test_every_side_gives_the_rows_that_it_says(sides):
    rows = [12, 4, 12, 5, 9]
    for pair, count in zip(pairs(sides), rows, strict=True):
        for side in (pair.measured, pair.beside):
            assert side.logits(side.run(side.fresh())).shape == (count, 40)


def test_random_orders_are_counted(monkeypatch):
    monkeypatch.setattr(many, "TOGETHER", 8)
    many.executor_for.cache_clear()
    assert "random orders a second" in speed.orders_a_second(1, count=8)
    many.executor_for.cache_clear()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_transformers_agree(sides):
    """Needs the extra ``oracle``, as the rows do that it checks."""
    from tests.benchmarks import transformers_sides

    found = list(transformers_sides.pairs(sides, 1))
    assert len(found) == 4
    for pair in found:
        pair.check()


@pytest.mark.parametrize(
    ("spoil", "same_bits"),
    [
        (lambda logits: logits + np.float32(0.01), False),
        (lambda logits: np.nextafter(logits, np.float32(9)), True),
        (lambda logits: logits[:-1], False),
        (lambda logits: np.full_like(logits, np.nan), False),
    ],
    ids=["far", "near", "fewer", "poison"],
)
def test_a_side_that_computes_something_else_is_told(sides, spoil, same_bits):
    right = sides.prefill()
    wrong = replace(right, logits=lambda run: spoil(run.logits))
    with pytest.raises(ValueError, match="the sides differ"):
        Pair("spoilt", wrong, right, same_bits).check()


def test_a_row_says_least_median_and_ratios():
    times = speed.Times(np.array([2.0, 3.0, 9.0]), np.array([1.0, 2.0, 3.0]))
    assert times.cells() == ["2.000 / 1.000", "3.000 / 2.000", "2.00", "2.00"]


def test_only_the_run_is_on_the_clock_and_gets_what_was_made_for_it():
    seen = []
    made = iter("abcdef")
    side = Side("a side", seen.append, lambda _: np.zeros(1), lambda: next(made))
    times = speed.measure(Pair("twice the same", side, side), 2)
    assert seen == list("abcdef") and times.measured.shape == times.beside.shape == (2,)


def test_the_table_says_what_is_missing(sides, monkeypatch, capsys):
    monkeypatch.setattr(speed, "has_transformers", lambda: False)
    text = speed.table(sides, 1)
    assert text.count("\n| ") == len(TITLES) + 1 and "not measured here" in text
    assert "oracle" in capsys.readouterr().out
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1


def test_markers_are_a_pair():
    page = "a\n<!-- speed: how -->\nold\n<!-- end of speed -->\nb"
    assert markers.replaced(page, "speed", "new\n") == page.replace("old", "new")
    with pytest.raises(ValueError, match="one pair"):
        markers.replaced(page, "figures", "new")


@pytest.mark.parametrize("name", ["figures", "speed", "beside others", "campaign", "certificates"])
def test_a_page_has_the_markers(name):
    page = markers.page_of(name).read_text(encoding="utf-8")
    assert markers.replaced(page, name, "") != page


def test_what_is_measured_goes_to_the_page_that_has_its_markers(tmp_path, monkeypatch):
    pages = tmp_path / "a.md", tmp_path / "b.md"
    monkeypatch.setattr(markers, "PAGES", pages)
    for page, name in zip(pages, ("one", "two"), strict=True):
        page.write_text(f"<!-- {name}: how -->\nold\n<!-- end of {name} -->\n")
    markers.write("two", "new\n")
    assert "old" in pages[0].read_text()
    assert pages[1].read_text() == "<!-- two: how -->\nnew\n<!-- end of two -->\n"
    with pytest.raises(ValueError, match="got 0 of 'three'"):
        markers.write("three", "new")
    pages[0].write_text(pages[1].read_text())
    with pytest.raises(ValueError, match="got 2 of 'two'"):
        markers.write("two", "newer")


def test_the_readme_has_the_rows_beside_others():
    whole, few = (
        page.read_text(encoding="utf-8").partition(f"<!-- {name}: ")[2].partition("<!-- end of")[0]
        for page, name in ((markers.RESULTS, "speed"), (markers.README, "beside others"))
    )
    assert speed.beside_others(whole) == few.partition("\n")[2]
    assert few.count("| plain JAX |") == few.count("| transformers |") == 2
