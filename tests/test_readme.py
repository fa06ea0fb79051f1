"""The README's code is run, in order, as a reader would; what it and other pages name is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from causalsim.cli import HOLDS, main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ["README.md", "tests/README.md", "tests/benchmarks/RESULTS.md"]


def commands() -> list[list[str]]:
    """The words of every command line of causalsim, in blocks of shell and in sentences."""
    lines = "".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL)).splitlines()
    prose = re.findall(r"`(causalsim [^`]*)`", re.sub(r"```.*?```", "", README, flags=re.DOTALL))
    found = [part.strip() for line in lines + prose for part in line.split("&&")]
    return [shlex.split(line, comments=True)[1:] for line in found if line.startswith("causalsim ")]


def links(page: Path) -> set[str]:
    """The files that a page names, in links and pictures."""
    named = re.findall(r'\]\(([^)#]+)|src="([^"]+)"', page.read_text(encoding="utf-8"))
    return {name for pair in named for name in pair if name and "://" not in name}


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    assert len(blocks) == 8 and (tmp_path / "wavefront.svg").exists()


def test_code_comes_within_forty_lines_and_the_page_stays_short():
    assert README.splitlines().index("```python") < 40
    assert len(README.splitlines()) <= 215


def test_commands_that_the_readme_names_exist(capsys):
    found = commands()
    assert len(found) >= 10
    for command, *words in found:
        usage = [command, words[0]] if command == "models" else [command]
        assert main([*usage, "--help"]) == HOLDS
        told = capsys.readouterr().out
        missing = [word for word in words if word.startswith("--") and f"{word} " not in told]
        assert not missing, (command, missing)


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_links_exist(page):
    found = links(ROOT / page)
    assert found
    assert [name for name in found if not ((ROOT / page).parent / name).exists()] == []


def test_files_that_the_tests_page_names_exist():
    page = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
    found = [name for name in re.findall(r"`([\w/.]+(?:\.py|/))`", page) if "*" not in name]
    assert len(found) > 15
    assert [name for name in found if not (ROOT / "tests" / name).exists()] == []


def test_modules_that_the_readme_names_exist():
    found = re.findall(r"`(\w+/(?:\w+\.py)?)`", README)
    assert len(found) >= 3
    assert [name for name in found if not (ROOT / "causalsim" / name).exists()] == []


def test_the_house_of_the_readme_has_every_package_from_the_top():
    import causalsim

    house = re.findall(r"^(\w+) {2,}", README.partition("## The house")[2], re.MULTILINE)
    assert house == re.findall(r"^- ``(\w+)``: ", causalsim.__doc__ or "", re.MULTILINE)
    assert {*house} == {path.parent.name for path in (ROOT / "causalsim").glob("*/__init__.py")}
