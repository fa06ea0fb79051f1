"""Mutations of order theory: wiring, posets, foliations."""

# ruff: noqa: E501  a change in a line

from __future__ import annotations

from tests.mutants.mutation import of_file

WIRING = ("events/test_graph.py", "events/test_kinds.py")
CHAINS, COUNTS = ("posets/test_chains_and_antichains.py",), ("posets/test_counting.py",)
RELATIONS, SAMPLING = ("posets/test_relations.py",), ("posets/test_sampling.py",)
FOLIATION = ("foliations/test_validity.py", "foliations/test_lattice.py")

MUTATIONS = (
    *of_file(
        "events/wiring.py",
        WIRING,
        ("None if window is None else window - 1)", "window)"),
        ("fed_back = int(source.kind in SAMPLED)", "fed_back = 0"),
        ("above[family.target] + 1)", "above[family.target])"),
        ("for family in reversed(self.edge_families(granularity)) if family.first == 0", "for family in reversed(self.edge_families(granularity))"),
        ("if site.layer != layer and written:", "if written:"),
        ('if kind.writes == "residual" and wiring.parallel_residual:', 'if kind.writes == "residual" or wiring.parallel_residual:'),
        ('sources: dict[str, list[Site]] = {"token": [sites[-1]]}', 'sources: dict[str, list[Site]] = {"token": [sites[0]]}'),
        ("return None if all(window is None for window in checked) else checked", "return None if any(window is None for window in checked) else checked"),
        ('check_whole("n_layers", n_layers, 1)', 'check_whole("n_layers", n_layers, 0)'),
        ("for below, here in pairwise(wiring.sites(\"block\"))", "for below, here in list(pairwise(wiring.sites(\"block\")))[1:]"),
        ("top - above[site] for site", "above[site] for site"),
    ),
    *of_file(
        "posets/relations.py",
        RELATIONS,
        ("past.append(union(past[j] | 1 << j for j in below))", "past.append(union(1 << j for j in below))"),
        (" & ~union(past[j] for j in below)", ""),
        ("above[j].append(i)", "above[i].append(j)", "", *RELATIONS, *SAMPLING),
        ("if 0 <= number < i:", "if 0 <= number <= i:", "", "posets/test_bad_input.py"),
    ),
    *of_file(
        "posets/antichains.py",
        (*CHAINS, "events/test_multiway.py"),
        ("matching.reached_left & ~matching.reached_right", "matching.reached_left"),
        ("if any(not open_ & ~apart[i] for i in elements(passed)):", "if False:"),
        ("open_ & apart[i], passed & apart[i]", "open_ & apart[i], passed"),
        ("            passed |= bit\n", ""),
        ("future[j] |= future[i] | 1 << i", "future[j] |= 1 << i"),
        ("while above[chain[-1]] >= 0:", "while above[chain[-1]] > 0:", "element 0 is above none"),
    ),
    *of_file(
        "posets/matching.py",
        CHAINS,
        ("unseen &= ~rights[-1]", "unseen &= unseen"),
        ("right_of[i], left_of[j] = j, i", "right_of[i], left_of[j] = j, j"),
    ),
    *of_file(
        "posets/chains.py",
        CHAINS,
        ("height.append(1 + max(", "height.append(1 + min("),
        ("chain.append(min(j for j", "chain.append(max(j for j"),
    ),
    *of_file(
        "posets/downsets.py",
        COUNTS,
        ("ways[grown] += count", "ways[grown] += 1"),
        ("untried ^= bit", "untried ^= untried"),
        ("sum(mask.bit_count() for mask", "sum(1 for mask"),
    ),
    *of_file(
        "posets/growth.py",
        COUNTS,
        ("if needs & grown == needs:", "if needs & grown:"),
        ("if self._spent > self.bound:", "if self._spent >= self.bound:"),
        ("enabled = before ^ bit", "enabled = before"),
    ),
    *of_file(
        "posets/sizes.py",
        COUNTS,
        ("self.down_sets + above.down_sets - 1", "self.down_sets + above.down_sets"),
        ("* comb(total, self.elements)", "* comb(total, 1)"),
        ("self.lattice_edges * other.down_sets + self.down_sets", "self.lattice_edges * other.down_sets + other.down_sets"),
    ),
    *of_file(
        "posets/decomposition.py",
        COUNTS,
        ("first_missing = min(first_missing, missing & -missing)", "first_missing = missing & -missing"),
        ("fresh = union(linked[i] for i in elements(fresh)) & mask & ~component", "fresh = 0"),
        ("            linked[j] |= 1 << i\n", ""),
    ),
    *of_file(
        "posets/extensions.py",
        SAMPLING,
        ("pick = int(rng.integers(len(ready)))", "pick = 0"),
        ("if not waiting[j]:", "if waiting[j] >= 0:"),
        ("left -= 1\n", "left -= 0\n", "", "posets/test_orders.py"),
        ("waiting[rows[:, None], above[chosen]] -= 1", "waiting[rows[:, None], above[chosen]] -= 2", "", "posets/test_orders.py"),
        ("taken ^= 1 << order.pop()", "order.pop()", "", *COUNTS),
    ),
    *of_file(
        "posets/ideals.py",
        ("posets/test_coupling.py",),
        ("whole = self._counts[child].down_sets - 1", "whole = self._counts[child].down_sets"),
        ("rank -= whole", "rank -= 0"),
    ),
    *of_file(
        "foliations/foliation.py",
        FOLIATION,
        ("np.minimum(self._times, same_graph", "np.maximum(self._times, same_graph"),
        ("if read >= start:", "if read > start:"),
        ("        _check_causality(graph, ranks, given)\n", ""),
        ("ranks = dense(given)", "ranks = dense(given)[::1] * 2", "", *FOLIATION, "foliations/test_registry.py"),
        ("times = np.full(len(graph), -1, np.int64)", "times = np.full(len(graph), 0, np.int64)", "", "foliations/test_inputs.py", *FOLIATION),
        ("and np.array_equal(self._times, other._times)", "", "", "foliations/test_inputs.py", *FOLIATION),
        ("if a.graph != b.graph:", "if False:", "", "foliations/test_bad_input.py"),
        ("if found[\"graph\"] != checked_graph(graph).to_dict():", "if False:", "", "foliations/test_bad_input.py", "foliations/test_inputs.py"),
        ("for rank, value in enumerate(sorted(set(values)))", "for rank, value in enumerate(dict.fromkeys(values))", "", "foliations/test_inputs.py", *FOLIATION),
    ),
)  # fmt: skip
