"""Exact counts of down-sets, of the edges between them, and of linear extensions."""

from __future__ import annotations

from causalsim.posets.decomposition import decompose
from causalsim.posets.growth import DEFAULT_LIMIT, Budget
from causalsim.posets.relations import Predecessors
from causalsim.posets.sizes import LatticeCounts, evaluate
from causalsim.posets.tables import table


def count_down_sets(predecessors: Predecessors, *, limit: int = DEFAULT_LIMIT) -> int:
    """Return the exact number of down-sets, the empty one and the whole poset included.

    ``limit`` bounds the down-sets that are tabulated: a poset that falls into series or parallel
    parts may have more. Raises LimitError as soon as one more is found.

    Args:
        predecessors: For each element the elements below it, all numbered smaller.
        limit: The most down-sets that are tabulated.

    Returns:
        The number.

    Raises:
        InputError: No elements numbered along a linear extension.
        LimitError: The tables hold more down-sets.

    >>> count_down_sets([(), (), (0, 1)])
    5
    """
    return lattice_counts(predecessors, limit=limit).down_sets


def count_lattice_edges(predecessors: Predecessors, *, limit: int = DEFAULT_LIMIT) -> int:
    """Return the exact number of pairs of down-sets that differ by one element.

    The covers of the lattice of down-sets. ``limit`` as for `count_down_sets`.

    Args:
        predecessors: For each element the elements below it, all numbered smaller.
        limit: The most down-sets that are tabulated.

    Returns:
        The number.

    Raises:
        InputError: No elements numbered along a linear extension.
        LimitError: The tables hold more down-sets.

    >>> count_lattice_edges([(), (), (0, 1)])
    5
    """
    return lattice_counts(predecessors, limit=limit).lattice_edges


def count_linear_extensions(predecessors: Predecessors, *, limit: int = DEFAULT_LIMIT) -> int:
    """Return the exact number of linear extensions.

    #P-complete in general (Brightwell and Winkler 1991), hence ``limit``, as for `count_down_sets`.

    Args:
        predecessors: For each element the elements below it, all numbered smaller.
        limit: The most down-sets that are tabulated.

    Returns:
        The number.

    Raises:
        InputError: No elements numbered along a linear extension.
        LimitError: The tables hold more down-sets.

    >>> count_linear_extensions([(), (), (0,), (1,)])
    6
    """
    return lattice_counts(predecessors, limit=limit).linear_extensions


def lattice_counts(predecessors: Predecessors, *, limit: int = DEFAULT_LIMIT) -> LatticeCounts:
    """Return all counts at once, from one table of down-sets for each prime part.

    Stanley, Enumerative Combinatorics 1, section 3.5. ``limit`` as for `count_down_sets`.

    Args:
        predecessors: For each element the elements below it, all numbered smaller.
        limit: The most down-sets that are tabulated.

    Returns:
        Elements, down-sets, edges between these, and linear extensions.

    Raises:
        InputError: No elements numbered along a linear extension.
        LimitError: The tables hold more down-sets.

    >>> lattice_counts([(), (), (0,), (1,)])
    LatticeCounts(elements=4, down_sets=9, lattice_edges=12, linear_extensions=6)
    """
    budget = Budget(limit)
    return evaluate(decompose(predecessors), lambda part: table(part.predecessors, budget).counts())[0]
