"""Changes of our own code, and tests that see them: ``python -m tests.mutants`` runs those without a result.

Prints a table and writes the score into the README. Takes a quarter of an hour or more.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.mutants import results, runner
from tests.mutants.catalogue import MUTATIONS


def main() -> None:
    given = _arguments()
    kept = results.read()
    kept = {each.name: kept[each.name] for each in MUTATIONS if each.name in kept}
    chosen = [each for each in MUTATIONS if given.only in each.name]
    todo = (chosen if given.again else results.stale(chosen, kept))[: given.most]
    if todo and not given.table:
        _run(todo, kept, given)
    print(results.table(chosen, kept))
    print(text := results.score(MUTATIONS, kept))
    results.write(kept)
    # Not before: a fork gets none of our modules.
    from tests import markers

    markers.write("mutants", text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", default="", help="a part of the names of those to run: a file")
    parser.add_argument("--most", type=int, default=None, help="how many to run at most")
    parser.add_argument("--at-once", type=int, default=1, choices=(1, 2), help="how many at a time")
    parser.add_argument("--again", action="store_true", help="also those that have a result")
    parser.add_argument("--table", action="store_true", help="run none, print what is known")
    parser.add_argument("--cache", type=Path, default=None, help="where to keep what XLA compiles")
    return parser.parse_args()


def _run(todo: list, kept: dict, given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        runner.prepare(given.cache or Path(folder) / "compiled")
        copies = [runner.Copy(Path(folder) / str(number)) for number in range(given.at_once)]
        runner.unchanged(copies[0], [*dict.fromkeys(test for each in todo for test in each.tests)])
        for mutation, result in runner.outcomes(todo, copies):
            kept[mutation.name] = result
            results.write(kept)
            print(f"{mutation.name}: {result.killed_by or 'SURVIVED'} ({result.seconds} s)", flush=True)


if __name__ == "__main__":
    main()
