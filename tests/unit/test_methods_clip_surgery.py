"""CLIP Surgery: both surgeries by loops, against a copy of the model that was operated on, and what is planted."""

import math
from dataclasses import replace

import numpy as np
import planted_tower
import pytest
import torch
from small_models import CLIP_VARIANTS, VISION, clip_folder
from torch.nn import functional as F

from crossviz import Explainer, models
from crossviz.errors import MethodError, SelectionError
from crossviz.geometry import PatchGrid
from crossviz.methods.clip_surgery import BACKGROUND, ClipSurgery, above_mean
from crossviz.photo import load_photo
from crossviz.trace import ImageTower, TowerBlock

CAPTION = "A dog, a frisbee and the dog"
WORDS = ["A", "dog", "a", "frisbee", "and", "the", "dog"]
DEEP = {"vision": {**VISION, "layers": 8}}
"""More blocks than the new path goes through."""


@pytest.fixture(scope="module")
def photo():
    return np.random.default_rng(0).integers(0, 255, (90, 150, 3), dtype=np.uint8)


def explainer_of(folder, **cfg):
    explainer = Explainer(f"open_clip:{clip_folder(folder, **cfg)}")
    return explainer, models.load_model(explainer.info.name)


def inputs_of_blocks(visual, pixels):
    """What enters each block while the tower itself runs, and what leaves the last."""
    seen, handles = [], []
    for block in visual.transformer.resblocks:
        handles.append(block.register_forward_hook(lambda _, args, out: seen.extend([args[0][0], out[0]])))
    with torch.no_grad():
        visual(pixels)
    for handle in handles:
        handle.remove()
    return [*seen[::2], seen[-1]]


def operated(visual, pixels, chosen):
    """Features of the patches by the module's weights, head by head and token by token: `patch embed`."""
    blocks, inputs = visual.transformer.resblocks, inputs_of_blocks(visual, pixels)
    x = inputs[chosen[0]]
    with torch.no_grad():
        for i in chosen:
            block, heads, size = blocks[i], 4, 12
            weight, bias = block.attn.in_proj_weight[-48:], block.attn.in_proj_bias[-48:]
            values = (block.ln_1(inputs[i]) @ weight.T + bias).double().numpy()
            context = np.zeros_like(values)
            for head in range(heads):
                own = slice(head * size, (head + 1) * size)
                for a in range(len(values)):
                    weights = np.exp(values[:, own] @ values[a, own] / math.sqrt(size))
                    context[a, own] = weights @ values[:, own] / weights.sum()
            x = x + block.ls_1(block.attn.out_proj(torch.from_numpy(context).float()))
        return visual.ln_post(x[1:]) @ visual.proj


def surgery_by_loops(features, texts, embedding):
    """As the published code: products channel by channel, less their mean over the texts, then summed."""
    prob = np.exp(2 * texts @ embedding)
    prob = prob / prob.sum()
    weights = prob / prob.mean()
    values = np.zeros((len(features), len(texts)))
    for i, patch in enumerate(features):
        products = np.stack([patch * text * weight for text, weight in zip(texts, weights, strict=True)])
        values[i] = (products - products.mean(0)).sum(-1)
    return values


def unit(x):
    return F.normalize(x, dim=-1).double().numpy()


@pytest.mark.parametrize("cfg", [DEEP, *(CLIP_VARIANTS[name] for name in list(CLIP_VARIANTS)[:4])], ids=str)
def test_both_surgeries_by_loops(cfg, tmp_path, photo):
    """A tower of eight blocks, whose last six are operated on, and towers that are less deep than that."""
    explainer, model = explainer_of(tmp_path / "m", **cfg)
    found = explainer.explain(photo, CAPTION, ClipSurgery()).map
    visual, pixels = model.module.visual, model.preprocess(load_photo(photo))[0]
    depth = len(visual.transformer.resblocks)
    chosen = list(range(depth))[-6:]
    features = unit(operated(visual, pixels, chosen))
    named = [*dict.fromkeys([*WORDS, *BACKGROUND])]
    with torch.no_grad():
        ids = model._tokenizer([*(f"a photo of a {word}" for word in named), "a photo of a"])
        texts = unit(model.module.encode_text(ids))
        embedding = unit(model.module.encode_image(pixels))[0]
    expected = surgery_by_loops(features, texts, embedding)
    for i, word in enumerate(WORDS):
        assert np.allclose(found.values[i].flatten(), expected[:, named.index(word)], atol=1e-5)
    assert found.params["layers"] == [f"block {i + 1}" for i in chosen]
    assert found.params["texts"] == len(BACKGROUND) + 6  # five words that are no background, and the empty text
    assert found.signed and (found.values < 0).any() and (found.values > 0).any()


def test_without_background_it_is_the_published_form(tmp_path, photo):
    explainer, model = explainer_of(tmp_path / "m")
    image = explainer.encode(photo)
    visual, pixels = model.module.visual, image.features["pixels"]
    features = unit(operated(visual, pixels, [0, 1, 2]))
    with torch.no_grad():
        dog, cat, empty = unit(model.module.encode_text(model._tokenizer(["dog", "cat", ""])))
        embedding = unit(model.module.encode_image(pixels))[0]
    bare = ClipSurgery("{}", background=())
    one = explainer.explain(image, "dog", bare).map.values[0]
    assert np.allclose(one.flatten(), features @ (dog - empty), atol=1e-5)
    two = explainer.explain(image, "dog cat", bare).map.values
    expected = surgery_by_loops(features, np.stack([dog, cat]), embedding)
    assert np.allclose(two.flatten(1), expected.T, atol=1e-5)
    assert torch.allclose(two[0], -two[1], atol=1e-6), "two texts have only each other to differ from"
    assert "the empty word" in " ".join(explainer.explain(image, "dog dog", bare).map.notes)


def test_the_empty_word_stands_in_the_prompt(tmp_path, photo):
    """What a single word is less of: the prompt that says nothing, not a text without any word."""
    explainer, model = explainer_of(tmp_path / "m")
    image = explainer.encode(photo)
    features = unit(operated(model.module.visual, image.features["pixels"], [0, 1, 2]))
    dog, prompt, empty = unit(model.embed_texts(["a photo of a dog", "a photo of a", ""]))
    found = explainer.explain(image, "dog", ClipSurgery(background=())).map
    assert np.allclose(found.values[0].flatten(), features @ (dog - prompt), atol=1e-5)
    assert not np.allclose(found.values[0].flatten(), features @ (dog - empty), atol=1e-3)
    assert '("a photo of a")' in " ".join(found.notes)


def test_only_the_latest_path_is_kept_with_a_photo(tmp_path, photo):
    explainer, _ = explainer_of(tmp_path / "m")
    image, method = explainer.encode(photo), ClipSurgery()
    expected = [explainer.explain(image, "dog", method, layers).map for layers in (1, 2, 3)]
    kept = [value for name, value in image._kept.items() if name.startswith("clip_surgery")]
    assert [len(slot) for slot in kept] == [1, 1], "the path, and the texts"
    assert [explainer.explain(image, "dog", method, layers).map for layers in (1, 2, 3)] == expected


def test_layers_are_the_last_six(tmp_path, photo):
    explainer, model = explainer_of(tmp_path / "m", **DEEP)
    image = explainer.encode(photo)
    visual, pixels = model.module.visual, image.features["pixels"]
    dog, empty = (text.double().numpy() for text in model.embed_texts(["dog", ""]))
    bare = ClipSurgery("{}", background=())
    for layers, chosen in (
        (2, [6, 7]),
        (["block 4", "block 8"], [3, 7]),
        ([2], [2]),
        ([-6, -1], [2, 7]),
        (6, [2, 3, 4, 5, 6, 7]),
    ):
        found = explainer.explain(image, "dog", bare, layers=layers)
        expected = unit(operated(visual, pixels, chosen)) @ (dog - empty)
        assert np.allclose(found.map.values[0].flatten(), expected, atol=1e-5)
        assert found.record.layers == tuple(f"block {i + 1}" for i in chosen) == tuple(found.map.params["layers"])
        own = explainer.explain(image, "dog", "head_decomposition", layers=list(found.record.layers)).record
        assert torch.allclose(found.record.probs, own.probs, atol=1e-6), "the record is the tower's own attention"
    for layers in (7, ["block 2"], [1], [8]):
        with pytest.raises(SelectionError):
            explainer.explain(image, "dog", bare, layers=layers)


@pytest.mark.parametrize("pool", ["token", "avg", "attention"])
def test_any_pooling_and_any_grid(pool):
    tower = planted_tower.vision_transformer(pool, grid=PatchGrid(3, 2, 2))
    trace = planted_tower.trace(tower, "dog", grid=PatchGrid(3, 6))
    found = ClipSurgery("{}", background=("sky",))(replace(trace, embed_texts=known))
    passed = planted_tower.run_tower(tower, trace.pixels)
    x = passed.inputs
    for block, layer in zip(tower.blocks, passed.layers, strict=True):
        values = layer.values
        x = x + block.merge(torch.softmax(values @ values.transpose(-2, -1) / 2, -1) @ values)
    features = unit(tower.to_text(x[0, 2:]))
    expected = surgery_by_loops(features, known(["dog", "sky", ""]).double().numpy(), np.ones(5) / 5**0.5)[:, 0]
    assert np.allclose(found.map.values[0, :, ::3].flatten(), expected, atol=1e-5)
    assert torch.equal(found.map.values[0, :, ::3], found.map.values[0, :, 2::3]), "three cells for one of the tower's"
    assert found.record.query_kind.startswith({"token": "image class", "avg": "mean", "attention": "image pool"}[pool])


def known(texts):
    return F.normalize(torch.stack([planted_tower.matrices(len(text), (5,))[0] for text in texts]), dim=-1).float()


def test_a_planted_thing_stands_out_and_what_texts_share_is_gone():
    """Patches are a thing (axis 0), another (axis 1), and all hold a redundant axis 2 of length `shared`."""
    shared = 3.0
    kinds = torch.eye(3)[[0, 1, 1, 0]] + shared * torch.eye(3)[2]
    block = TowerBlock(
        label="block 1",
        norm=lambda x: x,
        project=lambda x: (x[:, None], x[:, None], x[:, None, :, :2] * 100),  # values: the kind, sharply
        scale=1.0,
        merge=lambda context: F.pad(context[:, 0] / 100, (0, 1)),
        mlp=lambda x: x,
    )
    tower = ImageTower(
        embed=lambda pixels: (kinds[None], None),
        blocks=(block,),
        grid=PatchGrid(2, 2),
        pool="avg",
        features=None,
        readout=lambda x, beside, features: x.mean(1),
        to_text=lambda x: x,
    )
    texts = {"dog": [1.0, 0, shared], "cat": [0, 1.0, shared]}
    trace = planted_tower.trace(tower, "dog cat", pixels=torch.zeros(1, 3, 2, 2))
    image = replace(trace.image, embedding=torch.eye(3)[2])  # as near to one as to the other: even weights
    trace = replace(
        trace,
        image=image,
        embed_texts=lambda asked: F.normalize(torch.tensor([texts.get(one, [0, 0, 1.0]) for one in asked]), dim=-1),
    )
    found = ClipSurgery("{}", background=())(trace).map
    # Each patch is 2 of its kind and 3 of the shared axis; half the difference of the two cosines is left.
    value = 2 / math.sqrt(4 + 9) / math.sqrt(1 + 9) / 2
    expected = torch.tensor([[value, -value], [-value, value]])
    assert torch.allclose(found.values, torch.stack([expected, -expected]), atol=1e-6)
    assert [told["weight"] for told in found.params["words"]] == pytest.approx([1, 1])


def test_texts_are_weighted_by_how_well_they_match_the_photo():
    rng = torch.Generator().manual_seed(0)
    features, texts, embedding = (
        F.normalize(torch.randn(shape, generator=rng), dim=-1) for shape in ((7, 5), (4, 5), (5,))
    )
    values, weights = above_mean(features, texts, embedding)
    assert np.allclose(values, surgery_by_loops(*(part.double().numpy() for part in (features, texts, embedding))))
    assert float(weights.mean()) == pytest.approx(1, abs=1e-6)
    assert torch.equal(weights.argsort(), (texts @ embedding).argsort())
    assert torch.allclose(values.sum(-1), torch.zeros(7), atol=1e-6), "what is above the mean sums to nothing"


def test_the_background_is_embedded_once_for_a_photo_and_anew_when_the_weights_change(tmp_path, photo):
    explainer, model = explainer_of(tmp_path / "m")
    image, method = explainer.encode(photo), ClipSurgery()
    asked = []
    own = model.embed_texts
    model.embed_texts = lambda texts: asked.append(len(texts)) or own(texts)
    first = explainer.explain(image, "dog", method).map
    assert max(asked) == len(BACKGROUND)
    asked.clear()
    assert explainer.explain(image, "a frisbee", method).map.params["texts"] == len(BACKGROUND) + 3
    assert max(asked) == 3
    assert explainer.explain(explainer.encode(photo), "dog", method).map == first
    with torch.no_grad():
        model.module.text_projection.copy_(model.module.text_projection.flip(0))
    changed = explainer.explain(image, "dog", method).map
    assert changed == explainer.explain(image, "dog", ClipSurgery()).map
    assert not torch.allclose(changed.values, first.values, atol=1e-3)


def test_the_same_word_twice_has_one_map_and_counts_once(tmp_path, photo):
    explainer, _ = explainer_of(tmp_path / "m")
    image = explainer.encode(photo)
    found = explainer.explain(image, CAPTION, ClipSurgery()).map
    assert torch.equal(found.values[1], found.values[6])
    once = explainer.explain(image, "A dog, a frisbee and the", ClipSurgery()).map
    assert torch.allclose(once.values[1], found.values[1], atol=1e-7)


@pytest.mark.parametrize("background", ["sky", ["sky", 3], [None]], ids=str)
def test_a_background_that_is_no_list_of_words_is_refused(background):
    with pytest.raises(MethodError, match="list of words"):
        ClipSurgery(background=background)
