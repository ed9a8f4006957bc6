"""Generated pictures: what they answer for a word, that they come back equal from every file, and files from anyone."""

import copy
import dataclasses
import io
import json
import pickle

import factories
import numpy as np
import pytest
import torch
from PIL import Image
from planted_generator import CAPTION, CELL, GRID, INSIDE, RECTANGLES, planted
from test_untrusted_files import changed, places

import crossviz
from crossviz.bundle import Bundle
from crossviz.errors import BundleError, ResultError, SelectionError
from crossviz.explanation import load as load_explanation
from crossviz.generation import IMAGE_ASKS_TEXT, TEXT_ASKS_IMAGE, Generation, WordMaps
from crossviz.generation_export import GENERATION_SUFFIXES
from crossviz.geometry import PatchGrid
from crossviz.loading import load_any
from crossviz.render.generation_payload import generation_payload


def inside(number: int) -> np.ndarray:
    top, left, bottom, right = RECTANGLES[number]
    mask = np.zeros((GRID, GRID), bool)
    mask[top:bottom, left:right] = True
    return mask


def every_step(steps: int = 6, kept: tuple[int, ...] = ()) -> Generation:
    """Every step draws all places: at step k (from 0) the word "dog" is asked at place k alone."""
    count = len(kept) or steps
    values = torch.zeros(count, 1, 2, 2, 2, 3)
    for step in range(count):
        values[step, :, :, 1].view(1, 2, 6)[..., step] = 0.5
    caption = factories.caption("a dog")
    return Generation(
        caption=caption,
        grid=PatchGrid(2, 3),
        frames=torch.randint(0, 255, (2, 8, 12, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
        frame_steps=(1, steps),
        asks_text=WordMaps(values, 1 - values.sum(3), ("cross",), IMAGE_ASKS_TEXT, kept),
        asks_image=None,
        written=None,
        tokens=None,
        settings={"seed": 3, "steps": steps},
        verdict=None,
        provenance=factories.provenance(),
    )


def test_a_word_s_map_is_the_planted_one_in_the_picture_s_pixels():
    drawn = planted()
    flat = drawn.heatmap("cube", layer="layer 1", smooth=False)
    assert flat.shape == (GRID * CELL, GRID * CELL) and flat.dtype == np.float32
    np.testing.assert_array_equal(flat, np.kron(inside(0) * np.float32(INSIDE), np.ones((CELL, CELL), np.float32)))
    np.testing.assert_array_equal(drawn.patch_map("red", layer=0), np.zeros((GRID, GRID)))
    np.testing.assert_allclose(drawn.patch_map("red", layer=1, head=0), inside(0) * INSIDE / 2, atol=1e-7)
    np.testing.assert_allclose(drawn.patch_map("red"), inside(0) * INSIDE / 4, atol=1e-7)
    np.testing.assert_array_equal(drawn.patch_map(word=1), drawn.patch_map(span=(2, 5)))
    both = (drawn.patch_map("red") + drawn.patch_map("cube")) / 2
    np.testing.assert_allclose(drawn.patch_map("red cube"), both, atol=1e-7)


def test_words_and_none_add_up_to_one_at_every_place():
    drawn = planted()
    total = sum(drawn.patch_map(word=word.index) for word in drawn.words)
    np.testing.assert_allclose(total + drawn.asks_text.none.mean((0, 1, 2)).numpy(), 1, atol=1e-6)
    for word in drawn.words:
        asked = drawn.patch_map(word=word.index, direction=TEXT_ASKS_IMAGE).sum()
        assert asked + drawn.null_mass(word=word.index) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("step", [1, 50, 60, 143, 144])
def test_at_a_step_only_what_is_written_by_then_is_there(step):
    drawn = planted()
    written = np.arange(GRID * GRID).reshape(GRID, GRID) < step
    for direction in (IMAGE_ASKS_TEXT, TEXT_ASKS_IMAGE):
        whole = drawn.patch_map("cube", direction=direction)
        then = drawn.patch_map("cube", direction=direction, step=step)
        np.testing.assert_array_equal(then, whole * written)


def test_where_every_step_draws_all_places_a_step_has_its_own_map():
    drawn = every_step()
    for step in range(1, 7):
        assert drawn.patch_map("dog", step=step).ravel().argmax() == step - 1
    np.testing.assert_allclose(drawn.patch_map("dog"), np.full((2, 3), 0.5 / 6), atol=1e-7)
    together = every_step(kept=(2, 4, 6))  # two steps at a time
    assert [together.patch_map("dog", step=step).ravel().argmax() for step in range(1, 7)] == [0, 0, 1, 1, 2, 2]


def test_the_picture_at_a_step_is_the_last_frame_by_then():
    drawn = planted()
    np.testing.assert_array_equal(np.asarray(drawn.image()), drawn.picture.numpy())
    np.testing.assert_array_equal(np.asarray(drawn.image(63)), drawn.frames[60 // 4].numpy())
    overlay = drawn.overlay("cube", width=192)
    assert overlay.mode == "RGB" and overlay.size == (192, 192)
    hot = np.asarray(overlay).astype(int)
    middle = hot[2 * CELL * 4, 2 * CELL * 3]  # in the rectangle
    assert np.abs(middle - hot[4, 4]).max() > 60  # and the grey ground


def test_what_is_not_there_is_said():
    drawn = planted()
    with pytest.raises(SelectionError, match="giraffe"):
        drawn.heatmap("giraffe")
    for step in (0, 145, 1.0, True):
        with pytest.raises(SelectionError, match="choose 1 to 144"):
            drawn.heatmap("cube", step=step)
    with pytest.raises(SelectionError, match="no attention 'query: text, key: image'"):
        every_step().heatmap("dog", direction=TEXT_ASKS_IMAGE)
    with pytest.raises(SelectionError):
        drawn.heatmap("cube", layer="layer 9")
    with pytest.raises(BundleError, match=r"can't be saved as \.pdf"):
        drawn.to_bytes(".pdf")


@pytest.mark.parametrize(
    "change",
    [
        {"frame_steps": (3, 1)},
        {"frame_steps": (0,)},
        {"frames": torch.zeros(2, 8, 12, 3)},
        {"tokens": torch.zeros(3, 2, dtype=torch.int64)},
        {"written": torch.full((2, 3), -1)},
        {"codebook": torch.zeros(1, 4, 4, 3, dtype=torch.uint8)},
        {"verdict": {"asked": "yes", "found": "", "faults": []}},
        {"verdict": {"asked": True, "found": "a dog"}},
        {"asks_image": every_step().asks_text},
        {"caption": factories.caption("a dog and")},
        {"settings": {"seed": float("nan")}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_parts_that_do_not_fit_together_are_refused(change):
    with pytest.raises(ResultError):
        dataclasses.replace(every_step(), **change)


def test_less_than_nothing_is_no_probability():
    maps = planted().asks_text
    values, none = maps.values.clone(), maps.none.clone()
    values[0, 0, 0, 0, 0, 0] += 1.5 - values[0, 0, 0, :, 0, 0].sum()
    none[0, 0, 0, 0, 0] = -0.5
    with pytest.raises(ResultError, match="no probabilities"):
        WordMaps(values, none, maps.layers, maps.direction)


def test_it_is_equal_to_its_copies_and_to_no_other():
    drawn = planted()
    assert drawn == copy.deepcopy(drawn) == pickle.loads(pickle.dumps(drawn))
    assert drawn != planted(seed=2) and drawn != every_step()
    assert dataclasses.replace(drawn, verdict=None) != drawn


@pytest.mark.parametrize("suffix", GENERATION_SUFFIXES)
@pytest.mark.parametrize("make", [planted, every_step, lambda: planted(trained=False)], ids=["written", "steps", "raw"])
def test_every_file_gives_back_an_equal_one(make, suffix, tmp_path):
    drawn = make()
    path = tmp_path / f"a{suffix}"
    drawn.save(path)
    assert crossviz.load(path) == drawn
    with pytest.raises(BundleError, match="something else than an explanation"):
        load_explanation(path)


def test_an_explanation_is_loaded_as_one(tmp_path):
    ex = factories.explanation()
    ex.save(tmp_path / "a.npz")
    assert crossviz.load(tmp_path / "a.npz") == ex == load_explanation(tmp_path / "a.npz")


def test_the_png_is_the_picture_and_the_gif_grows():
    drawn = planted()
    png = np.asarray(Image.open(io.BytesIO(drawn.to_bytes(".png"))))
    np.testing.assert_array_equal(png, drawn.picture.numpy())
    gif = Image.open(io.BytesIO(drawn.to_bytes(".gif")))
    assert gif.n_frames == len(drawn.frame_steps)
    unlike = []
    for index in range(0, gif.n_frames, 6):
        gif.seek(index)
        seen = np.asarray(gif.convert("RGB").crop((0, 0, 384, 384)).resize((GRID, GRID), Image.Resampling.BOX)).astype(
            int
        )
        expected = drawn.frames[index].numpy()[CELL // 2 :: CELL, CELL // 2 :: CELL].astype(int)
        unlike.append((np.abs(seen - expected).max(-1) > 40).mean())
    assert max(unlike) < 0.05
    with_word = Image.open(io.BytesIO(drawn.to_bytes(".gif", words=["cube"])))
    with_word.seek(with_word.n_frames - 1)
    gif.seek(gif.n_frames - 1)
    assert np.abs(np.asarray(with_word.convert("RGB")).astype(int) - np.asarray(gif.convert("RGB"))).max() > 60


def test_untrained_weights_are_marked_in_every_picture():
    trained, untrained = planted(), planted(trained=False)
    for suffix in (".png", ".gif"):
        one, other = (Image.open(io.BytesIO(drawn.to_bytes(suffix))).convert("RGB") for drawn in (trained, untrained))
        assert np.abs(np.asarray(one).astype(int) - np.asarray(other)).max() > 60
    assert b'"trained":false' in untrained.to_bytes(".html")


@pytest.mark.parametrize(
    "value",
    [None, True, -1, 10**30, 1e308, float("inf"), "", "\ud800", "x" * 300, [], [[]], {}, {"a": 1}],
    ids=lambda value: repr(value)[:12],
)
def test_a_manifest_with_anything_anywhere_is_refused_in_a_sentence_or_harmless(value, tmp_path):
    document = json.loads(every_step().to_bytes(".json"))
    path = tmp_path / "a.json"
    for place in places(document["manifest"], ("manifest",)):
        if place == ("manifest",):
            continue
        path.write_text(json.dumps(changed(document, place, value)))
        try:
            loaded = crossviz.load(path)
        except BundleError as error:
            assert "\n" not in str(error), place
        else:
            json.dumps(generation_payload(loaded), allow_nan=False)


@pytest.mark.parametrize("name", ["frames", "written", "tokens", "asks_text_values", "asks_text_none", "codebook"])
@pytest.mark.parametrize(
    "array",
    [
        None,
        np.zeros((1,), np.float32),
        np.zeros((0, 4, 4, 3), np.uint8),
        np.full((GRID, GRID), -5),
        np.zeros((2, 2), bool),
    ],
    ids=["missing", "float", "empty", "negative", "bool"],
)
def test_arrays_of_another_kind_are_refused(name, array, tmp_path):
    bundle = Bundle.from_npz(planted().to_bytes(".npz"))
    arrays = {key: value for key, value in bundle.arrays.items() if key != name}
    if array is not None:
        arrays[name] = array
    path = tmp_path / "a.npz"
    path.write_bytes(Bundle(bundle.manifest, arrays).to_npz())
    if array is None and name in ("written", "tokens", "codebook"):
        if name == "tokens":  # there is a codebook without anything that is of it
            with pytest.raises(BundleError):
                crossviz.load(path)
        else:
            assert getattr(crossviz.load(path), name) is None
        return
    with pytest.raises(BundleError) as caught:
        crossviz.load(path)
    assert "\n" not in str(caught.value)


def test_what_a_file_may_unpack_to_is_limited(tmp_path):
    path = tmp_path / "a.npz"
    planted().save(path)
    assert load_any(path, most_bytes=8 << 20)[0] == planted()
    with pytest.raises(BundleError, match="at most 0 MB are read"):
        load_any(path, most_bytes=1000)


def test_the_sentence_names_where_a_word_wrote():
    drawn = planted()
    assert drawn.sentence("cube").startswith("\u2018cube\u2019 wrote mostly at the left, 50")
    assert drawn.sentence("sphere").startswith("\u2018sphere\u2019 wrote mostly at the right, 50")
    assert drawn.sentence("left") == "\u2018left\u2019 wrote nowhere in particular."
    assert drawn.caption.text == CAPTION
