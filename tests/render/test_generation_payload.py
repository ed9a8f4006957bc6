"""What is sent of a generated picture: its maps within half a step, its frames, and not more bytes than it may."""

import base64
import io
import json

import factories
import numpy as np
import pytest
import torch
from PIL import Image
from planted_generator import GRID, planted

from crossviz.generation import IMAGE_ASKS_TEXT, TEXT_ASKS_IMAGE, Generation, WordMaps
from crossviz.geometry import PatchGrid
from crossviz.render.generation_page import generation_page
from crossviz.render.generation_payload import MOST_FRAMES, SPRITE_PIXELS, generation_payload
from crossviz.render.generation_scale import chance_of, generation_scale
from crossviz.render.growing import evenly
from crossviz.render.quantised import dequantise


def random_one(
    words: int = 12, grid: int = 12, layers: int = 6, heads: int = 8, steps: int = 1, frames: int = 37, side: int = 96
) -> Generation:
    """Attention like a trained model's: softmax of noise, sharpened."""
    draw = torch.Generator().manual_seed(1)
    shape = (steps, layers, heads, words + 1, grid, grid)
    probs = (3 * torch.randn(shape, generator=draw)).softmax(3)
    asks = (3 * torch.randn((steps, layers, heads, words, grid * grid + 1), generator=draw)).softmax(-1)
    labels = tuple(f"layer {index + 1}" for index in range(layers))
    total = frames - 1 if steps == 1 else steps
    return Generation(
        caption=factories.caption(" ".join(f"word{index}" for index in range(words))),
        grid=PatchGrid(grid, grid),
        frames=torch.randint(0, 255, (frames, side, side, 3), dtype=torch.uint8, generator=draw),
        frame_steps=tuple(round(index * total / (frames - 1)) for index in range(frames)),
        asks_text=WordMaps(probs[:, :, :, :-1], probs[:, :, :, -1], labels, IMAGE_ASKS_TEXT),
        asks_image=WordMaps(asks[..., :-1].unflatten(-1, (grid, grid)), asks[..., -1], labels, TEXT_ASKS_IMAGE),
        written=torch.arange(grid * grid).view(grid, grid) if steps == 1 else None,
        tokens=torch.randint(0, 1024, (grid, grid), generator=draw),
        settings={"seed": 1},
        verdict=None,
        provenance=factories.provenance(),
    )


def picture(data_url: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data_url.partition(",")[2]))).convert("RGB"))


@pytest.mark.parametrize("make", [planted, random_one], ids=["planted", "random"])
def test_maps_come_back_within_half_a_step(make):
    drawn = make()
    payload = generation_payload(drawn)
    for part, maps in zip(payload["directions"], (drawn.asks_text, drawn.asks_image), strict=True):
        values = maps.values.double().numpy().mean(0)
        for block, expected in ((part["means"], values.mean((0, 1))), (part["maps"], values)):
            got = dequantise(block, expected.shape)

            def along(v, chance=part["chance"]):
                return np.sign(v - chance) * np.sqrt(np.abs(v - chance))

            low, high = (along(end(expected, axis=(-2, -1), keepdims=True)) for end in (np.min, np.max))
            step = (high - low) / (block["levels"] - 1)
            assert (np.abs(along(got) - along(expected)) <= 0.5 * step + 1e-4).all()
        assert part["chance"] == chance_of(maps)
        assert part["vmax"] == pytest.approx(generation_scale(maps).vmax, rel=1e-6)
    assert payload["directions"][0]["none_of"] is None
    np.testing.assert_allclose(payload["directions"][1]["none_of"], drawn.asks_image.none.numpy().mean(0), rtol=1e-5)


def test_chance_is_every_word_and_none_alike_or_every_place():
    drawn = planted()
    assert chance_of(drawn.asks_text) == 1 / 9  # eight words and none
    assert chance_of(drawn.asks_image) == 1 / GRID**2


def test_the_finished_picture_is_exact_and_the_frames_are_in_order():
    drawn = planted()
    payload = generation_payload(drawn)
    np.testing.assert_array_equal(picture(payload["picture"]["src"]), drawn.picture.numpy())
    frames = payload["frames"]
    assert frames["steps"] == list(drawn.frame_steps)
    sheet = picture(frames["src"]).astype(int)
    for index in range(len(frames["steps"])):
        top, left = index // frames["columns"] * frames["height"], index % frames["columns"] * frames["width"]
        seen = sheet[top : top + frames["height"], left : left + frames["width"]]
        assert np.abs(seen[4::8, 4::8] - drawn.frames[index].numpy()[4::8, 4::8].astype(int)).max() <= 12


def test_many_and_large_frames_are_thinned_out_and_made_smaller():
    drawn = random_one(words=2, layers=1, heads=1, frames=150, side=128)
    frames = generation_payload(drawn)["frames"]
    assert len(frames["steps"]) == MOST_FRAMES
    assert frames["steps"][0] == 0 and frames["steps"][-1] == drawn.steps
    large = generation_payload(random_one(words=2, layers=1, heads=1, frames=20, side=600))["frames"]
    assert large["width"] * large["height"] * len(large["steps"]) <= SPRITE_PIXELS
    assert evenly(5, 9) == [0, 1, 2, 3, 4] and evenly(100, 3) == [0, 50, 99]


def test_the_size_is_bounded():
    drawn = random_one()
    noise = np.random.default_rng(0).normal(size=(1, 96, 96, 3))
    smooth = torch.from_numpy((120 + 20 * np.cumsum(noise, 1) / 10).clip(0, 255).astype(np.uint8))
    frames = smooth.expand(37, -1, -1, -1).contiguous()
    alike = Generation(**{**{name: getattr(drawn, name) for name in drawn.__dataclass_fields__}, "frames": frames})
    size = len(json.dumps(generation_payload(alike)))
    assert size < 1_000_000, size
    diffusion = random_one(words=6, grid=32, layers=8, heads=4, steps=20, frames=20, side=64)
    assert len(json.dumps(generation_payload(diffusion))) < 2_500_000


def test_models_that_draw_everything_at_every_step_have_maps_of_the_steps():
    drawn = random_one(words=3, grid=4, layers=2, heads=2, steps=6, frames=7, side=16)
    part = generation_payload(drawn)["directions"][0]
    assert part["step_numbers"] == [1, 2, 3, 4, 5, 6]
    expected = drawn.asks_text.values.double().numpy().mean((1, 2))
    np.testing.assert_allclose(dequantise(part["steps"], expected.shape), expected, atol=0.01)
    assert generation_payload(planted())["directions"][0]["steps"] is None


def test_too_many_single_heads_are_left_out(monkeypatch):
    monkeypatch.setattr("crossviz.render.generation_payload.MOST_HEAD_VALUES", 1000)
    part = generation_payload(planted())["directions"][0]
    assert part["maps"] is None and part["layers"] == [] and part["heads"] == 0


def test_equal_pictures_have_equal_ids_and_others_do_not():
    ids = [generation_payload(one)["id"] for one in (planted(), planted(), planted(seed=2), planted("a red cube"))]
    assert ids[0] == ids[1] and len(set(ids)) == 3


def test_what_a_user_wrote_is_no_markup_in_the_page():
    text = "a red cube left of a blue sphere"
    hostile = planted(text)
    caption = factories.caption("</script><script>alert(1)</script> cube")
    count = len(caption.words)
    values = torch.zeros(1, 1, 1, count, GRID, GRID)
    maps = WordMaps(values, 1 - values.sum(3), ("a",), IMAGE_ASKS_TEXT)
    drawn = Generation(
        **{
            **{name: getattr(hostile, name) for name in hostile.__dataclass_fields__},
            "caption": caption,
            "asks_text": maps,
            "asks_image": None,
        }
    )
    page = generation_page([generation_payload(drawn)]).decode()
    assert "<script>alert" not in page and "alert(1)" in page
