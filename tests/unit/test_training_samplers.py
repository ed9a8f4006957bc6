"""What training asks of pictures nobody labelled: the detector's finds, pictures of nothing, words of nothing."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from crossviz import compat

compat.ensure_torchvision()

from crossviz.evaluate.records import Phrase, Sentence  # noqa: E402
from crossviz.training.batches import ABSENT, PRESENT, Sample  # noqa: E402
from crossviz.training.detected import DetectedSampler  # noqa: E402
from crossviz.training.detector import COCO_NAMES, KEPT  # noqa: E402
from crossviz.training.empty import EMPTY, EmptySampler, empty_picture  # noqa: E402
from crossviz.training.features import Features  # noqa: E402
from crossviz.training.flickr import FlickrSampler, code_sentences  # noqa: E402
from crossviz.training.model import Tokenizer  # noqa: E402
from crossviz.training.nonsense import Nonsense  # noqa: E402
from crossviz.training.train import follow  # noqa: E402

CAPTION = "A man walks past a parked truck."
KNOWN_WORDS = {"stranger", "manager", "danger", "mandarin", "standing", "sandals"}
"""Enough shared letter pairs to make new words of; of a few words without any, `Nonsense` would look for ever."""


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer()


@pytest.fixture(scope="module")
def flickr(tokenizer):
    """One photo of a Flickr8k sampler, made without the set."""
    sentence = Sentence(CAPTION, (Phrase(0, 5, ("people",), ((0.0, 0.0, 10.0, 20.0),)),))
    view = SimpleNamespace(photo=SimpleNamespace(sentences=(sentence,)))
    sampler = FlickrSampler.__new__(FlickrSampler)
    sampler.tokenizer, sampler.rows, sampler.views = tokenizer, [0], {"flickr": [view]}
    sampler.sentences = [code_sentences((sentence,), tokenizer)]
    sampler.nonsense = Nonsense(KNOWN_WORDS, lambda word: False)
    return sampler


def detections(*rows):
    """Features of one whole photo and two crops of it, the same in each: rows of name, score and box."""
    found, best = np.zeros((3, KEPT, 6), np.float16), np.full((3, 80), 0.01, np.float16)
    for i, (name, score, box) in enumerate(rows):
        number = COCO_NAMES.index(name)
        found[:, i] = (*box, score, number)
        best[:, number] = np.maximum(best[:, number], score)
    nothing = np.zeros(0)
    whole = Features(nothing, nothing, found[:1], best[:1])
    return {"flickr": whole, "flickr_crops": Features(nothing, nothing, found[1:], best[1:])}


def texts(sample, kind, tokenizer):
    return [
        " ".join(tokenizer.word_of_token(sample.texts[ask.text][t]) for t in ask.tokens)
        for ask in sample.asks
        if ask.kind == kind
    ]


def test_sure_finds_are_there_and_their_less_sure_likes_count(tmp_path, tokenizer, flickr):
    boxes = [(0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0), (0.5, 0.0, 1.0, 0.5), (0.0, 0.5, 0.5, 1.0)]
    rows = [("dog", 0.8, boxes[0]), ("dog", 0.35, boxes[1]), ("dog", 0.2, boxes[2]), ("cup", 0.4, boxes[3])]
    sampler = DetectedSampler(tmp_path, tokenizer, flickr, detections(*rows))
    assert [sampler.place(row) for row in sampler.rows] == [("flickr", 0), ("flickr_crops", 0), ("flickr_crops", 1)]
    known = sampler.look(0)
    assert "dog" in known.covers
    assert known.covers["dog"][:12, :12].min() == 1
    assert known.covers["dog"][12:, 12:].min() == 1
    assert known.covers["dog"][:12, 12:].max() == 0
    assert "cup" not in known.covers
    assert not {"dog", "giraffe"} & set(known.absent)  # one animal is too like another to be its opposite
    assert not {"cup", "mug"} & set(known.absent)
    assert {"banana", "toilet"} <= set(known.absent)


def test_what_captions_name_and_people_are_never_absent(tmp_path, tokenizer, flickr):
    sampler = DetectedSampler(tmp_path, tokenizer, flickr, detections(("dog", 0.8, (0, 0, 1, 1))))
    for row in range(3):
        absent = sampler.look(row).absent
        assert "bus" in absent
        assert not {"truck", "person"} & set(absent)


def test_photos_without_a_sure_find_are_left_out(tmp_path, tokenizer, flickr):
    sampler = DetectedSampler(tmp_path, tokenizer, flickr, detections(("dog", 0.4, (0, 0, 1, 1))))
    assert sampler.rows == []


def test_drawn_finds_are_asked_for_by_their_names(tmp_path, tokenizer, flickr):
    sampler = DetectedSampler(tmp_path, tokenizer, flickr, detections(("dog", 0.8, (0, 0, 0.5, 1))))
    (sample,) = sampler.draw([2], random.Random(0))
    assert (sample.source, sample.row) == ("flickr_crops", 1)
    assert any(text.split()[-1] == "dog" for text in texts(sample, PRESENT, tokenizer))
    assert all(ask.cover[:, :12].all() and not ask.cover[:, 12:].any() for ask in sample.asks if ask.kind == PRESENT)


def test_everything_is_absent_from_pictures_of_nothing(tokenizer, flickr):
    sampler = EmptySampler(flickr, SimpleNamespace(rarity={"chair": 1.0, "sky": 1.0}))
    samples = sampler.draw(list(range(8)), random.Random(0))
    asked = {text.split()[-1] for sample in samples for text in texts(sample, ABSENT, tokenizer)}
    assert {"man", "chair", "sky"} <= asked
    assert all(ask.kind == ABSENT for sample in samples for ask in sample.asks)
    assert all(any(ask.text == 0 for ask in sample.asks) for sample in samples)  # the caption's own phrases
    assert [(s.source, s.row) for s in samples] == [("empty", row) for row in range(8)]


def test_pictures_of_nothing_are_flat_even_or_noise():
    flat, slope, noise = (empty_picture(number).astype(float) for number in (3, 4, 5))
    assert (flat == flat[0, 0]).all()
    assert np.abs(np.diff(slope, axis=0)).max() <= 2
    assert np.ptp(slope, axis=(0, 1)).max() > 20
    assert np.abs(np.diff(noise, axis=0)).max() > 2
    assert (noise.std((0, 1)) > 2).all()
    assert len({empty_picture(number).tobytes() for number in range(EMPTY)}) == EMPTY
    assert np.array_equal(empty_picture(7), empty_picture(7))


def test_words_of_nothing_are_asked_as_absent(tokenizer, flickr):
    known = {tuple(tokenizer(article + word)[0]) for article in ("", "a ", "the ") for word in KNOWN_WORDS}
    for seed in range(30):
        sample = Sample("flickr", 0, False)
        flickr._add_nonsense(sample, random.Random(seed))
        (ask,), (ids,) = sample.asks, sample.texts
        assert ask.kind == ABSENT
        assert ask.tokens == tuple(range(len(ids)))
        assert ids
        assert ids not in known


def test_the_average_follows_what_is_trained_only():
    now, average = nn.Linear(2, 2), nn.Linear(2, 2)
    now.bias.requires_grad_(False)
    before = [p.detach().clone() for p in average.parameters()]
    for _ in range(3):
        follow(average, now, 0.5)
    weight, bias = average.parameters()
    assert torch.allclose(weight, now.weight + 0.125 * (before[0] - now.weight), atol=1e-6)
    assert torch.equal(bias, before[1])
