"""The viewer's payload: its keys, its round trip, its size, and that it is plain JSON."""

import base64
import dataclasses
import io
import json

import factories
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from benchmarks.attention_like import attention_like
from crossviz.render import payload, quantised
from crossviz.render.payload import MAX_PHOTO_BYTES, photo_data_url, viewer_payload
from crossviz.render.quantised import LEVELS, dequantise, quantise
from crossviz.results import AttentionRecord, Guess
from crossviz.trust.localisation import localise
from crossviz.trust.report import TrustReport

finite = st.floats(-1e4, 1e4, allow_nan=False, width=32)


def keys(value, path=""):
    if isinstance(value, dict):
        return {path} | {found for key, part in value.items() for found in keys(part, f"{path}.{key}")}
    return {path}


def test_the_payload_holds_what_the_viewer_reads():
    ex = factories.explanation("a dog and a zebra", read=4, layers=2, heads=3)
    payload = viewer_payload(ex)
    assert payload["schema"] == 2
    assert payload["photo"]["src"].startswith("data:image/jpeg;base64,")
    assert (payload["photo"]["width"], payload["photo"]["height"]) == (60, 40)
    assert payload["view"] == {"crop_xyxy": [0.0, 0.0, 60.0, 40.0]}
    assert payload["grid"] == {"height": 4, "width": 6} and payload["chance"] == 1 / 24
    caption = payload["caption"]
    assert caption["text"] == "a dog and a zebra" and caption["cut_at"] == 12
    assert caption["words"][1] == {"text": "dog", "start": 2, "end": 5, "tokens": 1, "truncated": False}
    assert caption["words"][4] == {"text": "zebra", "start": 12, "end": 17, "tokens": 0, "truncated": True}
    assert payload["phrases"] == [[0, 1]], "the second one, 'a zebra', was cut off"
    model = payload["model"]
    assert (model["name"], model["trained"]) == ("synthetic", True)
    assert model["sentence"] == "A model made of planted numbers."
    assert model["attention_sentence"] == "query: text tokens, key: image patches"
    assert payload["method"] == {
        "name": "cross_attention",
        "title": "Cross attention",
        "unit": "probability",
        "signed": False,
        "reduce": "mean",
        "direction": "query: text, key: image",
        "text_dependent": True,
        "notes": ["Planted.", "Only for tests."],
    }
    assert payload["layers"] == ["layer 0", "layer 1"] and payload["heads"] == 3
    assert payload["similarity"] == 0.25 and payload["vmax"] == pytest.approx(ex.scale.vmax)
    assert payload["provenance"]["weights_sha256"] == "ab" * 32
    np.testing.assert_allclose(payload["null"]["head"], ex.map.null_mass.numpy(), atol=1e-5)
    np.testing.assert_allclose(payload["null"]["mean"], ex.map.null_mass.mean((0, 1)).numpy(), atol=1e-5)


def test_maps_come_back_within_half_a_percent_of_each_maps_maximum_and_their_ends_exactly():
    ex = factories.explanation(layers=3, heads=4, seed=5)
    payload = viewer_payload(ex)
    for block, exact in ((payload["maps"], ex.map.per_head.numpy()), (payload["means"], ex.map.values.numpy())):
        assert block["levels"] == 256
        got = dequantise(block, exact.shape)
        top = exact.max(axis=(-2, -1))
        assert (np.abs(got - exact).max(axis=(-2, -1)) <= 0.005 * top).all()
        for end in (np.min, np.max):
            assert (end(got, axis=(-2, -1)).astype(np.float32) == end(exact, axis=(-2, -1)).astype(np.float32)).all()
    weakest = ex.map.per_head.numpy().max(axis=(-2, -1))
    assert weakest.min() < weakest.max(), "maps of different strength"


@given(
    hnp.arrays(np.float32, st.tuples(*[st.integers(1, 4)] * 4), elements=finite),
    st.none() | st.floats(0, 1),
    st.sampled_from(LEVELS),
)
def test_quantising_is_off_by_half_a_step_at_most(maps, knee, levels):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantised, "LEVELS", (levels,))
        block = quantise(maps, knee=knee)
    got = dequantise(block, maps.shape)

    def along(values):
        values = values.astype(np.float64)
        return values if knee is None else np.sign(values - knee) * np.sqrt(np.abs(values - knee))

    low, high = along(maps.min(axis=(-2, -1))), along(maps.max(axis=(-2, -1)))
    slack = 1e-6 * (np.abs(low) + np.abs(high)) + 1e-7
    off = np.abs(along(got) - along(maps)).max(axis=(-2, -1))
    assert (off <= (high - low) / (2 * (levels - 1)) + slack).all()
    assert block["count"] == np.prod(maps.shape[:-2]) and block["levels"] == levels
    json.dumps(block, allow_nan=False)


@pytest.mark.parametrize("knee", [None, 0.0, 0.1, 0.25])
def test_constant_maps_are_exact(knee):
    for value in (0.0, 0.25, float(np.float32(1e-9))):
        assert (dequantise(quantise(np.full((1, 2, 2), value), knee=knee), (1, 2, 2)) == value).all()


def test_what_neighbours_let_expect_is_left_out_where_that_is_smaller():
    rng = np.random.default_rng(0)
    slope = np.add.outer(np.arange(32.0), np.arange(32.0))[None] + rng.uniform(0, 0.3, (8, 32, 32))
    for maps, predicted in ((slope, True), (rng.uniform(size=(8, 32, 32)), False)):
        block = quantise(maps)
        assert block["predicted"] == predicted
        assert np.abs(dequantise(block, maps.shape) - maps).max() <= (maps.max() - maps.min()) / 510 + 1e-5


def test_there_are_as_many_levels_as_there_is_room_for():
    maps = np.random.default_rng(0).uniform(size=(40, 16, 16))
    sizes = {}
    for room in (None, 10_000, 8_000, 7_000, 100):
        block = quantise(maps, room=room)
        sizes[room] = len(base64.b64decode(block["data"])), block["levels"]
    assert sizes[None][1] == 256 and sizes[None][0] > 10_000
    assert all(sizes[room][0] <= room for room in (10_000, 8_000, 7_000))
    assert 256 > sizes[10_000][1] > sizes[8_000][1] > sizes[7_000][1] > sizes[100][1] == 24


def test_a_large_payload_is_below_300_kb_without_its_photo_and_as_exact_as_is_said():
    ex = attention_like()
    payload = viewer_payload(ex)
    text = json.dumps({**payload, "photo": {**payload["photo"], "src": ""}}, separators=(",", ":"))
    assert (len(payload["layers"]), payload["heads"], len(ex.words), ex.grid.num_patches) == (12, 12, 16, 256)
    assert len(text) < 300_000
    assert payload["maps"]["levels"] == 32 and payload["means"]["levels"] == 256
    for name, exact, most in (("maps", ex.map.per_head, 0.0315), ("means", ex.map.values, 0.004)):
        exact = exact.double().numpy()
        peak = 256 * exact.max(axis=(-2, -1), keepdims=True) - 1
        seen, wanted = (
            np.sqrt(np.clip((256 * values - 1) / np.maximum(peak, 1), 0, 1))
            for values in (dequantise(payload[name], exact.shape), exact)
        )
        assert np.abs(seen - wanted).max() < most
        assert np.abs(seen - wanted).mean() < most / 20


def test_signed_maps_without_null_key():
    ex = factories.signed_explanation()
    payload = viewer_payload(ex)
    assert payload["null"] is None and payload["method"]["signed"] and payload["method"]["reduce"] == "sum"
    assert payload["method"]["title"] == "Head decomposition"
    got = dequantise(payload["maps"], ex.map.per_head.shape)
    # with two signs a map's range is up to twice its largest magnitude
    largest = np.abs(ex.map.per_head.numpy()).max(axis=(-2, -1))
    assert (np.abs(got - ex.map.per_head.numpy()).max(axis=(-2, -1)) <= 0.004 * largest).all()
    assert payload["vmax"] == pytest.approx(float(ex.map.values.abs().max()), rel=1e-6)


def test_a_method_without_heads_sends_no_maps_of_them():
    base = factories.explanation()
    bare = dataclasses.replace(base.map, per_head=None, null_mass=None, layers=())
    payload = viewer_payload(dataclasses.replace(base, maps={"cross_attention": bare}))
    assert payload["maps"] is None and payload["layers"] == [] and payload["heads"] == 0


def test_a_method_that_read_no_attention_is_sent_like_any_other():
    ex = factories.explanation()
    bare = viewer_payload(dataclasses.replace(ex, record=None))
    assert {**bare, "id": ""} == {**viewer_payload(ex), "id": ""}


def test_the_checks_of_a_word_go_with_it():
    ex = factories.explanation("a dog and a zebra")
    assert viewer_payload(ex)["trust"] == {}
    found = localise(ex.heatmap("dog"), (0, 0, 30, 20))
    report = TrustReport((2, 5), "dog", "cross_attention", 1.25, 7, ("Planted.",), localisation=found)
    payload = viewer_payload(ex.with_trust(report))
    assert payload["trust"] == {"2:5": report.as_dict()}
    assert payload["id"] != viewer_payload(ex)["id"]
    json.dumps(payload, allow_nan=False)


def test_it_is_json_and_its_id_follows_the_content():
    payload = viewer_payload(factories.explanation())
    assert json.loads(json.dumps(payload, allow_nan=False)) == payload
    assert viewer_payload(factories.explanation())["id"] == payload["id"]
    others = [
        factories.explanation("a cat and a zebra"),
        factories.explanation(seed=1),
        factories.explanation(trained=False),
        factories.explanation(null=[0.2] * 5),
    ]
    ids = {payload["id"], *(viewer_payload(ex)["id"] for ex in others)}
    assert len(ids) == 5


def test_keys_do_not_depend_on_the_caption():
    one, other = (viewer_payload(factories.explanation(text)) for text in ("a dog", "</script> $x ${alert(1)} 黒"))
    assert keys(one) == keys(other)
    assert other["caption"]["text"] == "</script> $x ${alert(1)} 黒"


def test_emoji_before_a_word_do_not_shift_it():
    payload = viewer_payload(factories.explanation("👩‍👩‍👧 sees a dog"))
    word = payload["caption"]["words"][-1]
    assert payload["caption"]["text"][word["start"] : word["end"]] == word["text"] == "dog"


@pytest.mark.parametrize("size_wh", [(3000, 2000), (40, 30), (5000, 1), (1, 5000), (1280, 1280)])
def test_the_photo_is_bounded_and_looks_like_itself(size_wh):
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (size_wh[1], size_wh[0], 3), dtype=np.uint8))
    url = photo_data_url(noise)
    data = base64.b64decode(url.removeprefix("data:image/jpeg;base64,"))
    assert len(data) <= MAX_PHOTO_BYTES
    image = Image.open(io.BytesIO(data))
    assert max(image.size) == min(1280, max(size_wh)) and min(image.size) >= 1
    smooth = factories.photo(300, 200).image()
    back = Image.open(io.BytesIO(base64.b64decode(photo_data_url(smooth).partition(",")[2])))
    assert np.abs(np.asarray(back).astype(int) - np.asarray(smooth)).mean() < 12


def test_the_photo_is_encoded_once_as_long_as_it_is_in_use(monkeypatch):
    made = []
    monkeypatch.setattr(payload, "photo_data_url", lambda image: made.append(image.size) or photo_data_url(image))
    first = factories.explanation("a dog")
    other = dataclasses.replace(first, photo=factories.photo(*first.photo.wh, seed=5))
    told = [viewer_payload(ex)["photo"]["src"] for ex in (first, first, other, first, other)]
    assert len(made) == 2 and len(set(told)) == 2 and told[0] == told[1] == told[3]
    assert told[0] == photo_data_url(first.photo.image()) and told[2] == photo_data_url(other.photo.image())


def test_a_usual_payload_is_small():
    ex = factories.explanation(
        " ".join(f"w{i}" for i in range(20)), grid=factories.PatchGrid(16, 16), layers=2, heads=8
    )
    assert len(json.dumps(viewer_payload(ex))) < 250_000


def test_hidden_words_go_with_their_guesses_and_only_then():
    plain = factories.explanation("a dog and a zebra")
    token = plain.words[1].tokens[0]
    guess = Guess(token, (("cat", 0.5), ("dog", 0.25)))
    payload = viewer_payload(dataclasses.replace(plain, hidden=(1,), guesses=(guess,)))
    assert payload["hidden"] == {"words": [1], "guesses": [{"word": 1, "choices": [["cat", 0.5], ["dog", 0.25]]}]}
    before = viewer_payload(plain)
    assert "hidden" not in before and "steps" not in before
    assert {**payload, "id": 0} == {**before, "id": 0, "hidden": payload["hidden"]}
    assert payload["id"] != before["id"]
    json.dumps(payload, allow_nan=False)


def in_two_steps(queries=5):
    """An explanation whose map is composed of two random attentions."""
    base = factories.explanation("a dog and a zebra", layers=2, heads=3)
    rng = torch.Generator().manual_seed(3)
    asks = torch.rand(2, 3, len(base.caption.tokens), queries, generator=rng, dtype=torch.float64).softmax(-1)
    looks = torch.rand(1, 2, queries, 24 + 1, generator=rng, dtype=torch.float64).mul(6).softmax(-1)
    parts = {
        "second": AttentionRecord(looks.log(), looks, ("pooler",), "queries", "image patches, then the class token"),
        "first": AttentionRecord(asks.log(), asks, base.map.layers, "text tokens", "queries"),
    }
    return dataclasses.replace(base, parts=parts, similarity=None), asks, looks.mean((0, 1))


def test_attention_in_two_steps_is_sent_as_its_two_parts():
    ex, asks, looks = in_two_steps()
    payload = viewer_payload(ex)
    steps = payload["steps"]
    assert payload["similarity"] is None
    assert (steps["titles"], steps["count"], steps["heads"]) == (["first", "second"], 5, 3)
    assert steps["layers"] == payload["layers"]
    rows = dequantise(steps["words"], (2, 3, 5, 1, 5))[:, :, :, 0]
    wanted = asks[:, :, [word.tokens[0] for word in ex.words]].numpy()
    assert np.abs(rows - wanted).max() <= 0.005 * wanted.max()
    maps = dequantise(steps["queries"], (5, 4, 6))
    assert np.abs(maps.reshape(5, 24) - looks[:, :24].numpy()).max() <= 0.005 * float(looks.max())
    assert steps["vmax"] == pytest.approx(max(8.0, 24 * float(looks[:, :24].max())), rel=1e-6)
    json.dumps(payload, allow_nan=False)


def test_parts_that_do_not_follow_each_other_are_no_two_steps():
    ex, *_ = in_two_steps()
    for left_out in ("first", "second"):
        parts = {title: part for title, part in ex.parts.items() if title != left_out}
        assert "steps" not in viewer_payload(dataclasses.replace(ex, parts=parts))
    _, other, _ = in_two_steps(queries=4)
    odd = AttentionRecord(other.log(), other, ex.map.layers, "text tokens", "queries")
    assert "steps" not in viewer_payload(dataclasses.replace(ex, parts={**ex.parts, "first": odd}))


def test_no_similarity_is_left_out_of_the_figure():
    ex = dataclasses.replace(factories.explanation(), similarity=None)
    said = " ".join(text.get_text() for text in ex.figure().texts)
    assert "similarity" not in said and "similarity" in " ".join(
        t.get_text() for t in factories.explanation().figure().texts
    )
    assert viewer_payload(ex)["similarity"] is None
