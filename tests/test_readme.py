"""The README's code is run, in order, as a reader would."""

from __future__ import annotations

import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    assert len(blocks) == 9 and (tmp_path / "wavefront.svg").exists()


def test_code_comes_within_forty_lines():
    assert README.splitlines().index("```python") < 40


def test_files_that_the_readme_names_exist():
    root = Path(__file__).parent.parent
    named = re.findall(r'\]\(((?:scenarios|tests)[^)]*)\)|src="([^"]+)"', README)
    missing = [name for pair in named for name in pair if name and not (root / name).exists()]
    assert not missing
