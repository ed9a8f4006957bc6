"""What is told of heads: maps with known width, place and answer, planted in explanations."""

import dataclasses
from pathlib import Path

import factories
import numpy as np
import pytest
import torch
from PIL import Image

from crossviz.evaluate.dataset import Dataset, Item, Question
from crossviz.evaluate.probes import heads
from crossviz.evaluate.probes.heads import HeadFacts, correlations, probe_heads

GRID = (4, 6)


def spike(row: int, column: int) -> np.ndarray:
    made = np.zeros(GRID, np.float32)
    made[row, column] = 1
    return made


def test_heads_that_are_copies_correlate_fully():
    noise = np.random.default_rng(0).random(GRID)
    assert correlations(np.stack([noise, noise, noise])) == pytest.approx(1)
    assert correlations(np.stack([noise, 5 * noise + 2])) == pytest.approx(1)
    assert correlations(np.stack([noise, -noise])) == pytest.approx(-1)


def test_heads_that_share_nothing_do_not_correlate():
    rng = np.random.default_rng(1)
    maps = rng.random((12, 24, 24))
    assert abs(correlations(maps)) < 0.02
    each = [np.corrcoef(maps[i].ravel(), maps[j].ravel())[0, 1] for i in range(12) for j in range(i)]
    assert correlations(maps) == pytest.approx(np.mean(each))
    assert np.isnan(correlations(np.ones((3, 4, 4)))), "flat maps have no correlation"


def test_width_and_place_of_a_map():
    facts = HeadFacts()
    facts.add(0, (), np.stack([spike(1, 0), spike(3, 5), np.ones(GRID, np.float32)]), np.full(3, 0.2))
    spread, top, across, down, null = facts.shape[0].T
    assert spread == pytest.approx([1 / 24, 1 / 24, 1])
    assert top == pytest.approx([1, 1, 2 / 24])
    # Centres: (1/12, 3/8), (11/12, 7/8), (1/2, 1/2); their mean is (1/2, 7/12).
    assert across == pytest.approx([-5 / 12, 5 / 12, 0], abs=1e-6)
    assert down == pytest.approx([3 / 8 - 7 / 12, 7 / 8 - 7 / 12, 1 / 2 - 7 / 12], abs=1e-6)
    assert null == pytest.approx([0.2, 0.2, 0.2])


class Planted:
    """Explains every text with the given heads' maps `head gh gw` and null masses, the same for all words."""

    info = type("Info", (), {"name": "planted"})()

    def __init__(self, maps, null, layers=1):
        self._maps, self._null, self._layers = torch.tensor(np.stack(maps)), torch.tensor(null), layers

    def encode(self, photo):
        return photo

    def explain(self, photo, text):
        base = factories.explanation(text, heads=len(self._maps), layers=self._layers)
        count = len(base.words)
        kept = (1 - self._null)[:, None, None] * self._maps / self._maps.sum((1, 2), keepdim=True)
        per_head = kept[None, :, None].expand(self._layers, -1, count, -1, -1)
        null = self._null[None, :, None].expand(self._layers, -1, count)
        chart = dataclasses.replace(base.map, values=per_head.mean((0, 1)), per_head=per_head, null_mass=null)
        return dataclasses.replace(base, maps={base.method: chart})


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Two photos of 60 x 40; the dog is in the left third, the zebra on the right."""
    items = []
    for n in range(2):
        path = tmp_path / f"{n}.png"
        Image.fromarray(factories.photo(seed=n).pixels).save(path)
        text = "a dog and a zebra"
        asked = (
            Question(text, (2, 5), "phrases in captions", True, ("animals",), ((0.0, 0.0, 20.0, 40.0),)),
            Question("zebra", (0, 5), "phrases alone", True, ("striped",), ((40.0, 0.0, 60.0, 40.0),)),
            Question("cat", (0, 3), "phrases alone", False),
        )
        items.append(Item(path, asked))
    return Dataset("zoo", items)


def test_each_head_is_held_against_the_answers_by_itself(dataset, monkeypatch):
    monkeypatch.setattr(heads, "KIND_PHRASES", 2)
    left, right = spike(1, 0), spike(2, 5)
    report = probe_heads(Planted([left, right], [0.1, 0.4]), dataset)
    for head, (animals, striped) in enumerate(((100, 0), (0, 100))):
        assert report[f"head {head}: points into it"].value == 50
        assert report[f"head {head}: points into it, animals"].value == animals
        assert report[f"head {head}: points into it, striped"].value == striped
        assert report[f"head {head}: patches it spreads over"].value == pytest.approx(100 / 24, rel=1e-3)
    assert report["head 0: null mass"].value == pytest.approx(0.1)
    assert report["head 1: null mass"].value == pytest.approx(0.4)
    assert report["head 1: looks to the right of the others by"].value == pytest.approx(100 * 5 / 12, rel=1e-3)
    assert report["correlation between heads, mean over pairs"].value == pytest.approx(-1 / 23, abs=1e-4)
    assert report["correlation between heads, mean over pairs"].count == 4
    assert report.sentence == "2 heads on 4 phrases of 2 photos of zoo."
    assert len(report.notes) == 2
    assert report.notes[0].startswith("Head 0: ")
    assert "gives 10% to the null key" in report.notes[0]
    assert 'better than the heads\' mean at "animals" (+50 points)' in report.notes[0]
    assert 'worse than the heads\' mean at "animals" (-50 points)' in report.notes[1]
    assert "further to the left by 42%" in report.notes[0]


def test_together_the_stronger_head_decides(dataset):
    report = probe_heads(Planted([spike(1, 0), spike(2, 5)], [0.1, 0.4]), dataset)
    assert report["all heads together: points into it"].value == 50
    report = probe_heads(Planted([np.ones(GRID, np.float32), spike(2, 5)], [0.1, 0.1]), dataset)
    assert report["head 0: points into it"].value == pytest.approx(100 / 3, abs=1), "an even map, by its ties"


def test_duplicated_heads_are_seen_to_be_copies(dataset):
    one = np.random.default_rng(2).random(GRID).astype(np.float32)
    report = probe_heads(Planted([one, one, one], [0.2, 0.2, 0.2], layers=2), dataset)
    assert report["correlation between heads, mean over pairs"].value == pytest.approx(1, abs=1e-5)
    assert len(report.notes) == 6
    assert report.notes[-1].startswith("Layer 1, head 2: ")
    assert report["layer 1, head 2: IoU at its best cut-off"].value == pytest.approx(
        report["all heads together: IoU at its best cut-off"].value
    )


def test_without_heads_or_answers_the_report_says_so(dataset):
    assert "no single heads" in probe_heads(Planted([spike(0, 0)], [0.1]), dataset).sentence
    bare = Dataset("bare", [Item(item.photo) for item in dataset.items])
    assert probe_heads(None, bare).sentence == "Not measured: no phrase of bare has a box or a mask."
