"""Chefer's relevance in cross-modal layers against its equations entry by entry, with differences as gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_graphs import CAPTION, DEPTH, GRID, TOKENS, TinyGraph, tokens_of
from tiny_towers import Tiny

from crossviz.errors import SelectionError, UnsupportedMethodError
from crossviz.methods.chefer import Chefer


def a_bar(tiny: TinyGraph, kind: str, layer: int, tokens: list[int]) -> np.ndarray:
    """Eq. 5, entry by entry."""
    probs, grads = tiny.slopes(kind, layer, tokens)
    found = np.zeros(probs.shape[1:])
    for row in range(found.shape[0]):
        for column in range(found.shape[1]):
            found[row, column] = np.mean(
                [max(p[row, column] * g[row, column], 0) for p, g in zip(probs, grads, strict=True)]
            )
    return found


def times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.array([[sum(a[i, k] * b[k, j] for k in range(len(b))) for j in range(b.shape[1])] for i in range(len(a))])


def naive_joint(tiny: TinyGraph, word: int, layers: list[int]) -> np.ndarray:
    tokens = tokens_of(CAPTION.phrase(word=word))
    relevance = np.eye(TOKENS + 1 + GRID.num_patches)
    for layer in layers:
        relevance = relevance + times(a_bar(tiny, "cross", layer, tokens), relevance)
    return np.mean([relevance[token, TOKENS + 1 :] for token in tokens], 0).reshape(GRID.height, GRID.width)


def naive_crossed(tiny: TinyGraph, word: int, layers: list[int]) -> np.ndarray:
    tokens = tokens_of(CAPTION.phrase(word=word))
    own, looked = np.eye(TOKENS), np.zeros((TOKENS, GRID.num_patches + 1))
    for layer in range(DEPTH):
        text = a_bar(tiny, "text", layer, tokens)
        own, looked = own + times(text, own), looked + times(text, looked)
        if layer in layers:
            rest = own - np.eye(TOKENS)
            sums = rest.sum(1, keepdims=True)
            bar = np.eye(TOKENS) + np.where(sums > 1e-12, rest / np.maximum(sums, 1e-300), 0)
            looked = looked + times(bar.T, a_bar(tiny, "cross", layer, tokens))
    rows = [token - 1 if tiny.writes else token for token in tokens]
    return np.mean([looked[row, 1:] for row in rows], 0).reshape(GRID.height, GRID.width)


@pytest.mark.parametrize("layers", [[0, 1], [0]], ids=str)
def test_one_sequence_is_carried_through_all_layers(layers):
    tiny = TinyGraph(joint=True)
    found = Chefer()(tiny.trace(), layers).map
    for word in (0, 1):
        expected = naive_joint(tiny, word, layers)
        assert expected.max() > 1e-4, "an oracle of zeros would prove nothing"
        assert np.allclose(found.values[word], expected, rtol=1e-4, atol=1e-9)
    assert not torch.allclose(found.values[0], found.values[1]) and found.per_head is None


@pytest.mark.parametrize("writes", [False, True])
@pytest.mark.parametrize("layers", [[0, 1], [1], [0]], ids=str)
def test_text_that_looks_at_an_image_is_carried_through_its_own_layers(writes, layers):
    tiny = TinyGraph(writes=writes, seed=3)
    found = Chefer()(tiny.trace(), layers)
    for word in (0, 1):
        expected = naive_crossed(tiny, word, layers)
        assert expected.max() > 1e-5
        assert np.allclose(found.map.values[word], expected, rtol=1e-4, atol=1e-9)
    assert found.map.params["layers"] == [f"layer {i + 1}" for i in layers] and found.map.params["text_layers"] == DEPTH
    assert found.record.layers == tuple(found.map.params["layers"])


def test_a_model_without_attention_among_its_text_is_read_layer_by_layer():
    """Nothing is carried then: the map is the sum of the layers' A-bars at the word's rows."""
    tiny = TinyGraph(seed=4)
    trace = tiny.trace()
    bare = replace(trace, provides={"attention_graph": lambda: replace(tiny.graph(), text_probs=())})
    tokens = tokens_of(CAPTION.phrase(word=0))
    expected = sum(a_bar(tiny, "cross", layer, tokens)[tokens, 1:].mean(0) for layer in range(DEPTH))
    assert np.allclose(Chefer()(bare).map.values[0].flatten(), expected, rtol=1e-4, atol=1e-9)


def test_an_image_tower_that_can_be_read_is_read():
    """What a model offers of its image tower comes first, so that CLIP's and crossviz-mini's maps stay as they are."""
    trace = Tiny().trace("dog cat")
    with_graph = replace(trace, provides={**trace.provides, "attention_graph": TinyGraph().graph})
    assert torch.equal(Chefer()(with_graph).map.values, Chefer()(trace).map.values)
    assert Chefer.info.served_by({"attention_graph": "no"}) and Chefer.info.served_by({"image_tower": "no"})
    assert not Chefer.info.served_by({"attention_graph": "no", "image_tower": "no"})


@pytest.mark.parametrize(
    ("joint", "layers", "zero"), [(True, 1, True), (True, [0], False), (True, None, False), (False, 1, False)]
)
def test_the_notes_are_of_the_layers_that_were_read(joint, layers, zero):
    """In the last layer the score is read off the first token: alone it gives nothing, but where relevance is carried
    through the text's own layers."""
    found = Chefer()(TinyGraph(joint=joint).trace(), layers).map
    assert zero != bool(found.values.any())
    assert zero == ("In layer 2 the score is read off another token: no word's row has a part in it." in found.notes)
    if joint:
        through = "all layers" if layers is None else "the chosen layers"
        assert any(note.endswith(f"from the word's tokens through {through}.") for note in found.notes)


def test_where_photo_and_text_are_read_only_together_the_graph_is_what_is_missing():
    lacks = {"attention_graph": "it has no matching head", "image_tower": "its sequence is one"}
    trace = replace(TinyGraph(joint=True).trace(), provides={}, lacks=lacks)
    with pytest.raises(UnsupportedMethodError, match=r"cross-modal attention .*: it has no matching head"):
        Chefer()(trace)
    with_tower = replace(trace, image=replace(trace.image, embedding=torch.ones(3)))
    with pytest.raises(UnsupportedMethodError, match=r"image tower .*: its sequence is one"):
        Chefer()(with_tower)


def test_layers_that_are_not_there_are_refused():
    with pytest.raises(SelectionError):
        Chefer()(TinyGraph(joint=True).trace(), ["layer 3"])
