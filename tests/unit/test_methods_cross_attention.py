"""Cross-attention read as it is: words are the means of their tokens' rows, layers are chosen, nothing is rescaled."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_models import clip_folder, mini_folder

from crossviz import Explainer
from crossviz.errors import SelectionError
from crossviz.methods.base import select_layers

CAPTION = "a frisbeeee, 犬 and the a"


@pytest.mark.parametrize("family", ["crossviz-mini", "open_clip"])
def test_a_words_map_is_the_mean_of_its_tokens_rows(family, tmp_path):
    build = mini_folder if family == "crossviz-mini" else clip_folder
    photo = np.random.default_rng(0).integers(0, 255, (90, 150, 3), dtype=np.uint8)
    found = Explainer(f"{family}:{build(tmp_path / 'm')}").explain(photo, CAPTION, "cross_attention")
    patches = found.grid.num_patches
    assert max(len(word.tokens) for word in found.words) >= 3
    for word in found.words:
        rows = torch.stack([found.record.probs[:, :, token] for token in word.tokens]).mean(0)  # layer head key
        expected = rows[..., :patches].reshape(*rows.shape[:2], found.grid.height, found.grid.width)
        assert torch.allclose(found.map.per_head[:, :, word.index], expected, atol=1e-7)
        assert torch.allclose(found.map.values[word.index], expected.mean((0, 1)), atol=1e-7)
        if found.record.has_null:
            assert torch.allclose(found.map.null_mass[:, :, word.index], rows[..., -1], atol=1e-7)
    assert found.map.token_counts == tuple(len(word.tokens) for word in found.words)
    assert (found.map.null_mass is None) == (family == "open_clip")


def test_the_same_word_twice_has_two_maps(tmp_path):
    photo = np.random.default_rng(0).integers(0, 255, (90, 150, 3), dtype=np.uint8)
    found = Explainer(f"open_clip:{clip_folder(tmp_path / 'm')}").explain(photo, "a dog and a dog")
    assert not torch.equal(found.map.values[1], found.map.values[4])


@given(st.integers(1, 9), st.data())
def test_layers_are_chosen_by_number_index_or_label(count, data):
    labels = [f"block {i + 1}" for i in range(count)]
    assert select_layers(None, labels) == list(range(count))
    last = data.draw(st.integers(1, count))
    assert select_layers(last, labels) == list(range(count))[-last:]
    chosen = data.draw(st.lists(st.integers(-count, count - 1), min_size=1))
    expected = sorted({i % count for i in chosen})
    assert select_layers(chosen, labels) == expected
    assert select_layers([labels[i] for i in chosen], labels) == expected


@pytest.mark.parametrize("layers", [0, -1, 4, [], [3], [-4], ["block 9"], "block 1", True, 1.5, [None]], ids=str)
def test_layers_that_are_not_there_are_refused(layers):
    with pytest.raises(SelectionError):
        select_layers(layers, ["block 1", "block 2", "block 3"])
