"""The commands and their arguments; what they do is imported when they are called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from causalsim import __version__

app = App(
    name="causalsim",
    help="A transformer is one causal graph of events; every schedule is a foliation of it, and none "
    "changes a bit.\n\nStart with: causalsim demo",
    version=__version__,
    # Markdown would cost a third of the time in which --help answers.
    help_format="plaintext",
    result_action="return_value",
    exit_on_error=False,
    suppress_keyboard_interrupt=False,
)


@app.command
def demo(
    text: str | None = None,
    /,
    *,
    out: Path = Path("causalsim-demo"),
    tokens: int = 18,
    seed: int = 14,
) -> int:
    """Start here: a trained transformer in many orders, the same bits.

    Parameters
    ----------
    text
        A sentence of your own; it and its continuation fit into 128 tokens.
    out
        The folder for pictures and the report.
    tokens
        How many tokens to continue the sentence by.
    seed
        Draws the random orders and the continuation.
    """
    from causalsim.cli.demo import demo as show

    return show(text, out, tokens, seed)


@app.command
def run(scenario: Path, /, *, out: Path | None = None, json: Path | None = None) -> int:
    """Run the experiment that a file describes.

    Parameters
    ----------
    scenario
        A .toml file; those in scenarios/ explain themselves.
    out
        The folder for its pictures. [default: causalsim-NAME]
    json
        A file for the whole result.
    """
    from causalsim.cli.commands import run as show

    return show(scenario, out, json)


@app.command
def verify(
    text: str | None = None,
    /,
    *,
    model: str = "glass",
    orders: int = 20,
    seed: int = 0,
    json: Path | None = None,
) -> int:
    """Try to change a model's bits by changing the order.

    Three verdicts, each with what it covers and the planted faults that it had to catch.

    Parameters
    ----------
    text
        What the model reads. [default: the sentence of the demo]
    model
        The name of a model.
    orders
        How many random orders to run besides the named ones.
    seed
        Draws the orders.
    json
        A file for the whole report.
    """
    from causalsim.cli.commands import verify as show

    return show(text, model, orders, seed, json)


@app.command
def draw(
    family: str | None = None,
    /,
    *,
    layers: int | None = None,
    length: int | None = None,
    model: str | None = None,
    text: str | None = None,
    granularity: str = "sublayer",
    size: int | None = None,
    velocity: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    seed: int | None = None,
    method: str | None = None,
    out: Path | None = None,
) -> int:
    """Draw a graph, or the slices of a foliation, as SVG or PNG.

    Parameters
    ----------
    family
        layer_major, token_major, chunked, wavefront, tilted, earliest, latest,
        random_linear_extension or random_foliation. [default: the graph alone]
    layers
        Layers of a graph without a model. [default: 3]
    length
        Positions of a graph without a model. [default: 6]
    model
        The name of a model, whose graph over --text is drawn.
    text
        What the model reads.
    granularity
        sublayer or block.
    size
        Positions in a chunk.
    velocity
        Of tilted slices: a number or a fraction such as -1/7.
    seed
        Of random families.
    method
        Of random_linear_extension: uniform or kahn.
    out
        The picture: a name that ends in .svg or .png. [default: FAMILY.svg]
    """
    from causalsim.cli.commands import draw as show

    arguments = {"size": size, "velocity": velocity, "seed": seed, "method": method}
    given = {name: value for name, value in arguments.items() if value is not None}
    return show(family, given, out, (layers, length), (model, text), granularity)
