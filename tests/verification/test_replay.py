"""Counterexamples are one step wide and true; their tokens give the same verdict elsewhere or say why not."""

from __future__ import annotations

import json
import zlib
from base64 import urlsafe_b64encode
from dataclasses import replace
from itertools import pairwise
from math import log2

import hypothesis
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import causalsim as cs
from causalsim.cli import BAD_INPUT, FAILS, HOLDS, main
from causalsim.engine import compile
from causalsim.foliations import distance, earliest, is_refinement
from causalsim.kernels import CERTIFIED, FIXED, STOCK, Buckets
from causalsim.sealed import checksum
from causalsim.testing import same_bits
from causalsim.testing.bits import divergence
from causalsim.verification import Reproducer, armour, replay
from causalsim.verification.counterexample import counterexample
from causalsim.verification.faults import seeing_too_far, with_batch_size
from causalsim.verification.provenance import Provenance
from causalsim.verification.reproducer import Replayed
from causalsim.verification.target import Target
from tests.models.folders import PLAIN
from tests.models_for_tests import tiny

IDS = (3, 1, 4, 1)
GRAPH = cs.EventGraph(tiny().config, len(IDS))


def target(kernels=FIXED, model=None) -> Target:
    return Target(model or tiny(), GRAPH, (np.array(IDS, np.int32),), kernels)


HEALTHY, TOO_FAR, BY_LANES = (
    target(kernels) for kernels in (FIXED, seeing_too_far(FIXED), with_batch_size(CERTIFIED))
)


@pytest.fixture(scope="module")
def swap():
    return counterexample(TOO_FAR, cs.token_major(GRAPH))


@pytest.fixture(scope="module")
def token() -> str:
    """Of what is healthy, as if it had diverged: no kernels are compiled for it."""
    order, against = cs.token_major(GRAPH), earliest(GRAPH)
    found = divergence(HEALTHY.reference, {**HEALTHY.reference, cs.Event("mlp", 1, 3): np.zeros(32)})
    return Reproducer(Provenance.of(HEALTHY), order, against, found).to_token()


def check_narrow(faulty: Target, failing: cs.Foliation) -> None:
    """By brute force: one step apart, only one with the reference's bits, the first event named."""
    found = counterexample(faulty, failing)
    agreeing, diverging = (faulty.values(compile(order)) for order in (found.agreeing, found.diverging))
    assert divergence(faulty.reference, agreeing) is None and found.repeated
    other = {event for event in GRAPH if not same_bits(agreeing[event], diverging[event])}
    assert found.divergence.event in other and not other & GRAPH.past(found.divergence.event)
    assert len(other) == found.divergence.events
    orders, (first, second) = (found.agreeing, found.diverging), found.neighbours
    longer = max(orders, key=lambda order: order.depth).slices()
    assert (first, second) in set(pairwise(longer))
    if found.is_swap:
        assert distance(*orders) == 1 and len(first) == len(second) == 1
        assert (second, first) in set(pairwise(found.diverging.slices()))
    else:
        fine, coarse = sorted(orders, key=lambda order: -order.depth)
        assert is_refinement(fine, coarse) and fine.depth == coarse.depth + 1
        assert {*first, *second} in map(set, coarse.slices())
    # Three ends, the halving of the longest path, and both once more.
    assert found.runs <= 3 + log2(len(GRAPH) ** 2) + 2


@settings(max_examples=15)
@given(cs.strategies.foliations(GRAPH))
def test_an_order_fault_comes_down_to_one_swap(foliation):
    found = counterexample(TOO_FAR, foliation)
    if found is None:
        assert divergence(TOO_FAR.reference, TOO_FAR.values(compile(foliation))) is None
        return
    check_narrow(TOO_FAR, foliation)
    # Only the K/V of the next position, which the mask lets through, may not come later.
    assert found.is_swap
    (reader,), (late,) = found.neighbours[::-1] if found.neighbours[0][0].kind == "kv" else found.neighbours
    assert (reader.kind, late.kind) == ("attn", "kv") and late.position == reader.position + 1


@settings(max_examples=10)
@given(cs.strategies.foliations(GRAPH))
def test_a_batch_fault_comes_down_to_one_merge(foliation):
    if divergence(BY_LANES.reference, BY_LANES.values(compile(foliation))) is not None:
        check_narrow(BY_LANES, foliation)
        found = counterexample(BY_LANES, foliation)
        assert not found.is_swap and found.divergence.ulps > 0
        assert {event.kind for part in found.neighbours for event in part} >= {"mlp"}


def test_merges_are_found_behind_swaps(monkeypatch):
    """A fault of wide batches alone: all orders event by event agree."""
    values = Target.values

    def spoilt(self, program):
        found = dict(values(self, program))
        for events in program.order():
            if {cs.Event("mlp", 0, 1), cs.Event("mlp", 0, 2)} <= set(events) and len(events) == 2:
                found[cs.Event("mlp", 0, 2)] = found[cs.Event("mlp", 0, 2)] * np.float32(1.5)
        return found

    monkeypatch.setattr(Target, "values", spoilt)
    order = cs.earliest(GRAPH).refine()
    times = 10 * order.times
    pair = [GRAPH.index(cs.Event("mlp", 0, p)) for p in (1, 2)]
    times[pair] = times[pair[0]]
    failing = cs.Foliation(GRAPH, times)
    found = counterexample(target(), failing)
    assert (found.diverging, found.agreeing) == (failing, order)
    assert found.neighbours == ((cs.Event("mlp", 0, 1),), (cs.Event("mlp", 0, 2),))
    assert str(found).startswith("mlp(0,1) and mlp(0,2) in one slice, no longer in two slices")


def test_what_does_not_happen_again_is_said(monkeypatch):
    values, calls = Target.values, []

    def sometimes(self, program):
        found = dict(values(self, program))
        calls.append(program)
        if len(calls) < 4:
            found[cs.Event("mlp", 1, 0)] = found[cs.Event("mlp", 1, 0)] + 1
        return found

    faulty = target()
    assert faulty.reference
    monkeypatch.setattr(Target, "values", sometimes)
    found = counterexample(faulty, cs.token_major(GRAPH))
    assert not found.repeated and "run again they gave other bits" in str(found)
    assert counterexample(faulty, cs.token_major(GRAPH)) is None


def test_it_is_told_in_words_and_in_json(swap):
    told = json.loads(json.dumps(swap.to_dict()))
    assert told["token"] == swap.token and told["event"] == "attn(0,0)" and told["swap"]
    assert told["example"].startswith("@example(") and told["neighbours"] == [["kv(0,1)"], ["attn(0,0)"]]
    assert str(swap).startswith(
        "attn(0,0) right before kv(0,1), no longer right after: diverges at attn(0,0)"
    )


def test_its_picture_shows_the_past_of_the_first_event(swap):
    source = swap.picture().source
    assert "Diverges at attn(0,0)" in source and "past (2)" in source


def test_its_token_gives_the_same_verdict(swap):
    again = replay(swap.token, kernels=TOO_FAR.kernels)
    assert again.as_recorded and not again.holds and not again.differences
    assert again.divergence == swap.divergence
    healthy = replay(swap.token)
    assert healthy.holds and not healthy.as_recorded
    assert [difference.name for difference in healthy.differences] == ["kernels"]
    assert Reproducer.from_token(swap.token) == swap.reproducer


def test_an_example_is_pasted_as_it_is(swap):
    seen = []

    @settings(max_examples=1, phases=[hypothesis.Phase.explicit], database=None)
    @eval(swap.example.removeprefix("@"), {"example": example, "cs": cs})
    @given(cs.strategies.foliations(GRAPH))
    def a_test(foliation):
        seen.append(foliation)

    a_test()
    assert seen == [swap.diverging]
    graph = cs.EventGraph(cs.Wiring(2, windows=(1, None), parallel_residual=True), [2, 3], prompt=[1, 3])
    order = cs.earliest(graph)
    line = replace(swap.reproducer, order=order).example
    assert eval(line.removeprefix("@"), {"example": lambda found: found, "cs": cs}) == order


# -- tokens --------------------------------------------------------------------------------------------


def test_a_token_is_one_line_of_ascii(token):
    assert token.isascii() and len(token.split()) == 1 and len(token) < 2000
    broken = "\n".join(token[start : start + 76] for start in range(0, len(token), 76))
    assert Reproducer.from_token(f" {broken}\n") == Reproducer.from_token(token)


def test_a_token_is_of_any_texts_and_wiring():
    model = tiny(windows=(3, None), parallel_residual=True)
    graph = cs.EventGraph(model.config, [3, 2], prompt=[1, 2])
    ragged = Target(model, graph, (np.array([5, 6, 7]), np.array([8, 9])), FIXED)
    found = Reproducer(Provenance.of(ragged), cs.token_major(graph), earliest(graph), None)
    assert Reproducer.from_token(found.to_token()) == found


def test_a_token_cut_anywhere_is_refused(token):
    for end in range(len(token)):
        for part in (token[:end], token[end + 1 :]):
            with pytest.raises(cs.InputError, match="copied whole"):
                armour.from_line(part)


@given(st.data())
def test_a_token_altered_anywhere_is_refused(token, data):
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(
        st.characters(exclude_characters=token[place], codec="utf-8").filter(lambda c: c.split())
    )
    with pytest.raises(cs.InputError, match="copied whole"):
        armour.from_line(token[:place] + letter + token[place + 1 :])
    with pytest.raises(cs.InputError, match="copied whole"):
        armour.from_line(token[:place] + token[place + 1 :])


def signed(body: bytes) -> str:
    line = f"{armour.VERSION}.{urlsafe_b64encode(body).decode().rstrip('=')}"
    return f"{line}.{checksum(line)}"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"no zlib", zlib.compress(b"{")[:-3], zlib.compress(b"{"), zlib.compress(b"[" * 10**5),
        zlib.compress(b"[]" + b" " * armour.MOST_BYTES),
    ],
    ids=["empty", "not packed", "half packed", "no JSON", "deep", "a bomb"],
)  # fmt: skip
def test_a_token_of_other_content_is_refused(body):
    with pytest.raises(cs.InputError, match=r"what causalsim wrote|copied whole"):
        armour.from_line(signed(body))


def test_a_token_of_another_version_is_refused(monkeypatch):
    with monkeypatch.context() as later:
        later.setattr(armour, "VERSION", "causalsim-replay-7")
        token = armour.to_line([])
    with pytest.raises(cs.InputError, match="got causalsim-replay-7, expected causalsim-replay-1"):
        armour.from_line(token)


FORGED = {
    "a list": lambda data: [],
    "no graph": lambda data: data.pop("graph"),
    "layers": lambda data: data["graph"].update(n_layers=10**9),
    "a layer that is text": lambda data: data["graph"].update(n_layers="2"),
    "lengths": lambda data: data["graph"].update(lengths=[10**12]),
    "windows": lambda data: data["graph"].update(windows=[1]),
    "other lengths": lambda data: data["ids"][0].pop(),
    "ids": lambda data: data.update(ids=[["a"] * 4]),
    "prompts": lambda data: data["graph"].update(prompts=[9]),
    "an order that is short": lambda data: data["order"].pop(),
    "an order that runs backwards": lambda data: data["order"].reverse(),
    "times": lambda data: data.update(against=[0.5] * len(GRAPH)),
    "rows": lambda data: data["buckets"].update(sizes=[10**9]),
    "costs": lambda data: data["buckets"].update(costs=[-1]),
    "facts": lambda data: data["environment"].pop("dtype"),
    "a fact": lambda data: data["environment"].update(jaxlib=7),
    "a digest": lambda data: data["model"].update(digest=None),
    "a configuration": lambda data: data["model"].update(config=3),
    "an event": lambda data: data["divergence"].update(event="mlp(7,0)"),
    "no event": lambda data: data["divergence"].update(event=3),
    "a distance": lambda data: data["divergence"].update(ulps="far"),
    "a count": lambda data: data["divergence"].update(events=None),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_a_token_that_says_what_cannot_be_is_refused(token, forge):
    data = armour.from_line(token)
    forged = forge(data)
    with pytest.raises(cs.InputError, match="what causalsim wrote"):
        Reproducer.from_token(armour.to_line([] if forged == [] else data))


# -- elsewhere -----------------------------------------------------------------------------------------


def elsewhere(token: str, **facts: str) -> Reproducer:
    found = Reproducer.from_token(token)
    there = {**found.provenance.environment, **facts}
    return replace(found, provenance=replace(found.provenance, environment=there))


@given(st.sets(st.sampled_from(["jaxlib", "XLA_FLAGS", "processor", "causalsim", "device"])))
@settings(max_examples=5)
def test_another_environment_is_told_fact_by_fact(token, names):
    again = replay(elsewhere(token, **dict.fromkeys(names, "something else")), model=tiny())
    assert {difference.name for difference in again.differences} == names
    assert all(difference.there == "something else" for difference in again.differences)
    assert again.holds  # It is run all the same.


def test_other_weights_are_a_difference_and_another_wiring_is_refused(token):
    again = replay(token, model=tiny(seed=1))
    (difference,) = again.differences
    assert (difference.name, difference.there) == ("model", tiny().digest) and again.holds
    with pytest.raises(cs.InputError, match="same wiring"):
        replay(token, model=tiny(windows=2))
    found = Reproducer.from_token(token)
    unknown = replace(found, provenance=replace(found.provenance, ids=((3, 1, 4, 10**6),)))
    with pytest.raises(cs.InputError, match="vocabulary"):
        replay(unknown)


def test_a_model_is_made_again_as_it_was_made():
    drawn = Provenance.of(target()).target().model
    assert drawn is not tiny() and drawn.digest == tiny().digest
    loaded = cs.load(PLAIN, dtype="bfloat16")
    there = Provenance.of(target(model=loaded))
    assert there.origin == {"name": str(PLAIN)} and there.target().model.digest == loaded.digest
    built = cs.Model(tiny().config, tiny().params)
    assert built.origin == {} and built.digest == tiny().digest
    with pytest.raises(cs.InputError, match=r"built from parameters.*model="):
        Provenance.of(target(model=built)).target()
    assert Provenance.of(target(model=built)).target(model=built).model is built


def test_a_digest_is_of_configuration_parameters_and_type():
    params = dict(tiny().params)
    name = next(iter(params))
    params[name] = np.nextafter(params[name], np.float32(9))
    models = tiny(), cs.Model(tiny().config, params), tiny(dtype="bfloat16"), tiny(windows=2), tiny(seed=1)
    assert len({model.digest for model in models}) == len(models)


CALIBRATED = replace(CERTIFIED, buckets=Buckets((1, 16), (3.0, 4.5)), calibration="abc")


@pytest.mark.parametrize("kernels", [FIXED, STOCK, CALIBRATED], ids=["fixed", "stock", "calibrated"])
def test_the_rows_of_batches_are_those_of_the_token(kernels):
    there = Provenance.from_dict(json.loads(json.dumps(Provenance.of(target(kernels)).to_dict())))
    assert there.target(tiny()).kernels == kernels
    assert there.differences(there.target(tiny())) == ()


def test_an_engine_that_ran_another_order_is_told(token, monkeypatch):
    asked = Replayed(None, None, False, ())
    assert asked.as_recorded and not asked.holds and "another order ran" in str(asked)
    run = Target.run
    monkeypatch.setattr(Target, "run", lambda self, program: run(self, compile(cs.earliest(GRAPH))))
    assert not replay(token, model=tiny()).ran_as_asked


# -- on the command line -------------------------------------------------------------------------------


def test_verify_replays_a_token(token, tmp_path, capsys):
    file, told = tmp_path / "token.txt", tmp_path / "told.json"
    file.write_text(f"{elsewhere(token, jaxlib='0.1').to_token()}\n")
    assert main(["verify", "--replay", str(file), "--json", str(told)]) == HOLDS
    out = " ".join(capsys.readouterr().out.split())
    assert "both orders give the same bits; recorded was mlp(1,3)" in out
    assert "bits may legitimately differ: jaxlib: 0.1 there," in out
    assert json.loads(told.read_text())["differences"][0]["name"] == "jaxlib"


def test_verify_replays_what_diverges(token, tmp_path, capsys, monkeypatch):
    found = Reproducer.from_token(token).divergence
    monkeypatch.setattr("causalsim.verification.replay", lambda *_, **__: Replayed(found, found, True, ()))
    monkeypatch.chdir(tmp_path)
    assert main(["verify", "--replay", token, "--picture", "cone.svg"]) == FAILS
    out = " ".join(capsys.readouterr().out.split())
    assert "as recorded" in out and "Not the same here" not in out
    assert "wrote cone.svg: mlp(1,3), its past and its future" in out
    assert (tmp_path / "cone.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--replay", "nonsense"], "copied whole"),
        (["--replay", "{token}", "--seed", "1"], "a token carries its text"),
        (["some text", "--replay", "{token}"], "a token carries its text"),
        (["--replay", "{token}", "--model", "glas"], "neither a known name"),
        (["--replay", "{token}", "--picture", "cone.gif"], "the format that its suffix names"),
        (["--replay", "{token}", "--picture", "a.svg", "--json", "a.svg"], "a file of its own"),
    ],
)
def test_what_cannot_be_replayed(token, arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["verify", *(word.format(token=token) for word in arguments)]) == BAD_INPUT
    assert words in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []
