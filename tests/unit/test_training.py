"""The training code on made-up data: losses, targets, batches, reading."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from crossviz import compat

compat.ensure_torchvision()

from crossviz.models.mini_text import text_states  # noqa: E402
from crossviz.training import losses  # noqa: E402
from crossviz.training.batches import ABSENT, PRESENT, Ask, Sample, collate  # noqa: E402
from crossviz.training.config import load_config  # noqa: E402
from crossviz.training.data import Phrase, load_image, read_set  # noqa: E402
from crossviz.training.dev import upsample  # noqa: E402
from crossviz.training.grid import box_cover, mask_cover, visible_share  # noqa: E402
from crossviz.training.mix import MixWords  # noqa: E402
from crossviz.training.model import Tokenizer, build_clip, pad_ids  # noqa: E402
from crossviz.training.phrases import code_text  # noqa: E402
from crossviz.training.views import View, mix_views  # noqa: E402


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer()


@pytest.fixture(scope="module")
def tower():
    torch.manual_seed(0)
    return build_clip().text.eval()


def test_box_cover_is_exact_area():
    cover = box_cover((10.0, 20.0, 34.0, 44.0), (0.0, 0.0, 240.0, 480.0))
    assert cover.sum() == pytest.approx(24 * 24 / (10 * 20))
    assert cover[1, 1] == pytest.approx(1.0)
    assert cover[2, 3] == pytest.approx(0.4 * 0.2)


def test_cover_of_mask_and_box_agree_in_a_crop():
    mask = np.zeros((96, 96), bool)
    mask[24:72, 48:96] = True
    crop = (24.0, 0.0, 96.0, 96.0)
    assert np.allclose(mask_cover(mask, crop), box_cover((48, 24, 96, 72), crop), atol=1e-5)
    assert visible_share((0, 0, 48, 96), crop) == pytest.approx(0.5)


def test_losses_prefer_the_right_map():
    cover = torch.zeros(1, 16)
    cover[0, :4] = 1
    inside, spread_out, peak, null = (torch.zeros(1, 17) for _ in range(4))
    inside[0, :4] = 0.25
    peak[0, 0] = 1.0
    spread_out[0, :16] = 1 / 16
    null[0, -1] = 1.0
    assert losses.inside_loss(inside, cover) < losses.inside_loss(spread_out, cover) < losses.inside_loss(null, cover)
    assert losses.spread_loss(inside, cover).item() == pytest.approx(0, abs=1e-4)
    assert losses.spread_loss(inside, cover) < losses.spread_loss(spread_out, cover) < losses.spread_loss(peak, cover)
    assert losses.null_loss(null[:, -1]).item() == pytest.approx(0, abs=1e-5)
    assert losses.seen_loss(inside[:, -1]).item() == pytest.approx(0, abs=1e-5)


def test_cover_follows_the_grid():
    cover = torch.rand(3, 24, 24)
    assert losses.pooled_cover(cover, 576).shape == (3, 576)
    coarse = losses.pooled_cover(cover, 144)
    assert coarse[0, 0].item() == pytest.approx(cover[0, :2, :2].mean().item())


def test_contrast_is_least_for_matching_rows():
    rows = torch.eye(4)
    scale = torch.tensor(20.0)
    assert losses.contrast(rows, rows, scale) < 1e-4 < losses.contrast(rows, rows.roll(1, 0), scale)


def test_upsampling_keeps_the_place():
    grid = torch.zeros(1, 24, 24)
    grid[0, 6, 18] = 1
    pixels = upsample(grid, 240, 480)[0]
    y, x = divmod(int(pixels.argmax()), 480)
    assert 60 <= y < 70 and 360 <= x < 380


def test_tokens_carry_word_spans(tokenizer):
    text = "A dalmatian catches a red frisbee ."
    ids, spans = tokenizer(text)
    assert len(ids) == len(spans)
    assert {text[s:e] for s, e in spans} == {"A", "dalmatian", "catches", "a", "red", "frisbee", "."}


def test_phrase_tokens_and_stop_words(tokenizer):
    coded = code_text("A dog on the grass .", [Phrase(0, 5, ("animals",), ((0, 0, 1, 1),))], tokenizer)
    (phrase,) = coded.phrases
    assert (phrase.tokens, phrase.content, phrase.head) == ((0, 1), (1,), "dog")
    assert coded.stops == (2, 3, 5)


def test_a_cut_off_phrase_is_dropped(tokenizer):
    text = "dog " * 90 + "cat"
    assert code_text(text, [Phrase(len(text) - 3, len(text), (), ())], tokenizer).phrases == ()


def test_padding_does_not_change_a_text(tokenizer, tower):
    short, long = tokenizer("a cat")[0], tokenizer("two men ride horses along the beach at night")[0]
    both, alone = pad_ids([short, long], tokenizer), pad_ids([short], tokenizer)
    with torch.no_grad():
        a, b = text_states(tower, both), text_states(tower, alone)
        full = tower(torch.nn.functional.pad(both, (0, 77 - both.shape[1])))
    assert torch.allclose(a.tokens[0, :4], b.tokens[0, :4], atol=1e-5)
    assert torch.allclose(a.pooled, full, atol=1e-5)


def test_words_see_what_comes_after_them(tokenizer, tower):
    with torch.no_grad():
        a, b = (text_states(tower, pad_ids([tokenizer(t)[0]], tokenizer)).tokens for t in ("a dog runs", "a dog sits"))
    assert not torch.allclose(a[0, 2], b[0, 2], atol=1e-3)


def test_collate_mirrors_and_stacks(tokenizer):
    cover = np.zeros((24, 24), np.float32)
    cover[0, 0] = 1
    words = tuple(tokenizer("left dog")[0])
    samples = [
        Sample("flickr", 0, True, [words], [Ask(0, (0, 1), PRESENT, cover)], [], 0),
        Sample("mix", 0, False, [words, tuple(tokenizer("cat")[0])], [Ask(1, (0,), ABSENT)], [(0, 0)]),
    ]
    batch = collate(samples, tokenizer)
    assert batch.ids[batch.captions[0]][1] == tokenizer("right")[0][0]
    assert batch.covers[0, 0, 0, 23] == 1 and batch.covers[0, 0, 0, 0] == 0
    assert batch.kinds.tolist() == [[PRESENT], [ABSENT]] and batch.captions.tolist() == [0, -1]
    assert batch.weights[0, 0].tolist() == [0.5, 0.5, 0.0]
    states = batch.ids.flatten()[batch.tokens]
    assert states[1].tolist() == [*words, *tokenizer("cat")[0]]
    assert batch.stops[1].tolist() == [True, False, False]


def test_reading_a_set(tmp_path):
    folder = tmp_path / "some_set"
    (folder / "images").mkdir(parents=True)
    Image.new("L", (12, 8), 90).save(folder / "images" / "a.png")
    row = {
        "image": "images/a.png", "width": 12, "height": 8, "split": "dev", "captions": ["A dog ."], "mask": None,
        "boxes": [{"label": "A dog", "xyxy": [1, 2, 3, 4], "id": "7", "type": ["animals"]}],
        "grounded": [{"text": "A dog .", "spans": [{"start": 0, "end": 5, "id": "7"}]}],
    }  # fmt: skip
    (folder / "data.jsonl").write_text(json.dumps(row) + "\n")
    (photo,) = read_set(tmp_path, "some_set")
    assert photo.sentences[0].phrases[0] == Phrase(0, 5, ("animals",), ((1.0, 2.0, 3.0, 4.0),))
    assert load_image(photo.path).mode == "RGB" and photo.split == "dev"


def test_crops_stay_inside_the_photo(tmp_path):
    rows = [
        {"image": f"{i}.png", "width": 200, "height": 100, "captions": [], "mask": None,
         "boxes": [{"label": "cat", "xyxy": [150, 10, 199, 60]}]}
        for i in range(20)
    ]  # fmt: skip
    for name in ("ade20k_val", "coco_mini", "mlperf_coco_tiny"):
        (tmp_path / name).mkdir()
        lines = [json.dumps(r | ({"classes": {}} if name == "ade20k_val" else {})) for r in rows]
        (tmp_path / name / "data.jsonl").write_text("\n".join(lines) + "\n")
    views = mix_views(tmp_path)
    assert views == mix_views(tmp_path)
    assert any(v.held_out for v in views) and not any(v.held_out and not v.whole for v in views)
    for v in views:
        x0, y0, x1, y1 = v.crop
        assert 0 <= x0 < x1 <= 200 and 0 <= y0 < y1 <= 100
    assert isinstance(views[0], View)


def test_every_class_has_words_and_alikes_are_known():
    words = MixWords.read()
    assert len(words.words["ade20k_val"]) == 150 and len(words.words["coco_mini"]) == 80
    known = {w for table in words.words.values() for ws in table.values() for w in ws}
    assert "animal" in words.words["coco_mini"]["cat"] and "cat" in words.alike["dog"]
    assert len(known & set(words.alike)) > 150


def test_the_settings_name_every_loss():
    config = load_config()
    assert set(config["loss"]) >= {"inside", "spread", "null", "seen", "stop", "clip", "found", "mix_null"}
    assert all(stage["grid"] in (12, 24) for stage in config["stage"])
