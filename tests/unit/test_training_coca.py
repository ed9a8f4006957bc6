"""coca-mini's training on made-up data: its own forward against open_clip's, maps, losses, batches, vocabulary."""

import csv
import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from crossviz import compat

compat.ensure_torchvision()

from crossviz.evaluate.records import Phrase, Sentence  # noqa: E402
from crossviz.models import load_model  # noqa: E402
from crossviz.models.coca_mini import build_coca  # noqa: E402
from crossviz.paths import assets_dir  # noqa: E402
from crossviz.photo import load_photo  # noqa: E402
from crossviz.training import coca  # noqa: E402
from crossviz.training.coca_batches import Ask, Sampler, collate  # noqa: E402
from crossviz.training.coca_dev import greedy, pointed  # noqa: E402
from crossviz.training.coca_figures import bleu, named  # noqa: E402
from crossviz.training.coca_forward import attend, compose, forward, image_side, writing_rows  # noqa: E402
from crossviz.training.coca_losses import LOSSES, losses, place_losses, word_loss  # noqa: E402
from crossviz.training.coca_model import model_cfg, start, word_states  # noqa: E402
from crossviz.training.coca_words import CONTEXT, Words, train_merges, write_merges  # noqa: E402
from crossviz.training.config import load_config  # noqa: E402
from crossviz.training.data import Photo  # noqa: E402
from crossviz.training.train import follow  # noqa: E402

TEXTS = ["a dog runs left", "a small dog jumps", "the dogs' ball , a man's hat", "naïve café !"] * 20


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    path = tmp_path_factory.mktemp("words") / "bpe_vocab.txt.gz"
    write_merges(train_merges(TEXTS, 540), path)
    return Words(path)


@pytest.fixture(scope="module")
def module(words):
    torch.manual_seed(0)
    config = model_cfg(words.size)
    config["text_cfg"]["layers"] = config["multimodal_cfg"]["layers"] = 2
    return build_coca(config).eval()


@pytest.fixture(scope="module")
def patches():
    return torch.randn(3, 576, 256, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    box = ((0.0, 0.0, 112.0, 112.0),)
    sentence = Sentence("A dog runs left .", (Phrase(0, 5, ("animals",), box),))
    other = Sentence("A small dog jumps .", (Phrase(0, 11, ("animals",), box),))
    folder = tmp_path_factory.mktemp("photos")
    return [Photo(folder / f"{i}.png", 224, 224, "train", (sentence, other)) for i in range(4)]


def ids_of(words, *texts):
    return collate([[tuple(words(text)[0])] for text in texts], [[] for _ in texts], words).ids


def test_the_forward_is_open_clips(module, words, patches):
    ids = ids_of(words, "a dog runs", "a small dog jumps left", "!")
    with torch.no_grad():
        image = image_side(module.visual.trunk, patches)
        found = forward(module, image, ids)
        own = module(patches, F.pad(ids, (0, CONTEXT - ids.shape[1])), output_labels=False)
        logits = found.states @ module.text_decoder.text_projection
    real = ids != 0
    assert torch.allclose(logits[real], own["logits"][:, : ids.shape[1]][real], atol=1e-4)
    assert torch.allclose(F.normalize(found.latent, dim=-1), own["text_features"], atol=1e-5)
    assert torch.allclose(F.normalize(image.latent, dim=-1), own["image_features"], atol=1e-5)


def test_several_texts_of_a_photo_are_as_each_by_itself(module, words, patches):
    both = collate([[tuple(words(t)[0]) for t in ("a dog", "a small dog jumps")]], [[]], words).ids
    with torch.no_grad():
        image = image_side(module.visual.trunk, patches[:1])
        together = forward(module, image, both)
        alone = forward(module, image, both[1:])
    length = both.shape[1]
    assert torch.allclose(together.cross[0, length:], alone.cross[0], atol=1e-6)
    assert torch.allclose(together.states[0, length:], alone.states[0], atol=1e-4)


def test_rows_of_every_part_and_of_the_composition_sum_to_one(module, words, patches):
    texts = [[tuple(words("a dog runs")[0])]] * 3
    asks = [[Ask(0, (0, 1), np.ones((24, 24)))]] * 3
    batch = collate(texts, asks, words)
    with torch.no_grad():
        image = image_side(module.visual.trunk, patches)
        cross = forward(module, image, batch.ids).cross
        shown = compose(batch.weights, cross, image.probs)
    for rows in (image.probs, cross, shown):
        assert torch.allclose(rows.sum(-1), torch.ones(rows.shape[:-1]), atol=1e-5)
    assert image.probs.shape == (3, 64, 576)  # the query that makes the photo's embedding is not among them
    one = (cross[0, 1] + cross[0, 2]) / 2 @ image.probs[0]
    assert torch.allclose(shown[0, 0], one, atol=1e-6)


def test_the_losses_of_places_are_means_over_the_marked_phrases(module, words, patches):
    cover = np.zeros((24, 24), np.float32)
    cover[:12, :12] = 1
    texts = [[tuple(words("a dog runs")[0])], [tuple(words("a small dog")[0])]]
    batch = collate(texts, [[Ask(0, (1,), cover), Ask(0, (2,), 1 - cover)], [Ask(0, (1, 2), cover)]], words)
    with torch.no_grad():
        image = image_side(module.visual.trunk, patches[:2])
        found = forward(module, image, batch.ids)
        reading, writing, even = place_losses(image, found, batch)
    rows = found.cross @ image.probs  # photo position patch
    mask = torch.from_numpy(cover).flatten()
    # The start mark is position 0, so token i of a text is read at i + 1 and written at i.
    asked = [(0, [2], mask), (0, [3], 1 - mask), (1, [2, 3], mask)]
    inside = [-(rows[photo, at].mean(0) * where).sum().log().item() for photo, at, where in asked]
    before = [-(rows[photo, [i - 1 for i in at]].mean(0) * where).sum().log().item() for photo, at, where in asked]
    spread = [
        -(where / where.sum() * (rows[photo, at].mean(0) * where.sum())[where > 0].log().mean()).sum().item()
        for photo, at, where in asked
    ]
    assert reading.item() == pytest.approx(sum(inside) / 3, rel=1e-4)
    assert writing.item() == pytest.approx(sum(before) / 3, rel=1e-4)
    assert even.item() == pytest.approx(sum(spread) / 3, rel=1e-2)


def test_writing_rows_are_the_positions_before():
    length = 6
    weights = torch.zeros(1, 2, 2 * length)
    weights[0, 0, [1, 2]] = 0.5  # the first text's first two tokens: the start mark writes the first
    weights[0, 1, length + 3] = 1.0
    moved = writing_rows(weights, length)
    assert moved[0, 0].nonzero().flatten().tolist() == [0, 1]
    assert moved[0, 1].nonzero().flatten().tolist() == [length + 2]
    assert torch.equal(moved.sum(-1), weights.sum(-1))


def test_the_word_loss_counts_every_token_and_the_end_and_no_padding(words):
    ids = ids_of(words, "a dog", "a small dog jumps left")
    torch.manual_seed(3)
    states, projection = torch.randn(2, ids.shape[1], 8), torch.randn(8, words.size)
    total, count = 0.0, 0
    for row, state in zip(ids, states, strict=True):
        end = row.tolist().index(words.end)
        for place in range(1, end + 1):
            logits = state[place - 1] @ projection
            total += float(torch.logsumexp(logits, 0) - logits[row[place]])
            count += 1
    assert word_loss(states, projection, ids).item() == pytest.approx(total / count, rel=1e-5)


def test_a_batch_mirrors_photo_and_boxes_together_and_never_says_left_then(photos, words):
    maps = np.zeros((4, 24, 24, 256), np.float16)
    maps[:, :12, :12] = 1  # what the boxes of every phrase cover
    sampler, rng, mirrored = Sampler(photos, maps, words, alone=2), random.Random(0), set()
    left = words("left")[0][0]
    for _ in range(8):
        batch = sampler.draw([0, 1, 2, 3], rng)
        for i in range(4):
            shown = batch.patches[i, :, 0].float()
            mirrored.add(bool(shown[23]))
            for texts in (batch.captions, batch.alone):
                for cover, asked in zip(texts.covers[i], texts.asked[i], strict=True):
                    assert not asked or torch.equal(cover, shown)
            if shown[23]:
                assert left not in batch.captions.ids[i].tolist()
        assert torch.allclose(batch.captions.weights.sum(-1), batch.captions.asked.float())
    assert mirrored == {True, False}


def test_a_photo_loses_whole_channels_and_another_photo_others(photos, words):
    maps = np.ones((4, 24, 24, 256), np.float16)
    patches = Sampler(photos, maps, words, alone=1, channels=0.25).draw([0, 1, 2, 3], random.Random(0)).patches
    assert torch.equal(patches, patches[:, :1].expand_as(patches)), "a channel is there in all patches or in none"
    assert {float(value) for value in patches.unique()} == {0.0, 1.0}
    assert 0.65 < float(patches.mean()) < 0.85
    assert not torch.equal(patches[0], patches[1])
    whole = Sampler(photos, maps, words, alone=1).draw([0, 1, 2, 3], random.Random(0)).patches
    assert bool((whole == 1).all())


def test_a_few_steps_lower_every_loss(photos, words):
    torch.manual_seed(0)
    config = model_cfg(words.size)
    config["text_cfg"]["layers"] = config["multimodal_cfg"]["layers"] = 1
    learner = build_coca(config)
    generator = np.random.default_rng(0)
    maps = generator.standard_normal((4, 24, 24, 256)).astype(np.float16)
    maps[:, :12, :12, :8] += 3
    batch = Sampler(photos, maps, words, alone=1).draw([0, 1, 2, 3], random.Random(1))
    batch = batch._replace(patches=batch.patches.float())
    optimizer = torch.optim.AdamW(learner.parameters(), lr=1e-3)
    first = losses(learner, batch)
    assert tuple(first) == LOSSES
    for _ in range(12):
        parts = losses(learner, batch)
        optimizer.zero_grad()
        sum(parts.values()).backward()
        optimizer.step()
    last = losses(learner, batch)
    assert all(last[name] < first[name] for name in ("words", "reading", "writing", "alone"))


def test_the_vocabulary_brings_texts_back_and_holds_whole_words(words):
    for text in ("a dog runs left", "naïve café !", "an unseen zebra , 47 ☃"):
        assert words.text(words(text)[0]).split() == [text[s:e] for s, e in unique(words(text)[1])]
    assert len(words("dog")[0]) == 1 and words.size == len(set(words._bpe.encoder.values())) <= 540


def unique(spans):
    return list(dict.fromkeys(spans))


def test_a_long_text_is_cut_with_room_for_a_pad(words):
    assert len(words("dog " * 90)[0]) == CONTEXT - 3


def test_pointing_counts_the_centre_of_the_highest_patch(photos):
    shown = torch.zeros(576)
    shown[11 * 24 + 11] = 1
    assert pointed(shown, ((0.0, 0.0, 112.0, 112.0),), photos[0])
    assert not pointed(shown.roll(1), ((0.0, 0.0, 112.0, 112.0),), photos[0])


def test_greedy_text_is_what_the_module_itself_thinks_most_probable(module, words, patches):
    with torch.no_grad():
        image = image_side(module.visual.trunk, patches[:1])
        text = greedy(module, image, words, longest=5)
        ids = torch.tensor([[words.start]])
        for _ in range(5):
            logits = module(patches[:1], ids, output_labels=False)["logits"][:, -1]
            ids = torch.cat([ids, logits.argmax(1, keepdim=True)], 1)
            if ids[0, -1] == words.end:
                break
    assert text == words.text(ids[0].tolist())


def test_the_average_follows(module):
    import copy

    slow = copy.deepcopy(module)
    with torch.no_grad():
        slow.logit_scale.fill_(0.0)
    follow(slow, module, 0.75)
    assert slow.logit_scale.item() == pytest.approx(0.25 * module.logit_scale.item())


def test_bleu_and_named_words_by_hand():
    references = [["a dog runs on the grass .", "the brown dog runs ."]]
    assert bleu(["a dog runs on the grass ."], references) == pytest.approx(100)
    # 1-grams 4 of 5, 2-grams 3 of 4, 3-grams 2 of 3, 4-grams 1 of 2; as long as the nearer reference
    assert bleu(["a dog runs on cheese"], references) == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    assert bleu(["cheese"], references) == 0
    assert named(["a brown cat runs"], references) == pytest.approx(100 * 2 / 3)


@pytest.fixture(scope="module")
def run(words, tmp_path_factory):
    """A run of three steps on made-up photos, from crossviz-mini's own start; its trainer and its folders."""
    data, patches, work = (tmp_path_factory.mktemp(name) for name in ("data", "patches", "work"))
    (data / "flickr8k_entities").mkdir()
    boxes = [{"label": "dog", "xyxy": [0, 0, 112, 112], "id": "1", "type": ["animals"]}]
    phrases, rows = ("A small dog", "The blue sky", "Two men", "A ball"), []
    for i, (phrase, split) in enumerate(zip(phrases, ("train", "train", "train", "dev"), strict=True)):
        told = {"text": f"{phrase} jumps .", "spans": [{"start": 0, "end": len(phrase), "id": "1"}]}
        size = {"image": f"{i}.png", "width": 224, "height": 224}
        rows.append(size | {"split": split, "boxes": boxes, "grounded": [told]})
    (data / "flickr8k_entities" / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    maps = np.random.default_rng(0).standard_normal((4, 24, 24, 256)).astype(np.float16)
    np.save(patches / "patches.npy", maps)
    (patches / "patches.txt").write_text("4")
    write_merges(words._bpe.bpe_ranks, work / "bpe_vocab.txt.gz")
    config = load_config(Path(coca.__file__).with_name("coca_mini.toml"))
    config |= {"steps": 3, "batch": 2, "warmup": 1, "save_every": 2, "dev_every": 3, "minutes": 60}
    trainer = coca.Trainer(data, patches, work, config)
    before = {name: value.clone() for name, value in trainer.module.state_dict().items()}
    trainer.run()
    return trainer, before, (data, patches, work)


def test_a_run_ends_by_its_steps_and_writes_its_logs(run):
    trainer, before, (_, _, work) = run
    assert trainer.step == 3 and trainer._done() == 1
    after = trainer.module.state_dict()
    still = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert still == {"visual.trunk.pooler.ln_k.weight", "visual.trunk.pooler.ln_k.bias"}
    with open(work / "dev.csv", newline="") as file:
        (dev,) = csv.DictReader(file)
    assert dev["step"] == "3" and all(math.isfinite(float(value)) for value in dev.values())


def test_a_run_goes_on_from_its_checkpoint(run):
    trainer, _, folders = run
    again = coca.Trainer(*folders, trainer.config, resume=True)
    assert again.step == 3 and again.seconds == trainer.seconds
    for one, other in ((again.module, trainer.module), (again.average, trainer.average)):
        for name, value in other.state_dict().items():
            assert torch.equal(value, one.state_dict()[name]), name


def test_the_start_matches_words_and_patches_as_crossviz_mini_does(words):
    """A query that is a word's state, and the patches of a photo, meet in the pooler as they meet in crossviz-mini."""
    mini = load_model("crossviz-mini", "cpu")
    with Image.open(assets_dir() / "examples" / "cat.jpg") as image:
        patches = mini.encode_image(load_photo(np.asarray(image.convert("RGB")))).features["patches"]
    told = ["a cat", "a dog", "the sky", "a chair"] * 20
    begun = start(mini, words, told, patches)
    attention = mini.module["attention"]
    with torch.no_grad():
        states = word_states(mini, told[:4])
        q, k = attention.q_proj(states), attention.k_proj(patches)
        own = (q.unflatten(1, (4, -1)).transpose(0, 1) @ k.unflatten(1, (4, -1)).permute(1, 2, 0) / 8).softmax(-1)
        pooler = begun.visual.trunk.pooler
        pooler.query[:4] = states
        _, probs = attend(pooler.attn, pooler.ln_q(pooler.query)[None], pooler.ln_k(patches[None]))
    for mine, theirs in zip(probs[0, :, :4].mean(0), own.mean(0), strict=True):
        assert torch.corrcoef(torch.stack([mine, theirs]))[0, 1] > 0.95
