"""Chefer's relevance against its equations written out with whole matrices, differences in the place of gradients."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_towers import CAPTION, Loop, Tiny, slopes

from crossviz.errors import SelectionError, UnsupportedMethodError
from crossviz.geometry import PatchGrid
from crossviz.methods.chefer import Chefer, mixed
from crossviz.methods.relevance import accumulated, normalised
from crossviz.results import AttentionRecord
from crossviz.trace import CrossPass
from crossviz.words import make_caption

TOWERS = {
    "class token": Tiny(),
    "average": Tiny(pool="avg", prefix=0, seed=1),
    "average, with registers": Tiny(pool="avg", prefix=2, seed=2),
    "attention pooler": Tiny(pool="attention", prefix=0, seed=3),
    "attention pooler, class token": Tiny(pool="attention", prefix=1, seed=4),
}


def bar(relevance: np.ndarray) -> np.ndarray:
    """Eqs. 8 and 9, row by row."""
    rest = relevance - np.eye(len(relevance))
    return np.eye(len(relevance)) + np.array([row / row.sum() if row.sum() else row * 0 for row in rest])


def piled(parts: list[np.ndarray]) -> np.ndarray:
    """Eq. 6 from the identity on."""
    relevance = np.eye(len(parts[0]))
    for part in parts:
        relevance = relevance + part @ relevance
    return relevance


def naive(tiny: Tiny, word: str, layers: list[int]) -> np.ndarray:
    loop = Loop(tiny)
    loop.score(word)
    pooled = tiny.pool == "attention"
    parts = {
        layer: np.maximum(slopes(tiny, layer, word) * loop.probs[layer], 0).mean(0)
        for layer in [*layers, *([-1] if pooled else [])]
    }
    relevance = piled([parts[layer] for layer in layers])
    if pooled:
        row = (parts[-1] @ bar(relevance))[0]
    elif tiny.pool == "token":
        row = relevance[0]
    else:
        row = (relevance - np.eye(tiny.tokens))[tiny.prefix :].mean(0)
    return row[tiny.prefix :].reshape(tiny.grid_hw)


@pytest.mark.parametrize("name", TOWERS)
@pytest.mark.parametrize("layers", [[0, 1], [1]], ids=str)
def test_the_map_of_a_tower_is_the_papers(name, layers):
    tiny = TOWERS[name]
    found = Chefer()(tiny.trace(), layers)
    for place, word in enumerate(CAPTION.split()[:2]):
        expected = naive(tiny, word, layers)
        assert expected.max() > 1e-4, "an oracle of zeros would prove nothing"
        assert np.allclose(found.map.values[place], expected, rtol=1e-4, atol=1e-8)
    assert found.map.per_head is None
    assert found.map.params["layers"] == [f"block {i + 1}" for i in layers]


def test_one_plain_block_gives_attention_times_value():
    tiny = Tiny(depth=1, heads=1, head_dim=4, plain=True)
    tiny.weights |= {"project": np.eye(4), "o0": np.eye(4)}
    loop = Loop(tiny)
    loop.score("dog")
    expected = np.maximum(loop.probs[0][0, 0] * (loop.values[0] @ tiny.texts["dog"]), 0)[1:]
    assert (expected > 0).any() and (expected == 0).any()
    assert np.allclose(Chefer()(tiny.trace()).map.values[0].flatten(), expected, rtol=1e-5)


class Cross:
    """Text with two layers of attention, over patches of 3 x 4 that a tower of 1 x 2 makes; float64."""

    tiny = Tiny(prefix=1, grid_hw=(1, 2), seed=7)
    caption = make_caption(
        "treehouse dog",
        [(1, "<", None, None), (2, "tree", 0, 4), (3, "house", 4, 9), (4, "dog", 10, 13), (5, ">", None, None)],
    )
    fine = PatchGrid(3, 4)

    def __init__(self, null: bool, by_null: bool) -> None:
        rng = torch.Generator().manual_seed(8)
        self.null, self.by_null, self.kept = null, by_null, {}
        make = lambda *shape: torch.randn(*shape, generator=rng, dtype=torch.float64)  # noqa: E731
        self.states = make(5, 6)
        self.text = [SimpleNamespace(q=make(2, 6, 3), k=make(2, 6, 3), v=make(2, 6, 3), o=make(6, 6)) for _ in range(2)]
        self.q, self.k, self.nothing, self.detail = make(2, 6, 3), make(2, 6, 3), make(2, 3), make(12, 6)

    def features(self, x, beside=None):
        patches = x[:, 1:].transpose(1, 2).unflatten(2, (1, 2)).repeat_interleave(3, 2).repeat_interleave(2, 3)
        return torch.tanh(patches + self.detail.T.reshape(1, 6, 3, 4))

    def run(self, features, nudge=None):
        """`nudge`: what to add to the probabilities of the text layers 0 and 1 and of the cross-attention, 2."""
        x = self.states.clone().requires_grad_(True)
        kept = []
        for i, layer in enumerate(self.text):
            scores = (x @ layer.q) @ (x @ layer.k).transpose(1, 2)
            probs = torch.softmax(scores / 4, -1)
            probs = probs if nudge is None or nudge[0] != i else probs + nudge[1]
            kept.append(probs)
            x = torch.tanh(x + torch.cat(list(probs @ (x @ layer.v)), -1) @ layer.o)
        queries, keys = x @ self.q, features.flatten(2)[0].T @ self.k
        scores = queries @ keys.transpose(1, 2)
        if self.null:
            scores = torch.cat([scores, queries @ self.nothing[:, :, None]], -1)
        probs = torch.softmax(scores / 3, -1)
        probs = probs if nudge is None or nudge[0] != 2 else probs + nudge[1]
        layered = probs[None, None]

        def score(phrases):
            found = []
            for phrase in phrases:
                tokens = [token for word in phrase.words for token in self.caption.words[word].tokens]
                rows = layered[0, 0, :, tokens].mean((0, 1))
                if not self.null:
                    found.append((rows * torch.linspace(-1, 2, 12, dtype=rows.dtype)).sum())
                else:
                    share = 1 - rows[-1] if self.by_null else rows[:-1].sum()
                    found.append(torch.log(share) - torch.log(1 - share))
            return torch.stack(found)[None]

        return CrossPass(layered, ("cross",), self.null, tuple(kept), score)

    def trace(self):
        trace = self.tiny.trace(
            self.caption,
            self.fine,
            self.run,
            features=self.features,
            readout=lambda x, beside, features: features,
        )
        probs = torch.full((1, 1, 5, 13), 1 / 13)
        shown = SimpleNamespace(scores=probs.log(), probs=probs, layers=("cross",), has_null=self.null)
        return trace.__class__(**{**vars(trace), "provides": {**trace.provides, "cross_attention": lambda: shown}})

    def seen(self, image=None):
        """The feature map by the tower in numpy, with one of its probabilities changed."""
        if image not in self.kept:
            self.kept = {image: self.features(torch.from_numpy(Loop(self.tiny, image).after(2))[None])}
        return self.kept[image]

    def score(self, phrase, image=None, nudge=None):
        return float(self.run(self.seen(image), nudge).score([phrase])[0, 0].detach())

    def naive(self, word: int) -> np.ndarray:
        """Every matrix of the paper as it stands, on the fine grid; gradients are differences."""
        phrase, step = self.caption.phrase(word=word), 1e-5
        loop = Loop(self.tiny)
        loop.after(2)
        passed = self.run(self.seen())

        def slope(layer, shape, place):
            push = torch.zeros(shape, dtype=torch.float64)
            push[place] = step
            if layer == 2 and self.null:
                push[(*place[:2], -1)] -= step  # a row stays a distribution
            up, down = (self.score(phrase, None, (layer, sign * push)) for sign in (1, -1))
            return (up - down) / (2 * step)

        image = []
        for layer in (0, 1):
            grads = np.zeros_like(loop.probs[layer])
            for place in np.ndindex(grads.shape):
                ends = [self.score(phrase, (layer, *place, sign * step)) for sign in (1, -1)]
                grads[place] = (ends[0] - ends[1]) / (2 * step)
            image.append(np.maximum(grads * loop.probs[layer], 0).mean(0))
        every = []
        for layer, probs in enumerate([*passed.text_probs, passed.probs[0, 0]]):
            probs = probs.detach()
            patches = [p for p in np.ndindex(tuple(probs.shape)) if layer < 2 or p[2] < 12]
            grads = np.zeros(tuple(probs.shape))
            for place in patches:
                grads[place] = slope(layer, probs.shape, place)
            every.append(np.maximum(grads * probs.numpy(), 0).mean(0))
        coarse = bar(piled(image))
        whole = np.eye(12)
        for a in range(12):
            for b in range(12):
                at, to = ((p % 4) // 2 for p in (a, b))
                whole[a, b] += (coarse - np.eye(3))[1 + at, 1 + to] / 6
        assert np.all(whole.sum(1) <= 2 + 1e-9)
        relevance = bar(piled(every[:2])).T @ every[2][:, :12] @ whole
        return relevance[list(self.caption.words[word].tokens)].mean(0).reshape(3, 4)


@pytest.mark.parametrize("null", [True, False])
def test_the_map_of_a_cross_attention_is_the_papers_on_the_finer_grid(null):
    cross = Cross(null, by_null=True)
    found = Chefer()(cross.trace())
    for word in (0, 1):
        expected = cross.naive(word)
        assert expected.max() > 1e-4
        assert np.allclose(found.map.values[word], expected, rtol=1e-4, atol=1e-8)
    assert isinstance(found.record, AttentionRecord) and found.record.query_kind == "text tokens"
    assert found.map.params["cross_layers"] == ["cross"] and found.map.params["text_layers"] == 2


def test_it_does_not_matter_how_the_match_is_written():
    maps = [Chefer()(Cross(True, by_null).trace()).map.values for by_null in (True, False)]
    assert maps[0].min() > 0 and torch.allclose(*maps, rtol=1e-4)


def test_rows_without_relevance_stay_zero():
    rest = torch.tensor([[0.0, 0.0, 0.0], [1.0, 3.0, 0.0], [1e-30, 0.0, 0.0]])
    assert torch.equal(normalised(rest), torch.tensor([[0.0, 0, 0], [0.25, 0.75, 0], [1.0, 0, 0]]))
    parts = list(torch.rand(3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    assert np.allclose(accumulated(parts) + torch.eye(5), piled([part.numpy() for part in parts]))


def test_relevance_keeps_its_sum_on_the_way_to_a_finer_grid():
    coarse, fine = PatchGrid(2, 3, 1), PatchGrid(4, 9)
    rng = torch.Generator().manual_seed(0)
    looked = torch.rand(5, 36, generator=rng, dtype=torch.float64)
    rest = torch.rand(7, 7, generator=rng, dtype=torch.float64)
    rest[:, 0] = 0  # nothing goes to the class token, so that nothing is left out
    added = mixed(looked, normalised(rest), coarse, fine)
    assert torch.allclose(added.sum(1), looked.sum(1))
    cells = added.reshape(5, 2, 2, 3, 3)
    assert torch.allclose(cells, cells[:, :, :1, :, :1].expand_as(cells)), "the cells of a coarse patch share evenly"
    same = mixed(looked[:, :6], normalised(rest), coarse, PatchGrid(2, 3))
    assert torch.allclose(same, looked[:, :6] @ normalised(rest)[1:, 1:])


def test_layers_and_towers_that_are_not_there_are_refused():
    tiny = Tiny()
    with pytest.raises(SelectionError):
        Chefer()(tiny.trace(), ["block 3"])
    with pytest.raises(UnsupportedMethodError, match="it is made of convolutions"):
        Chefer()(tiny.trace(blocks=()))
