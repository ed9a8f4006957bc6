"""vilt-mini's training: what is hidden, what is asked, the losses, the warm start, and what the export writes."""

import hashlib
import itertools
import json
import math
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from crossviz import compat

compat.ensure_torchvision()

from crossviz.attention import CrossModalAttention  # noqa: E402
from crossviz.evaluate.absent import Absence  # noqa: E402
from crossviz.evaluate.records import Phrase, Sentence  # noqa: E402
from crossviz.training.data import Photo  # noqa: E402
from crossviz.training.place import even_loss, place_loss  # noqa: E402
from crossviz.training.vilt import rate  # noqa: E402
from crossviz.training.vilt_dev import FIGURES, dev_rows, head_part, measure, thorough_rows  # noqa: E402
from crossviz.training.vilt_export import FILES, TIED, export  # noqa: E402
from crossviz.training.vilt_figures import load  # noqa: E402
from crossviz.training.vilt_losses import losses  # noqa: E402
from crossviz.training.vilt_model import GRID, ViltMini, config, read, warm_start  # noqa: E402
from crossviz.training.vilt_samples import KEEP, Row, Sampler, alone, collate, hide, open_ended, place, swap  # noqa: E402
from crossviz.training.vilt_words import CLS, MASK, PAD, SEP, code, learn_vocabulary  # noqa: E402

SETTINGS = {
    "caption": 0.5,
    "head": 0.5,
    "other": 0.25,
    "swapped": 0.25,
    "nonsense": 0.25,
    "open_ended": 0.5,
    "hide": 0.15,
    "hide_phrase": 0.5,
    "hidden_place": 0.5,
}
BOX = (0.0, 0.0, 60.0, 120.0)
SCENES = (
    ("A brown dog runs on the left.", "dog", "animals"),
    ("An old truck stands on the right.", "truck", "vehicles"),
    ("A small guitar leans on a wall.", "guitar", "instruments"),
    ("The yellow boat drifts past a mandarin manager.", "boat", "vehicles"),
)
"""Captions whose first words, up to a noun, are the phrase in the left half of the photo."""


def sentence(text, noun, kind):
    return Sentence(text, (Phrase(0, text.index(noun) + len(noun), (kind,), (BOX,)),))


@pytest.fixture(scope="module")
def photos():
    return [
        Photo(None, 120, 120, "train" if i < 3 else "dev", (sentence(*scene),)) for i, scene in enumerate(SCENES * 2)
    ]


@pytest.fixture(scope="module")
def tokenizer():
    texts = [text for text, _, _ in SCENES] * 5 + ["strange stranger danger standing stand sandals"]
    return learn_vocabulary(texts, 400)


@pytest.fixture(scope="module")
def sampler(photos, tokenizer):
    return Sampler(photos, tokenizer, Absence([p.sentences for p in photos]), SETTINGS)


@pytest.fixture
def model(tokenizer):
    torch.manual_seed(0)
    shape = config(tokenizer.get_vocab_size(), hidden_size=16, num_hidden_layers=2, intermediate_size=32)
    return ViltMini(shape).eval()


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(0).normal(size=(8, 24, 24, 256)).astype(np.float16)


def test_every_word_of_ascii_can_be_split(tokenizer):
    coded = code(tokenizer, [Sentence("xq7jw'z K9!")])[0]
    assert coded.ids[0] == CLS
    assert coded.ids[-1] == SEP
    assert "".join(tokenizer.id_to_token(t).removeprefix("##") for t in coded.ids[1:-1]) == "xq7jw'zk9!"


def test_phrases_keep_their_tokens(tokenizer):
    coded = code(tokenizer, [sentence(*SCENES[1])])[0]
    (part,) = coded.parts
    assert [tokenizer.id_to_token(coded.ids[t]) for t in part.tokens] == ["an", "old", "truck"]
    assert part.head == "truck"
    assert [tokenizer.id_to_token(coded.ids[t]) for t in head_part(coded, part).tokens] == ["truck"]


def test_a_phrase_that_the_cut_took_tokens_of_is_left_out(tokenizer):
    text = "on " + "a dog on " * 30
    spans = tuple(Phrase(i, i + 5, ("animals",), (BOX,)) for i in range(3, 273, 9))
    coded = code(tokenizer, [Sentence(text, spans)])[0]
    assert len(coded.ids) == 40
    assert [len(p.tokens) for p in coded.parts] == [2] * 12  # of the thirteenth, only "a" is read


def test_hidden_words_are_hidden_whole_and_labelled(tokenizer):
    coded = code(tokenizer, [Sentence("a brown zebrawolf runs", (Phrase(2, 17, (), (BOX,)),))])[0]
    assert len(coded.parts[0].tokens) > 2  # the made-up word is split
    masked, labels = hide(coded, 0.0, coded.parts[0], random.Random(0))
    for i, (before, now, label) in enumerate(zip(coded.ids, masked.ids, labels, strict=True)):
        inside = i in coded.parts[0].tokens
        assert (now, label) == ((MASK, before) if inside else (before, KEEP))
    everything, labels = hide(coded, 1.0, None, random.Random(0))
    assert everything.ids == (CLS, *[MASK] * (len(coded.ids) - 2), SEP)
    assert [t for t in labels if t != KEEP] == list(coded.ids[1:-1])


def test_at_least_one_word_is_hidden(tokenizer):
    coded = code(tokenizer, [Sentence("a brown dog")])[0]
    for seed in range(5):
        assert MASK in hide(coded, 0.0, None, random.Random(seed))[0].ids


def test_a_text_without_its_stop_is_that_text_coded_without_it(tokenizer):
    stop = tokenizer.token_to_id(".")
    for text, noun in (("A brown dog runs.", "dog"), ("A brown dog .", "dog"), ("A 2. dog", "dog")):
        bare = text.removesuffix(".").rstrip()
        expected = code(tokenizer, [sentence(bare, noun, "animals")])[0]
        assert open_ended(code(tokenizer, [sentence(text, noun, "animals")])[0], stop) == expected
    whole = Phrase(0, 17, ("animals",), (BOX,))
    coded = open_ended(code(tokenizer, [Sentence("A brown dog runs.", (whole, Phrase(16, 17, (), ())))])[0], stop)
    assert [part.tokens for part in coded.parts] == [tuple(range(1, len(coded.ids) - 1))]
    mark = code(tokenizer, [Sentence(".")])[0]
    assert open_ended(mark, stop) == mark  # what would be left has no word


def test_half_of_the_captions_end_without_a_stop_whatever_is_asked_of_them(sampler, tokenizer):
    """Else "." would be the guess for a last word without one, and the stop would tell what fits from what does not."""
    stop, ends = tokenizer.token_to_id("."), {"hidden": [], "fits": [], "does not": []}
    for seed in range(150):
        rows, _ = sampler.draw([0, 1, 2], random.Random(seed))
        for number, row in enumerate(rows):
            if len(row.coded.ids) > 7:  # a caption, and no phrase by itself
                hidden = row.labels and row.labels[-2] != KEEP
                ends[list(ends)[number % 3]].append((row.labels if hidden else row.coded.ids)[-2] == stop)
    for kind, found in ends.items():
        assert len(found) > 100
        assert np.mean(found) == pytest.approx(0.5, abs=0.12), kind


def test_swap_writes_the_new_phrase_over_the_old(tokenizer):
    coded = code(tokenizer, [sentence(*SCENES[0])])[0]
    new = code(tokenizer, [Sentence("the yellow boat")])[0].ids[1:-1]
    expected = code(tokenizer, [Sentence("the yellow boat runs on the left.")])[0]
    assert swap(coded, coded.parts[0], new).ids == expected.ids
    assert swap(coded, coded.parts[0], new * 20) is None


def test_rows_say_what_is_true_of_their_photo(sampler, tokenizer):
    left = np.zeros((GRID, GRID), np.float32)
    left[:, :6] = 1
    for seed in range(20):
        rows, mirrored = sampler.draw([0, 1, 2], random.Random(seed))
        assert [r.photo for r in rows] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        for hidden, fitting, unfitting in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
            assert (hidden.match, fitting.match, unfitting.match) == (None, 1.0, 0.0)
            assert any(label != KEEP for label in hidden.labels)
            assert not fitting.labels
            assert not unfitting.covers
            flip = mirrored[hidden.photo]
            for row in (hidden, fitting):
                for tokens, cover, weight in row.covers:
                    assert np.allclose(cover, left[:, ::-1] if flip else left, atol=1e-5)
                    assert weight == (0.5 if any(row.coded.ids[t] == MASK for t in tokens) else 1.0)
            words = [tokenizer.id_to_token(t) for t in fitting.coded.ids]
            assert SCENES[fitting.photo][1] in words or len(words) == 3
            if fitting.photo == 0 and len(words) > 6:
                assert ("right" in words) == flip


def test_foreign_phrases_are_absent(sampler):
    rng = random.Random(0)
    heads = {sampler.foreign(0, rng).head for _ in range(40)}
    assert heads == {"truck", "guitar"}  # the boat's photo is of the dev split


def test_unfitting_texts_are_never_a_caption_of_the_photo(sampler):
    rng, own = random.Random(1), {c.ids for c in sampler.texts[0]}
    assert all(sampler.unfitting(0, rng).ids not in own for _ in range(60))


def test_collate_pads_and_shares_a_phrase_among_its_tokens(sampler):
    rows, _ = sampler.draw([0, 1], random.Random(3))
    batch = collate(rows)
    for i, row in enumerate(rows):
        length = len(row.coded.ids)
        assert tuple(batch.ids[i, :length].tolist()) == row.coded.ids
        assert (batch.ids[i, length:] == PAD).all()
        assert (batch.labels[i, length:] == KEEP).all()
        assert math.isnan(float(batch.match[i])) == (row.match is None)
    assert torch.allclose(batch.phrase_tokens.sum(1), torch.ones(len(batch.phrase_row)))
    assert len(batch.weights) == sum(len(r.covers) for r in rows)
    assert collate([Row(0, rows[0].coded)]).covers.shape == (0, GRID**2)


def test_place_loss_equals_a_loop():
    torch.manual_seed(0)
    attention, covers = torch.rand(5, GRID**2) * 0.01, torch.rand(5, GRID**2)
    found = place_loss(attention, covers)
    for i in range(5):
        inside = total = 0.0
        for patch in range(GRID**2):
            inside += float(attention[i, patch]) * float(covers[i, patch])
            total += float(attention[i, patch])
        assert float(found[i]) == pytest.approx(-math.log(inside / total), rel=1e-4)
    assert torch.allclose(place_loss(3 * attention, covers), found, atol=1e-5)  # mass on text does not count
    assert float(place_loss(covers, torch.ones_like(covers)).abs().max()) < 1e-6
    assert torch.isfinite(place_loss(torch.zeros(1, 4), torch.zeros(1, 4))).all()


def test_even_loss_is_least_for_an_even_map():
    cover = torch.zeros(1, GRID**2)
    cover[0, 10:20] = 1
    dot = torch.full((1, GRID**2), 1e-5)
    dot[0, 12] = 1
    spilt = torch.ones(1, GRID**2)
    assert float(even_loss(0.01 * cover, cover)) == pytest.approx(0, abs=1e-3)
    assert float(even_loss(spilt, cover)) == pytest.approx(math.log(GRID**2 / 10), abs=1e-3)
    assert float(even_loss(dot, cover)) > float(even_loss(spilt, cover))
    assert torch.isfinite(even_loss(torch.zeros(1, 4), torch.zeros(1, 4))).all()


def test_losses_equal_their_definitions(sampler, model, features):
    rows, _ = sampler.draw([0, 1, 2], random.Random(5))
    batch = collate(rows)
    joint = read(model, batch.ids, torch.from_numpy(features[[0, 1, 2]]).float()[batch.photo])
    found = losses(model, joint, batch)
    words, match, spots, evens, weights = [], [], [], [], []
    for i, row in enumerate(rows):
        logits = model.mlm_score(joint.text[i])
        words += [-logits[t].log_softmax(-1)[label] for t, label in enumerate(row.labels) if label != KEEP]
        if row.match is not None:
            match.append(-torch.log(torch.sigmoid(joint.match[i] if row.match else -joint.match[i])))
        for tokens, cover, weight in row.covers:
            heat = joint.attention[i, list(tokens)].mean(0)
            inside = (heat * torch.from_numpy(cover).ravel()).sum() / heat.sum()
            spots.append(-weight * torch.log(inside))
            evens.append(weight * even_loss(heat[None], torch.from_numpy(cover).reshape(1, -1))[0])
            weights.append(weight)
    assert float(found["words"].detach()) == pytest.approx(float(torch.stack(words).mean().detach()), rel=1e-4)
    assert float(found["match"].detach()) == pytest.approx(float(torch.stack(match).mean().detach()), rel=1e-4)
    even = float(torch.stack(evens).sum().detach()) / sum(weights)
    assert float(found["even"].detach()) == pytest.approx(even, rel=1e-4)
    assert float(found["place"].detach()) == pytest.approx(
        float(torch.stack(spots).sum().detach()) / sum(weights), rel=1e-4
    )


def test_attention_to_patches_and_padding(model, features):
    torch.manual_seed(1)
    ids = torch.randint(5, 100, (1, 6))
    patches = torch.from_numpy(features[:1]).float()
    with torch.no_grad():
        short = read(model, ids, patches)
        padded = read(model, torch.cat([ids, torch.full((1, 4), PAD)], 1), patches)
    assert short.attention.shape == (1, 6, GRID**2)
    assert float(short.attention.sum(-1).max()) < 1
    assert torch.allclose(padded.attention[:, :6], short.attention, atol=1e-6)
    assert torch.allclose(padded.match, short.match, atol=1e-5)


def test_warm_start_begins_with_the_queries_and_keys_it_is_given():
    """A word's first scores are those of the given cross-attention on its state and the averaged patches."""
    torch.manual_seed(0)
    model, attention = ViltMini(config(30, num_hidden_layers=1)).eval(), CrossModalAttention(256, num_heads=4)
    for bias in (attention.q_proj.bias, attention.k_proj.bias):
        torch.nn.init.normal_(bias, std=0.02)
    states = torch.nn.functional.layer_norm(torch.randn(30, 256), (256,)) * 1.5
    patches = torch.nn.functional.layer_norm(torch.randn(1, GRID, GRID, 256), (256,)) * 0.8
    warm_start(model, states, attention, 0.8, 0.05)
    parts = model.vilt.embeddings
    for table in (parts.text_embeddings.position_embeddings, parts.text_embeddings.token_type_embeddings):
        torch.nn.init.zeros_(table.weight)
    for table in (parts.position_embeddings, parts.token_type_embeddings.weight):
        torch.nn.init.zeros_(table)
    ids = torch.tensor([[7, 8, 9]])
    with torch.no_grad():
        expected = attention(states[ids], patches.flatten(1, 2)).probs.mean(1)
        found = read(model, ids, patches.repeat_interleave(2, 1).repeat_interleave(2, 2)).attention
    assert torch.allclose(found / found.sum(-1, keepdim=True), expected, atol=1e-4)


def test_rate_rises_then_falls():
    rates = [rate(step, 100, 10) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9]
    assert all(a > b for a, b in itertools.pairwise(rates[9:]))
    assert rates[-1] == pytest.approx(0.02, abs=1e-3)


def test_dev_figures_of_a_model_that_knows(sampler, model, features, monkeypatch):
    """An attention that lies in the box and a match that tells truth from falsehood reach the ends of their scales."""
    rows = thorough_rows(sampler, 2)
    assert {a.group for a in rows} >= {"fits", "there", "hidden", "swapped", "made up"}
    assert {a.photo for a in rows} <= {3, 4, 5, 6, 7}
    assert len(dev_rows(sampler, 1)) < len(rows)
    truth = {(float(features[a.photo, 0, 0, 0]), a.row.coded.ids): float(a.group in ("fits", "there")) for a in rows}
    inside = torch.zeros(GRID, GRID)
    inside[:, :6] = 1

    def knowing(module, ids, patches):
        real = read(module, ids, patches)
        texts = [tuple(t for t in row.tolist() if t != PAD) for row in ids]
        match = torch.tensor([truth[float(p[0, 0, 0]), text] for p, text in zip(patches, texts, strict=True)]) - 0.5
        return real._replace(match=match, attention=inside.ravel().expand(*ids.shape, -1) / 100)

    monkeypatch.setattr("crossviz.training.vilt_dev.read", knowing)
    found = measure(model, rows, sampler, features)
    assert set(FIGURES) < set(found)
    assert found["caption"] == found["alone"] == found["inside"] == pytest.approx(100, abs=1e-3)
    assert found["match_phrase"] == 1
    assert found["above 0: there"] == 100
    assert found["above 0: made up"] == 0


def test_cover_of_a_phrase_is_its_boxes_on_the_grid(photos, tokenizer):
    part = alone(tokenizer, code(tokenizer, photos[0].sentences)[0].parts[0], head=True).parts[0]
    assert part.text == "dog"
    two = SimpleNamespace(boxes=((0.0, 0.0, 10.0, 10.0), (110.0, 115.0, 120.0, 120.0)))
    cover = place(two, photos[0], False)
    assert cover[0, 0] == pytest.approx(1)
    assert cover[-1, -1] == pytest.approx(0.5)
    assert cover.sum() == pytest.approx(1.5)
    assert np.array_equal(place(two, photos[0], True), cover[:, ::-1])


def test_export_round_trip(model, tokenizer, features, tmp_path):
    """What is written gives the same as what was trained, here and through transformers' own classes."""
    from transformers import AutoTokenizer, ViltForImageAndTextRetrieval, ViltForMaskedLM

    state = {name: tensor.half().float() for name, tensor in model.state_dict().items()}
    model.load_state_dict(state)
    export(state, model.vilt.config, tokenizer, {"trained": False}, tmp_path)
    about = json.loads((tmp_path / "crossviz.json").read_text())
    assert about["kind"] == "vilt-mini"
    for name in FILES:
        assert about["sha256"][name] == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    coded = code(tokenizer, [Sentence("A brown dog runs on the left.")])[0]
    assert tuple(AutoTokenizer.from_pretrained(tmp_path)(coded.text)["input_ids"]) == coded.ids
    ids, patches = torch.tensor([coded.ids]), torch.from_numpy(features[:1]).float()
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": patches.permute(0, 3, 1, 2)}
    words = ViltForMaskedLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    fits = ViltForImageAndTextRetrieval.from_pretrained(tmp_path, dtype=torch.float32).eval()
    with torch.no_grad():
        expected, again = read(model, ids, patches), read(load(tmp_path), ids, patches)
        assert torch.allclose(again.attention, expected.attention, atol=1e-6)
        assert torch.allclose(words(**inputs).logits, model.mlm_score(expected.text), atol=1e-4)
        assert torch.allclose(fits(**inputs).logits[:, 0], expected.match, atol=1e-4)


def test_export_refuses_what_fp16_cannot_hold(model, tokenizer, tmp_path):
    state = dict(model.state_dict())
    state["rank_output.bias"] = torch.tensor([1e6])
    with pytest.raises(ValueError, match=r"rank_output\.bias does not fit fp16"):
        export(state, model.vilt.config, tokenizer, {"trained": False}, tmp_path)


def test_load_refuses_a_folder_with_other_weights(model, tokenizer, tmp_path):
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("rank_output")}
    export(state, model.vilt.config, tokenizer, {"trained": False}, tmp_path)
    with pytest.raises(ValueError, match=r"lacks \['rank_output|lacks \['mlm_score"):
        load(tmp_path)
    assert TIED in model.state_dict()
