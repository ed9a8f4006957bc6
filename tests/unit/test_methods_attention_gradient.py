"""Gradient x attention against loops with differences in the place of gradients; which rows are a word's."""

from dataclasses import replace

import factories
import numpy as np
import pytest
import torch
from tiny_graphs import CAPTION, DEPTH, GRID, TOKENS, TinyGraph, tokens_of

from crossviz.errors import SelectionError, UnsupportedMethodError
from crossviz.methods.attention_gradient import AttentionGradient
from crossviz.methods.chefer import Chefer
from crossviz.methods.gradients import WRITERS_BESIDE

KINDS = {
    "joint": TinyGraph(joint=True),
    "text looks at image": TinyGraph(seed=1),
    "writes": TinyGraph(writes=True, seed=2),
}


def naive(tiny: TinyGraph, word: int, layer: int) -> np.ndarray:
    """`head gh gw` of one layer."""
    tokens = tokens_of(CAPTION.phrase(word=word))
    probs, grads = tiny.slopes("cross", layer, tokens)
    first = (TOKENS if tiny.joint else 0) + 1
    found = np.zeros((len(probs), GRID.num_patches))
    for head in range(len(probs)):
        for patch in range(GRID.num_patches):
            products = [max(row[first + patch], 0) for row in probs[head] * grads[head]]
            found[head, patch] = sum(products) if tiny.writes else np.mean([products[token] for token in tokens])
    return found.reshape(-1, GRID.height, GRID.width)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [[0, 1], [0]], ids=str)
def test_every_head_is_attention_times_what_it_does_for_the_score(kind, layers):
    tiny = KINDS[kind]
    found = AttentionGradient()(tiny.trace(), layers).map
    for word in (0, 1):
        expected = np.stack([naive(tiny, word, layer) for layer in layers])
        assert expected.max() > 1e-4, "an oracle of zeros would prove nothing"
        assert np.allclose(found.per_head[:, :, word], expected, rtol=1e-4, atol=1e-8)
        assert np.allclose(found.values[word], expected.sum((0, 1)), rtol=1e-4, atol=1e-8)
    assert found.reduce == "sum" and found.layers == tuple(f"layer {i + 1}" for i in layers)
    assert found.params["match"] == "logit" and not found.signed


def test_a_word_that_is_written_has_what_the_rows_before_it_saw():
    """No gradient reaches the word's own row; the rows that wrote it and all before have their part."""
    tiny = KINDS["writes"]
    for word in (0, 1):
        tokens = tokens_of(CAPTION.phrase(word=word))
        for layer in range(DEPTH):
            probs, grads = tiny.slopes("cross", layer, tokens)
            parts = np.maximum(probs * grads, 0).sum((0, 2))
            assert not parts[max(tokens) :].any() and parts[max(tokens) - 1] > 0
        probs, grads = tiny.slopes("cross", 0, tokens)
        assert np.maximum(probs * grads, 0).sum((0, 2))[0] > 0, "the start of the text has its part"


def test_the_score_of_the_whole_caption_is_told_apart_by_the_rows():
    """In the last layer the figure is read off the first token alone: no other row has a part in it."""
    for kind in ("joint", "text looks at image"):
        found = AttentionGradient()(KINDS[kind].trace()).map
        assert not found.per_head[-1].any() and found.per_head[0].any()
        assert any(note.startswith("In layer 2 the score is read off another token") for note in found.notes)
        assert not torch.allclose(found.values[0], found.values[1])


def test_one_layer_by_hand():
    """S = w . sum over patches of a_p v_p: the gradient of a_p is w . v_p, so the map is (a_p w.v_p)+."""
    a = torch.softmax(torch.randn(1, TOKENS, 6, generator=torch.Generator().manual_seed(0)), -1).requires_grad_(True)
    worth = torch.tensor([1.0, -2.0, 0.5, 3.0, 0.0, -1.0])
    whole = TinyGraph().graph()
    graph = replace(
        whole,
        probs=(a,),
        layers=("only",),
        text_probs=(),
        to_patches=lambda keys: keys,
        score=lambda phrases: torch.stack([(a[0, tokens_of(phrase)] @ worth).sum() for phrase in phrases]),
    )
    trace = TinyGraph().trace()
    trace = replace(trace, provides={"attention_graph": lambda: graph})
    found = AttentionGradient()(trace)
    expected = (a[0] * worth).clamp(min=0).detach()
    assert torch.allclose(found.map.values[1].flatten(), expected[3])
    assert torch.allclose(found.map.values[0].flatten(), (expected[1] + expected[2]) / 2)
    assert found.record is None, "this model shows no attention of its text"


def test_the_record_is_the_texts_attention_in_the_chosen_layers():
    tiny = KINDS["text looks at image"]
    found = AttentionGradient()(tiny.trace(), 1)
    assert found.record.layers == ("layer 2",) and found.record.probs.shape[2] == TOKENS
    assert torch.allclose(found.record.probs[0], tiny.attention().probs[1].float())


@pytest.mark.parametrize("method", [AttentionGradient(), Chefer()], ids=["attention_gradient", "chefer"])
def test_beside_a_word_that_is_written_stands_what_wrote_it(method):
    """Its score is read off the position before it, so the row of the position that has read it has no part in it."""
    tiny = KINDS["writes"]
    found = method(tiny.trace())
    read = tiny.attention().probs.float()
    assert torch.equal(found.record.probs[:, :, 1:], read[:, :, :-1])
    assert not torch.allclose(found.record.probs[:, :, 1:], read[:, :, 1:])
    assert WRITERS_BESIDE in found.map.notes
    assert WRITERS_BESIDE not in method(KINDS["text looks at image"].trace()).map.notes


def test_only_the_words_that_are_asked_for_are_computed():
    tiny = KINDS["joint"]
    whole, part = (AttentionGradient()(tiny.trace(only)).map for only in (None, (1,)))
    assert torch.equal(part.values[1], whole.values[1]) and not part.values[0].any() and whole.values[0].any()
    cut = AttentionGradient()(tiny.trace(caption=factories.caption("treehouse dog", read=0))).map
    assert cut.per_head.shape == whole.per_head.shape and not cut.per_head.any()


def test_what_is_not_there_is_refused():
    trace = TinyGraph().trace()
    with pytest.raises(SelectionError):
        AttentionGradient()(trace, ["layer 3"])
    bare = replace(trace, provides={}, lacks={"attention_graph": "it has no matching head"})
    with pytest.raises(UnsupportedMethodError, match="it has no matching head"):
        AttentionGradient()(bare)
