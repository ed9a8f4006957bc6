"""Retrieval: ranks in a similarity matrix made by hand, and the chance of guessing."""

from math import comb
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from crossviz.evaluate.dataset import Dataset, Item
from crossviz.evaluate.probes import retrieval
from crossviz.evaluate.probes.retrieval import chance_at, photo_ranks, probe_retrieval, text_ranks

# Three photos; captions 0 and 1 are photo 0's, 2 is photo 1's, 3 and 4 are photo 2's.
OWNER = np.array([0, 0, 1, 2, 2])
SIMILARITY = np.array(
    [
        [0.9, 0.1, 0.5, 0.8, 0.2],  # photo 0: its caption 0 is the most similar of all
        [0.6, 0.7, 0.5, 0.4, 0.3],  # photo 1: captions 0 and 1 are before its own
        [0.2, 0.9, 0.1, 0.8, 0.9],  # photo 2: caption 1 is as similar as its best
    ]
)


def test_the_rank_of_a_photos_best_caption():
    assert text_ranks(SIMILARITY, OWNER, [0, 1, 2]).tolist() == [0, 2, 1]
    assert text_ranks(SIMILARITY[1:2], OWNER, [1]).tolist() == [2]


def test_the_rank_of_a_captions_photo():
    # Caption 0: .9 first. 1: .1 behind both. 2: .5 tied with photo 1's... its own is photo 1, tied with photo 0.
    # 3: .8 tied with photo 0. 4: .9 first.
    assert photo_ranks(SIMILARITY.T, OWNER).tolist() == [0, 2, 1, 1, 0]


@pytest.mark.parametrize(("k", "own", "candidates"), [(1, 1, 10), (5, 5, 50), (10, 5, 12), (3, 2, 4)])
def test_chance_is_what_drawing_gives(k, own, candidates):
    assert chance_at(k, own, candidates) == pytest.approx(1 - comb(candidates - own, k) / comb(candidates, k))


class Towers:
    """Photos and captions as given vectors: photo number n is called n.jpg, its captions begin with n."""

    def __init__(self, photos, captions):
        self.info, self.device = SimpleNamespace(name="towers"), "cpu"
        self._photos, self._captions, self.sizes = photos, captions, []

    def encode(self, photo):
        return SimpleNamespace(embedding=self._photos[int(photo.stem)])

    def embed_texts(self, texts):
        self.sizes.append(len(texts))
        return torch.stack([self._captions[text] for text in texts])


def measured(monkeypatch, twist: float, photos: int = 30):
    rng = torch.Generator().manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(photos, 16, generator=rng), dim=-1)
    captions = {}
    for n in range(photos):
        for c in range(5):
            noise = torch.randn(16, generator=rng) * twist
            captions[f"{n} {c}"] = torch.nn.functional.normalize(vectors[n] + noise, dim=-1)
    towers = Towers(vectors, captions)
    monkeypatch.setattr(retrieval, "load_model", lambda name, device: towers)
    items = [Item(Path(f"{n}.jpg"), (), tuple(f"{n} {c}" for c in range(5))) for n in range(photos)]
    report = probe_retrieval(towers, Dataset("set", [*items, Item(Path("none.jpg"))]))
    return towers, report, vectors, captions


def test_captions_that_are_their_photos_are_always_found(monkeypatch):
    towers, report, *_ = measured(monkeypatch, 0.0)
    assert {f.value for f in report.figures if "R@" in f.name} == {100}
    assert report["photo of a caption, median rank"].value == 1
    assert report["captions of a photo, R@1"].count == 30
    assert report["photo of a caption, R@1"].count == 150
    assert sum(towers.sizes) == 150
    assert len(towers.sizes) == 1, "captions go through the text tower together"


def test_the_probe_counts_as_one_does_by_hand_whatever_the_size_of_its_blocks(monkeypatch):
    _, whole, vectors, captions = measured(monkeypatch, 0.6)
    monkeypatch.setattr(retrieval, "_ROWS", 7)
    monkeypatch.setattr(retrieval, "_TEXTS", 11)
    _, parts, *_ = measured(monkeypatch, 0.6)
    assert parts.figures == whole.figures
    hits = 0
    for text, vector in captions.items():
        order = (vectors @ vector).argsort(descending=True).tolist()
        hits += int(text.split()[0]) in order[:5]
    assert whole["photo of a caption, R@5"].value == pytest.approx(100 * hits / 150)
    assert 20 < whole["photo of a caption, R@5"].value < 100
    assert whole["photo of a caption, R@5"].chance == pytest.approx(100 * 5 / 30)
    assert whole["photo of a caption, R@1"].value <= whole["photo of a caption, R@5"].value


def test_a_set_without_captions_says_so():
    report = probe_retrieval(None, Dataset("mine", [Item(Path("a.jpg")), Item(Path("b.jpg"))]))
    assert report.sentence == "Not measured: mine has no two photos with captions."


def test_a_model_without_embeddings_says_so_at_its_first_photo():
    encoded = []

    class Joint:
        info = SimpleNamespace(name="joint")

        def encode(self, photo):
            encoded.append(photo)
            return SimpleNamespace(embedding=None)

    items = [Item(Path(f"{n}.jpg"), (), ("a caption",)) for n in range(3)]
    report = probe_retrieval(Joint(), Dataset("set", items))
    assert report.sentence.startswith("Not measured: joint has no embeddings") and not report.figures
    assert len(encoded) == 1
