"""Bits do not depend on how many threads a product runs on."""

from __future__ import annotations

import os
import sys

import pytest

from tests.engine.processes import ask

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="needs two processors of Linux"
)


def _agree(orders: int, *widths: int) -> None:
    one, all_of_them = (ask("digests", processors, orders, *widths) for processors in ("one", "all"))
    assert one["threads"] == 1 < all_of_them["threads"]
    assert one["found"] == all_of_them["found"]
    assert all(len({*digests.values()}) == 1 for digests in one["found"].values())
    assert one["odd"] != all_of_them["odd"], "the comparison would see a difference"


def test_one_thread_and_several_give_the_same_bits():
    _agree(2, 64, 768)


@pytest.mark.slow
@pytest.mark.parametrize("width", [64, 768, 2048, 4096])
def test_one_thread_and_several_give_the_same_bits_in_every_order(width):
    _agree(5, width)


@pytest.fixture(scope="module")
def on_one():
    return ask("digests", "one", 3, 64, 768, NPROC="1")


@pytest.mark.parametrize("threads", [4, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 5, 6, 8, 16))])
def test_more_threads_than_processors_give_the_same_bits(threads, on_one):
    """No part of a K-block goes to a thread of its own; blocks of 192 terms were split on 4 and 5."""
    many = ask("digests", "all", 3, 64, 768, NPROC=str(threads))
    assert many["threads"] == threads
    assert all(len({*digests.values()}) == 1 for digests in many["found"].values())
    assert many["found"] == on_one["found"]
