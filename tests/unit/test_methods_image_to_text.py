"""Image to text and attention while writing, against the probabilities themselves, index by index."""

from dataclasses import replace

import pytest
import torch
from tiny_graphs import CAPTION, GRID, TOKENS, TinyGraph

from crossviz import methods
from crossviz.errors import SelectionError, UnsupportedMethodError
from crossviz.methods.image_to_text import ImageToText
from crossviz.methods.written_attention import WrittenAttention
from crossviz.render.scale import shared_scale
from crossviz.results import AttentionRecord
from crossviz.trace import CrossAttention

LABELS = ("layer 1", "layer 2", "layer 3")


def rows(queries: int, keys: int, seed: int) -> CrossAttention:
    scores = torch.randn(3, 2, queries, keys, generator=torch.Generator().manual_seed(seed))
    part = AttentionRecord(scores, torch.softmax(scores, -1), LABELS, "a", "b")
    return CrossAttention(
        scores,
        torch.softmax(scores, -1),
        LABELS,
        False,
        {"of": "test"},
        ("Said.",),
        "from here",
        "to there",
        {"p": part},
    )


def offering(**found: CrossAttention):
    return replace(TinyGraph().trace(), provides={name: lambda one=one: one for name, one in found.items()})


@pytest.mark.parametrize("layers", [None, 1, ["layer 1", "layer 3"]], ids=str)
def test_a_word_at_a_patch_is_what_the_patch_gives_to_its_tokens(layers):
    # Queries beyond the patches and keys beyond the tokens are there, as in a sequence of both.
    given = rows(GRID.num_patches, TOKENS + 1 + GRID.num_patches, 0)
    found = ImageToText()(offering(image_to_text=given), layers)
    chosen = {None: [0, 1, 2], 1: [2]}.get(layers if not isinstance(layers, list) else 0, [0, 2])
    for word in CAPTION.words:
        for place, layer in enumerate(chosen):
            for head in range(2):
                for row in range(GRID.height):
                    for column in range(GRID.width):
                        shares = given.probs[layer, head, row * GRID.width + column]
                        expected = sum(float(shares[token]) for token in word.tokens) / len(word.tokens)
                        assert float(found.map.per_head[place, head, word.index, row, column]) == pytest.approx(
                            expected
                        )
    assert torch.allclose(found.map.values, found.map.per_head.mean((0, 1)))
    assert found.map.direction == "query: image, key: text"
    assert torch.equal(found.record.probs, given.probs[chosen]) and found.record.query_kind == "from here"
    assert set(found.parts) == {"p"} and found.map.params["of"] == "test" and "Said." in found.map.notes


def test_shares_of_the_patches_are_not_drawn_as_a_probability_over_the_photo():
    """Every patch may give all to one word: the sum over patches then is their number, which no probability has."""
    probs = torch.zeros(1, 1, GRID.num_patches, TOKENS)
    probs[..., 3] = 1
    found = ImageToText()(offering(image_to_text=CrossAttention(probs.log(), probs, ("only",), False, {}, ()))).map
    assert found.values[1].sum() == GRID.num_patches and not found.values[0].any()
    scale = shared_scale(found.values.numpy(), found.unit)
    assert (scale.vmin, scale.vmax, scale.factor) == (0, 1, 1) and scale.label == "share of the patch's attention"


def test_what_wrote_a_word_is_read_as_it_is():
    given = rows(TOKENS, GRID.num_patches + 1, 1)
    found = WrittenAttention()(offering(written_attention=given), ["layer 2"])
    for word in CAPTION.words:
        own = given.probs[1, :, list(word.tokens)].mean(1)  # head key
        assert torch.allclose(found.map.per_head[0, :, word.index].flatten(1), own[:, : GRID.num_patches])
    assert found.map.unit == "probability" and found.map.direction == "query: text, key: image"
    assert found.map.notes[0] == "Said." and "has not seen it" in found.map.notes[-1]
    assert found.record.layers == found.map.layers == ("layer 2",) and set(found.parts) == {"p"}


@pytest.mark.parametrize("method", [ImageToText(), WrittenAttention()], ids=lambda method: method.info.name)
def test_models_that_lack_it_say_why_and_layers_are_checked(method):
    name = method.info.name
    bare = replace(TinyGraph().trace(), provides={}, lacks={name: "its text and image meet nowhere"})
    with pytest.raises(UnsupportedMethodError, match="meet nowhere"):
        method(bare)
    with pytest.raises(SelectionError):
        method(offering(**{name: rows(GRID.num_patches, TOKENS + 9, 2)}), 4)


def test_only_attention_while_writing_is_of_what_comes_before_the_word():
    assert [info.name for info in methods.methods() if info.before_word] == ["written_attention"]
