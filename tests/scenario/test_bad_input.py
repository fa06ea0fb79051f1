"""Refused scenario files, each with the key and the words of its message, before anything runs."""

from __future__ import annotations

import pytest

from causalsim import scenario
from causalsim.errors import ScenarioError

WIRING = """
title = "t"
about = "a"
lengths = [5]
[model]
layers = 2
"""

GLASS = """
title = "t"
about = "a"
texts = {texts}
[model]
name = "glass"
[[foliation]]
family = "layer_major"
"""

REFUSED = '[[foliation]]\nfamily = "tilted"\nvelocity = "-1/2"\nexpect = "refused"\nedge = '

# What is added to a wiring, the key that the error carries, and words of its message.
ADDED = [
    ('[[foliation]]\nfamily = "tilted"\nvelocty = 1', "foliation[1].velocty", "Did you mean 'velocity'?"),
    ('[[foliation]]\nfamly = "tilted"', "foliation[1].famly", "Did you mean 'family'?"),
    ('[[folation]]\nfamily = "tilted"', "folation", "Did you mean 'foliation'?"),
    ('[[foliation]]\nfamily = "wavefrnt"', "foliation[1].family", "Did you mean 'wavefront'?"),
    ('[[foliation]]\nfamily = "xyzzy"', "foliation[1].family", "layer_major, token_major"),
    ('[[foliation]]\nfamily = "wavefront"\nsize = 2', "foliation[1].size", "wavefront takes no size"),
    ('[[foliation]]\nfamily = "chunked"', "foliation[1].size", "chunked needs its size"),
    ('[[foliation]]\nfamily = "chunked"\nsize = "8"', "foliation[1].size", "at least 1: got '8'"),
    ('[[foliation]]\nfamily = "chunked"\nsize = 0', "foliation[1].size", "at least 1"),
    ('[[foliation]]\nfamily = "tilted"\nvelocity = "fast"', "foliation[1].velocity", "a finite number"),
    ('[[foliation]]\nfamily = "tilted"\nvelocity = "-1/4"', "foliation[1]", "velocity > -1/4"),
    ('[[foliation]]\nfamily = "tilted"\nvelocity = "-1/4"', "foliation[1]", 'expect = "refused"'),
    ('[[foliation]]\nfamily = "latest"\nexpect = "maybe"', "foliation[1].expect", "'runs' or 'refused'"),
    ('[[foliation]]\nfamily = "latest"\nedge = "x"', "foliation[1].edge", 'Add expect = "refused"'),
    (REFUSED + '"garbage"', "foliation[1].edge", "an edge is written source -> target"),
    (REFUSED + '"kv(0,0) -> attn(0,9)"', "foliation[1].edge", "position 9 lies outside the text"),
    (REFUSED + '"kv(0,3) -> attn(0,2)"', "foliation[1].edge", "reads embed(2), kv(0,0), kv(0,1), ..."),
    (REFUSED + '"kv(0,0) -> attn(0,2) [token]"', "foliation[1].edge", "names an edge of the graph"),
    ('[[foliation]]\nfamily = "random_foliation"\nseed = -1', "foliation[1].seed", "at least 0"),
    ('[[foliation]]\nfamily = "slices"\nslices = [["embed(0)"]]', "foliation[1]", "exactly one slice"),
    ('[[foliation]]\nfamily = "slices"\nslices = [["embd(0)"]]', "foliation[1]", "an event is written"),
    ('[[foliation]]\nfamily = "latest"\n' * 2, "foliation", "different names"),
    ('[[route]]\nfrom = "kv(0,9)"\nto = "attn(1,2)"', "route[1].from", "position 9 lies outside the text"),
    ('[[route]]\nfrom = "kv(0,0)"\nto = "attn(7,2)"', "route[1].to", "attn has no layer 7"),
    ('[[route]]\nfrom = "kv(0,0)"\nto = "mlp(1,2)"', "route[1]", "from a kv event to an attn event"),
    ('[[route]]\nfrom = "kv"\nto = "attn(1,2)"', "route[1].from", "kind(layer,position)"),
    ('[[route]]\nfrom = "kv(0,0)"', "route[1].to", "needs this key"),
    ("", "", "neither [[foliation]] nor [[route]]"),
    ('[[foliation]]\nfamily = "latest"\n[expect]\nsame_bits = true', "expect", "only what runs has bits"),
    ('[[foliation]]\nfamily = "latest"\n[generate]\ntokens = 0', "generate.tokens", "got 0"),
    ('[pictures]\nformat = ["gif"]', "pictures.format[1]", "'svg' or 'png'"),
    ("windows = 0", "model.windows", "greater than or equal to 1"),
    ('windows = "half"', "model.windows", "a valid integer or 'full' or a valid list"),
    ('windows = [2, "half"]', "model.windows[2]", "a valid integer or 'full'"),
    ("windos = 4", "model.windos", "Did you mean 'windows'?"),
    ("texts = [[1]]", "model.texts", "above the first [table]"),
    ("seed = 1", "model.seed", "goes with random"),
    ('dtype = "bfloat16"', "model.dtype", "goes with name or random: got it beside layers"),
    ('name = "glass"', "model", "one of name, random or layers"),
]  # fmt: skip


@pytest.mark.parametrize(("added", "key", "words"), ADDED)
def test_bad_key(added, key, words):
    with pytest.raises(ScenarioError) as caught:
        scenario.prepare(scenario.parse(WIRING + added))
    assert (caught.value.key or "") == key
    assert words in str(caught.value)


VERIFIED = [("seed = -1", "greater than or equal to 0"), ("seed = 2147483648", "less than 2147483648")]


@pytest.mark.parametrize(("line", "words"), VERIFIED)
def test_seeds_of_a_verification(line, words):
    with pytest.raises(ScenarioError, match=words) as caught:
        scenario.parse(GLASS.format(texts="[[1]]") + f"[expect.verify]\n{line}")
    assert caught.value.key == "expect.verify.seed"


@pytest.mark.parametrize("length", [10**13, 10**30])
def test_a_length_beyond_all_memory(length):
    text = WIRING.replace("[5]", f"[{length}]") + '[[foliation]]\nfamily = "wavefront"'
    with pytest.raises(ScenarioError, match="events"):
        scenario.prepare(scenario.parse(text))


TEXTS = [
    ('[""]', "texts[1]", "at least one token"),
    ('["Hello.", "' + "word " * 200 + '"]', "texts[2]", "expected at most 128"),
    ("[[3, 1024]]", "texts[1]", "places in the vocabulary"),
    ("[[]]", "texts[1]", "at least one token"),
    ("[]", "texts", "a model reads texts"),
    ('[""]\nlengths = [3]', "lengths", "a model reads texts"),
    ("[[1.5]]", "texts[1][1]", "a valid integer"),
]


@pytest.mark.parametrize(("texts", "key", "words"), TEXTS)
def test_bad_text(texts, key, words):
    with pytest.raises(ScenarioError) as caught:
        scenario.prepare(scenario.parse(GLASS.format(texts=texts)))
    assert caught.value.key == key
    assert words in str(caught.value)


def test_a_continuation_must_fit_as_well():
    with pytest.raises(ScenarioError, match="fits into the model's context") as caught:
        scenario.prepare(scenario.parse(GLASS.format(texts="[[1, 2]]") + "[generate]\ntokens = 127"))
    assert caught.value.key == "generate.tokens"


def test_an_unknown_model():
    text = GLASS.format(texts="[[1]]").replace('"glass"', '"glas"')
    with pytest.raises(ScenarioError, match="'glas', neither a known name") as caught:
        scenario.prepare(scenario.parse(text))
    assert caught.value.key == "model"


@pytest.mark.parametrize("dtype", ["float16", "Bfloat16", "half", ""])
def test_an_unknown_type(dtype):
    text = GLASS.format(texts="[[1]]")
    for asked in ({}, {"dtype": dtype}):
        line = "" if asked else f'\ndtype = "{dtype}"'
        with pytest.raises(
            ScenarioError, match=rf"got '{dtype}', expected 'float32' or 'bfloat16'"
        ) as caught:
            scenario.parse(text.replace('"glass"', f'"glass"{line}'), **asked)
        assert caught.value.key == "model.dtype"


def test_a_type_beside_a_wiring():
    with pytest.raises(ScenarioError, match="goes with name or random"):
        scenario.parse(WIRING + '[[foliation]]\nfamily = "latest"', dtype="bfloat16")


def test_a_random_model_of_no_consistent_size():
    text = GLASS.format(texts="[[1]]").replace('name = "glass"', "random = {n_layer = 1}")
    with pytest.raises(ScenarioError, match="Did you mean 'n_layers'") as caught:
        scenario.prepare(scenario.parse(text))
    assert caught.value.key == "model.random.n_layer"
    with pytest.raises(ScenarioError, match="needs all its sizes") as caught:
        scenario.prepare(scenario.parse(text.replace("n_layer ", "n_layers ")))
    assert caught.value.key == "model.random"


def test_bits_of_one_order_are_compared_with_none():
    with pytest.raises(ScenarioError, match="got 1 that run"):
        scenario.parse(GLASS.format(texts="[[1]]") + "[expect]\nsame_bits = true")


PICTURED = [
    '[[foliation]]\nfamily = "latest"\n[pictures]\ngraph = true',
    '[[foliation]]\nfamily = "latest"\n[pictures]\nfoliations = true',
    '[[route]]\nfrom = "kv(0,0)"\nto = "attn(1,2)"\ndraw = "each"',
]


@pytest.mark.parametrize("asked", PICTURED)
def test_a_picture_that_nobody_could_look_at_is_refused_before_any_order_is_made(asked, monkeypatch):
    def made(*_: object) -> None:
        raise AssertionError("nothing is to be built first")

    monkeypatch.setattr("causalsim.foliations.registry.Family.__call__", made)
    with pytest.raises(ScenarioError, match="a person can look at") as caught:
        scenario.prepare(scenario.parse(WIRING.replace("[5]", "[900]") + asked))
    assert caught.value.key == "pictures"


def test_routes_of_a_tall_wiring_can_be_drawn():
    from causalsim.scenario.pictures import figures

    text = WIRING.replace("[5]", "[1]").replace("layers = 2", "layers = 999")
    text += '[[route]]\nfrom = "kv(0,0)"\nto = "attn(998,0)"\ncount = 1\ndraw = "together"'
    (figure,) = figures(scenario.prepare(scenario.parse(text)))
    assert figure.stem == "routes-1"


def test_more_routes_than_can_be_drawn():
    text = WIRING.replace("[5]", "[200]") + '[[route]]\nfrom = "kv(0,0)"\nto = "attn(1,150)"\ndraw = "each"'
    with pytest.raises(ScenarioError, match="151 routes to draw"):
        scenario.prepare(scenario.parse(text))


FILES = [
    (None, "No such file"),
    (b"\xff\xfe", "UTF-8"),
    (b"title = ", "which is none"),
    (b"= 3", "which is none"),
]


@pytest.mark.parametrize(("content", "words"), FILES)
def test_no_scenario_at_all(tmp_path, content, words):
    path = tmp_path / "some.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ScenarioError, match=words):
        scenario.load(path)


def test_a_file_of_nearly_that_name(tmp_path):
    (tmp_path / "two-highways.toml").touch()
    with pytest.raises(ScenarioError, match=r"Did you mean '.*two-highways\.toml'"):
        scenario.load(tmp_path / "two-highway.toml")
