"""MaskCLIP, ClearCLIP, SCLIP, NACLIP: against the models' own modules, and their formulas by loops."""

import math

import numpy as np
import pytest
import torch
from small_models import CLIP_VARIANTS, clip_folder
from torch.nn import functional as F

from crossviz import Explainer, models
from crossviz.errors import SelectionError
from crossviz.methods.clearclip import ClearClip
from crossviz.methods.clip_surgery import ClipSurgery
from crossviz.methods.maskclip import MaskClip
from crossviz.methods.nacclip import NacClip
from crossviz.methods.sclip import Sclip
from crossviz.models.vit_tower import vit_tower
from crossviz.photo import load_photo

CAPTION = "A dog, a frisbee and the dog"
WORDS = ["A", "dog", "a", "frisbee", "and", "the", "dog"]
METHODS = [MaskClip, ClearClip, Sclip, NacClip]
SIGLIP = {
    "vision": {"timm_model_name": "test_vit3", "timm_pool": "map", "timm_proj": "", "image_size": 160},
    "custom_text": True,
}


@pytest.fixture(scope="module")
def photo():
    return np.random.default_rng(0).integers(0, 255, (90, 150, 3), dtype=np.uint8)


def explainer_of(folder, **cfg):
    explainer = Explainer(f"open_clip:{clip_folder(folder, **cfg)}")
    model = models.load_model(explainer.info.name)
    for name, parameter in model.module.visual.named_parameters():
        if name.startswith("trunk.") and name.endswith("weight") and parameter.ndim == 2:
            parameter.data *= 6  # timm begins with weights so small that all patches come out the same
    return explainer, model


def cosines(features, model, words=WORDS):
    """`word patch`, with open_clip's own text tower."""
    with torch.no_grad():
        ids = model._tokenizer([f"a photo of a {word}" for word in words])
        texts = model.module.encode_text(ids, normalize=True)
        return F.cosine_similarity(texts[:, None], features[None], dim=-1)


def entering(module, run):
    """What a module is called with, as the model itself runs."""
    seen = []
    handle = module.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        run()
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("variant", list(CLIP_VARIANTS))
def test_clearclip_is_the_cosine_of_the_towers_dense_features(variant, tmp_path, photo):
    explainer, model = explainer_of(tmp_path / "m", **CLIP_VARIANTS[variant])
    found = explainer.explain(photo, CAPTION, ClearClip())
    tower = vit_tower(model.module.visual)
    with torch.no_grad():
        dense = tower.dense(tower.run(model.preprocess(load_photo(photo))[0]).last_input[0])
    assert torch.allclose(found.map.values.flatten(1), cosines(dense, model), atol=1e-5)
    assert (found.grid.height, found.grid.width) == tower.grid_hw
    assert float(found.map.values.std((1, 2)).min()) > 0.01, "a map that tells nothing would pass as well"


@pytest.mark.parametrize("variant", [name for name in CLIP_VARIANTS if not name.startswith("timm")])
def test_maskclip_is_the_value_path_of_open_clips_last_block(variant, tmp_path, photo):
    """By the modules themselves: norm, the value's rows of the projection, output projection, residual, MLP, head."""
    explainer, model = explainer_of(tmp_path / "m", **CLIP_VARIANTS[variant])
    found = explainer.explain(photo, CAPTION, MaskClip()).map
    visual, pixels = model.module.visual, model.preprocess(load_photo(photo))[0]
    block = visual.transformer.resblocks[-1]
    x = entering(block, lambda: visual(pixels))
    with torch.no_grad():
        weight, bias = block.attn.in_proj_weight[-48:], block.attn.in_proj_bias[-48:]
        x = x + block.ls_1(block.attn.out_proj(F.linear(block.ln_1(x), weight, bias)))
        x = x + block.ls_2(block.mlp(block.ln_2(x)))
        features = visual.ln_post(x[0, 1:]) @ visual.proj
    assert torch.allclose(found.values.flatten(1), cosines(features, model), atol=1e-5)


@pytest.mark.parametrize("variant", [name for name in CLIP_VARIANTS if name.startswith("timm")])
def test_maskclip_is_the_value_path_of_timms_last_block(variant, tmp_path, photo):
    explainer, model = explainer_of(tmp_path / "m", **CLIP_VARIANTS[variant])
    found = explainer.explain(photo, CAPTION, MaskClip()).map
    visual, pixels = model.module.visual, model.preprocess(load_photo(photo))[0]
    trunk = visual.trunk
    block = trunk.blocks[-1]
    x = entering(block, lambda: visual(pixels))
    with torch.no_grad():
        x = x + block.ls1(block.attn.proj(block.attn.qkv(block.norm1(x)).chunk(3, -1)[2]))
        x = x + block.ls2(block.mlp(block.norm2(x)))
        features = visual.head(trunk.fc_norm(trunk.norm(x[0, trunk.num_prefix_tokens :])))
    assert torch.allclose(found.values.flatten(1), cosines(features, model), atol=1e-5)


def test_maskclip_reads_an_attention_pooler_one_patch_at_a_time(tmp_path, photo):
    """SigLIP's tower: its own pooler, called with one patch alone, has nothing else to look at."""
    explainer, model = explainer_of(tmp_path / "m", **SIGLIP)
    found = explainer.explain(photo, CAPTION, MaskClip())
    visual, pixels = model.module.visual, model.preprocess(load_photo(photo))[0]
    trunk = visual.trunk
    with torch.no_grad():
        tokens = trunk.forward_features(pixels)[0, trunk.num_prefix_tokens :]
        features = visual.head(trunk.head(trunk.fc_norm(trunk.attn_pool(tokens[:, None]))))
    assert torch.allclose(found.map.values.flatten(1), cosines(features, model), atol=1e-5)
    assert found.map.params["layers"] == ["pooler"] and found.record.query_kind == "image pooler's query"
    with pytest.raises(SelectionError, match="pooler"):
        explainer.explain(photo, CAPTION, MaskClip(), layers=["block 6"])


@pytest.mark.parametrize("method", [ClearClip, Sclip, NacClip])
def test_the_last_block_changes_before_a_pooler_too(method, tmp_path, photo):
    explainer, model = explainer_of(tmp_path / "m", **SIGLIP)
    found = explainer.explain(photo, "dog", method()).map
    trunk, pixels = model.module.visual.trunk, model.preprocess(load_photo(photo))[0]
    block = trunk.blocks[-1]
    x = entering(block, lambda: model.module.visual(pixels))
    with torch.no_grad():
        q, k, v = block.attn.qkv(block.norm1(x))[0].chunk(3, -1)
        context = torch.from_numpy(by_loops(method, q, k, v, block.attn.num_heads, found)).float()
        added = block.ls1(block.attn.proj(context))
        x = x[0] + added if method is Sclip else added
        x = x + block.ls2(block.mlp(block.norm2(x))) if method is Sclip else x
        features = model.module.visual.head(trunk.head(trunk.fc_norm(trunk.attn_pool(trunk.norm(x)[:, None]))))
    patches = features[trunk.num_prefix_tokens :]
    assert torch.allclose(found.values.flatten(1), cosines(patches, model, ["dog"]), atol=1e-5)
    assert "attention pooler" in " ".join(found.notes)


def by_loops(method, q, k, v, heads, found):
    """The heads' context, one query at a time, in float64."""
    q, k, v = (part.double().numpy() for part in (q, k, v))
    tokens, size = q.shape[0], q.shape[1] // heads
    height, width = found.values.shape[1:]
    prefix = tokens - height * width
    context = np.zeros_like(v)
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        for a in range(tokens):
            weights = np.zeros(tokens)
            for part in {ClearClip: [q], Sclip: [q, k], NacClip: [k]}[method]:
                scores = np.array([part[a, own] @ part[b, own] for b in range(tokens)]) / math.sqrt(size)
                if method is NacClip and a >= prefix:
                    for b in range(prefix, tokens):
                        (row, column), (r, c) = divmod(a - prefix, width), divmod(b - prefix, width)
                        scores[b] += math.exp(-((row - r) ** 2 + (column - c) ** 2) / (2 * 5.0**2))
                scores = np.exp(scores - scores.max())
                weights += scores / scores.sum()
            context[a, own] = weights @ v[:, own]
    return context


@pytest.mark.parametrize("method", [ClearClip, Sclip, NacClip])
@pytest.mark.parametrize("variant", ["class token, quick GELU", "no first norm, layer scale", "average, then norm"])
def test_each_is_its_formula_by_loops(method, variant, tmp_path, photo):
    """On a grid of 4 x 6; only SCLIP keeps the residual connection and the MLP."""
    explainer, model = explainer_of(tmp_path / "m", **CLIP_VARIANTS[variant])
    found = explainer.explain(photo, CAPTION, method()).map
    visual, pixels = model.module.visual, model.preprocess(load_photo(photo))[0]
    block = visual.transformer.resblocks[-1]
    x = entering(block, lambda: visual(pixels))
    with torch.no_grad():
        q, k, v = F.linear(block.ln_1(x), block.attn.in_proj_weight, block.attn.in_proj_bias)[0].chunk(3, -1)
        added = block.ls_1(block.attn.out_proj(torch.from_numpy(by_loops(method, q, k, v, 4, found)).float()))
        y = x[0] + added if method is Sclip else added
        y = y + block.ls_2(block.mlp(block.ln_2(y))) if method is Sclip else y
        features = visual.ln_post(y[1:]) @ visual.proj
    assert torch.allclose(found.values.flatten(1), cosines(features, model), atol=1e-5)
    assert found.params["residual"] is found.params["mlp"] is (method is Sclip)


@pytest.mark.parametrize("method", METHODS)
def test_words_stand_for_themselves(method, tmp_path, photo):
    explainer, _ = explainer_of(tmp_path / "m")
    image = explainer.encode(photo)
    one = explainer.explain(image, CAPTION, method())
    other = explainer.explain(image, "my frisbee", method())
    assert torch.allclose(one.map.values[3], other.map.values[1], atol=1e-6)
    assert torch.equal(one.map.values[1], one.map.values[6]), "the second dog"
    bare = explainer.explain(image, "frisbee", method(prompt="{}"))
    assert not torch.allclose(bare.map.values[0], other.map.values[1], atol=1e-3)
    assert bare.map.params["prompt"] == "{}" and one.map.params["prompt"] == "a photo of a {}"
    assert float(one.map.values.abs().max()) <= 1 + 1e-6 and one.map.signed and one.map.text_dependent


@pytest.mark.parametrize("method", METHODS)
def test_the_record_is_the_towers_own_attention(method, tmp_path, photo):
    explainer, _ = explainer_of(tmp_path / "m")
    found = explainer.explain(photo, "dog", method()).record
    own = explainer.explain(photo, "dog", "head_decomposition").record
    assert torch.allclose(found.probs[0], own.probs[-1], atol=1e-6) and found.layers == own.layers[-1:]
    assert found.query_kind == own.query_kind and found.key_kind == own.key_kind


def test_what_is_kept_of_a_photo_changes_no_method(tmp_path, photo):
    """Alone on a photo of its own, and after all others on the same."""
    explainer, _ = explainer_of(tmp_path / "m")
    image = explainer.encode(photo)
    made = [method() for method in [*METHODS, ClipSurgery]]
    alone = [explainer.explain(photo, CAPTION, method).map for method in made]
    for _ in range(2):
        for method, expected in reversed(list(zip(made, alone, strict=True))):
            assert torch.equal(explainer.explain(image, CAPTION, method).map.values, expected.values)
    maps = torch.stack([one.values for one in alone])
    assert all(not torch.allclose(maps[i], maps[j], atol=1e-3) for i in range(5) for j in range(i))
