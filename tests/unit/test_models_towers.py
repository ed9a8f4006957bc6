"""Image towers run part by part: open_clip's own, timm's, with poolers, convolutional; held to their own forward."""

import copy

import numpy as np
import pytest
import torch
from small_models import OTHER_TOWERS, VISION, clip_folder, own_copy
from torch import nn
from torch.nn import functional as F
from towers import image, lively, timm_vit, vision

from crossviz import Explainer, models
from crossviz.capture import capture
from crossviz.compat import import_open_clip, import_timm
from crossviz.errors import UnsupportedMethodError
from crossviz.models.conv_tower import conv_tower
from crossviz.models.open_clip import OpenClipModel
from crossviz.models.open_clip_load import load, source_of
from crossviz.models.stages import stages
from crossviz.models.vit_image_tower import image_tower
from crossviz.models.vit_parts import vit_parts
from crossviz.photo import load_photo
from crossviz.tower import pool, run_tower
from crossviz.trace import CAPABILITIES

HEADS = 4
LATENT = "vit_base_patch16_siglip_224"


def timm_model(trunk: nn.Module, head: nn.Module | None = None, image_size=(32, 48)) -> nn.Module:
    """A trunk of any size in open_clip's adapter, which itself builds trunks by name only."""
    import_open_clip()
    from open_clip.timm_model import TimmModel

    with torch.random.fork_rng(devices=[]):
        visual = TimmModel("test_vit", 16, image_size=image_size, pool="token", proj="linear")
    visual.trunk, visual.head = trunk, nn.Sequential() if head is None else head
    return visual.eval()


def projection(width: int) -> nn.Module:
    return lively(nn.Sequential(nn.Dropout(0.1), nn.Linear(width, 16)))


VITS = {
    "class token": vision,
    "average": lambda: vision(pool_type="avg"),
    "average, then norm": lambda: vision(pool_type="avg", final_ln_after_pool=True),
    "norm of queries and keys": lambda: vision(qk_norm=True),
    "layer scale": lambda: vision(ls_init_value=0.3),
    "pooler of many queries": lambda: vision(attentional_pool=True, attn_pooler_queries=5, attn_pooler_heads=2),
    "timm, class token": lambda: timm_model(timm_vit()),
    "timm, average, norm of queries and keys": lambda: timm_model(timm_vit(global_pool="avg", qk_norm=True)),
    "timm, projection beside the trunk": lambda: timm_model(timm_vit(num_classes=0), projection(32)),
    "timm, two layers of projection": lambda: timm_model(
        timm_vit(num_classes=0), lively(nn.Sequential(nn.Linear(32, 24), nn.GELU(), nn.Linear(24, 16)))
    ),
    "SigLIP": lambda: timm_model(timm_vit(LATENT, num_classes=0)),
    "SigLIP, norm of queries and keys": lambda: timm_model(timm_vit(LATENT, qk_norm=True)),
    "SigLIP, registers": lambda: timm_model(timm_vit(LATENT, num_classes=0, reg_tokens=2, pool_include_prefix=True)),
}
"""Not square: 32 x 48 pixels."""


@pytest.fixture(params=list(VITS))
def visual(request) -> nn.Module:
    return VITS[request.param]()


def own_embedding(visual: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return F.normalize(visual(pixels), dim=-1)


def site_names(visual: nn.Module) -> list[str]:
    prefix = "transformer.resblocks" if hasattr(visual, "transformer") else "trunk.blocks"
    return [f"{prefix}.{i}.attn" for i in range(2)]


# Vision transformers -------------------------------------------------------------------------------------------


def test_parts_give_what_the_tower_gives_whatever_the_batch(visual):
    tower, pixels = image_tower(vit_parts(visual)), image(3)
    passed = run_tower(tower, pixels)
    assert torch.allclose(passed.state, own_embedding(visual, pixels), atol=1e-5)
    assert tower.grid.width * 2 == tower.grid.height * 3  # 2 x 3 or 4 x 6: nothing is turned
    assert passed.inputs.shape[1] == tower.grid.num_tokens
    assert [layer.label for layer in passed.layers] == ["block 1", "block 2"]
    again = run_tower(tower, None, start=tower.embed(pixels))
    assert torch.equal(again.state, passed.state)


def test_attention_is_that_of_the_towers_own_forward(visual):
    names = site_names(visual)
    if image_tower(vit_parts(visual)).pooler is not None:
        names.append("attn_pool.attn" if hasattr(visual, "attn_pool") else "trunk.attn_pool")
    sites = {name: visual.get_submodule(name) for name in names}
    with torch.no_grad(), capture(sites, keep=("probs", "values", "context")) as captured:
        visual(image())
    passed = run_tower(image_tower(vit_parts(visual)), image())
    layers = [*passed.layers, *([] if passed.pooler is None else [passed.pooler])]
    assert len(layers) == len(names)
    for layer, name in zip(layers, names, strict=True):
        queries = layer.probs.shape[2]  # the pooler's other queries make no embedding
        assert torch.allclose(layer.probs, captured[name].probs[:, :, :queries], atol=1e-5), name
        assert torch.allclose(layer.context, captured[name].context[:, :, :queries], atol=1e-4), name
        assert torch.allclose(layer.values, captured[name].values, atol=1e-4), name


def test_a_head_that_is_off_is_a_head_without_output_weights(visual):
    """Block 2, head 1: its columns of the output projection set to zero in a copy, run by the copy's own forward."""
    tower, pixels = image_tower(vit_parts(visual)), image()
    without = copy.deepcopy(visual)
    site = without.get_submodule(site_names(visual)[1])
    out = site.proj if hasattr(site, "proj") else site.out_proj
    out.weight.data[:, 8:16] = 0.0
    mask = torch.ones(2, 2, HEADS)
    mask[:, 1, 1] = 0.0
    found = run_tower(tower, pixels, head_mask=mask).state
    assert torch.allclose(found, own_embedding(without, pixels), atol=1e-5)
    assert not torch.allclose(found, own_embedding(visual, pixels), atol=1e-3)
    mask[1] = 1.0  # of the second photo nothing is off
    assert torch.allclose(
        run_tower(tower, pixels, head_mask=mask).state[1], own_embedding(visual, pixels)[1], atol=1e-5
    )


@pytest.mark.parametrize("kind", ["class token", "average, then norm", "layer scale"])
def test_all_heads_off_leave_the_residual_stream(kind):
    """A loop over open_clip's modules: each block adds its output bias and its MLP."""
    visual, pixels = VITS[kind](), image()
    passed = run_tower(image_tower(vit_parts(visual)), pixels, head_mask=torch.zeros(2, 2, HEADS))
    with torch.no_grad():
        x = visual._embeds(pixels)
        for block in visual.transformer.resblocks:
            x = x + block.ls_1(block.attn.out_proj.bias.expand_as(x))
            x = x + block.ls_2(block.mlp(block.ln_2(x)))
        pooled, _ = visual._pool(x)
        expected = F.normalize(pooled @ visual.proj, dim=-1)
    assert torch.allclose(passed.state, expected, atol=1e-5)


def test_patches_go_where_the_image_goes(visual):
    """A photo all of whose tokens are alike is, to the text, what each of its tokens is."""
    tower = image_tower(vit_parts(visual))
    token = run_tower(tower, image(1)).layers[-1].output[:, -1:]  # 1 1 dim
    alike = token.expand(-1, tower.grid.num_tokens, -1)
    state = tower.readout(alike, None, None) if tower.pooler is None else pool(tower, alike, None)[0]
    assert torch.allclose(F.normalize(tower.to_text(token)[0], dim=-1), state, atol=1e-5)
    stacked = torch.stack([token[0], token[0] * 2])  # 2 1 dim
    assert torch.allclose(tower.to_text(stacked)[1], tower.to_text(token * 2)[0], atol=1e-4)


def test_gradients_do_not_hang_on_what_the_weights_require(visual):
    tower = image_tower(vit_parts(visual))

    def gradients() -> list[torch.Tensor]:
        pixels = image(1).requires_grad_(True)
        passed = run_tower(tower, pixels)
        return list(torch.autograd.grad(passed.state[:, 0].sum(), [pixels, passed.layers[0].probs]))

    tracked = gradients()
    for parameter in visual.parameters():
        parameter.requires_grad_(False)
    assert all(torch.allclose(a, b, atol=1e-6) and a.any() for a, b in zip(tracked, gradients(), strict=True))
    assert all(parameter.grad is None for parameter in visual.parameters())


def test_a_gradient_is_what_the_towers_own_forward_changes_by(visual):
    """Central differences along the gradient, in double precision, with the tower's own forward."""
    visual = visual.double()
    pixels = image(1).double().requires_grad_(True)
    (gradient,) = torch.autograd.grad(run_tower(image_tower(vit_parts(visual)), pixels).state[0, 0], pixels)
    step = gradient / gradient.norm() * 1e-4
    change = (own_embedding(visual, pixels + step) - own_embedding(visual, pixels - step))[0, 0]
    assert float(change) / 2e-4 == pytest.approx(float(gradient.norm()), rel=1e-4)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: vision(attentional_pool="parallel", attn_pooler_heads=2), "in the way 'none'"),
        (lambda: vision(attentional_pool=True, pool_type="avg", attn_pooler_heads=2), "queries are then pooled"),
        (lambda: vision(scaled_cosine_attn=True), "block 1 can't be recomputed: .* scaled cosines"),
        (lambda: vision(scale_attn=True, block_type="custom"), "block 1 .* not a plain pre-norm block"),
        (lambda: timm_model(timm_vit(global_pool="max")), "in the way 'max'"),
        (lambda: timm_model(timm_vit(global_pool="avg", pool_include_prefix=True)), "in the way 'avg'"),
        (lambda: timm_model(with_pooler(latent_len=3)), "has 3 queries, not one"),
        (lambda: timm_model(with_pooler(pos_embed="abs", feat_size=6)), "has positions of its own"),
        (lambda: timm_model(timm_vit(LATENT, reg_tokens=2)), "does not look at all of its tokens"),
        (lambda: timm_model(timm_vit("vit_relpos_small_patch16_224")), "VisionTransformerRelPos, not a plain"),
    ],
)
def test_what_is_not_covered_is_refused_with_the_reason(make, reason):
    with pytest.raises(UnsupportedMethodError, match=f"^its image tower.*{reason}"):
        vit_parts(make())


def with_pooler(**options) -> nn.Module:
    from timm.layers import AttentionPoolLatent

    trunk = timm_vit(LATENT)
    trunk.attn_pool = lively(AttentionPoolLatent(32, num_heads=HEADS, **options))
    return trunk


# Feature maps --------------------------------------------------------------------------------------------------


def resnet(image_size: int = 64) -> nn.Module:
    import_open_clip()
    from open_clip.modified_resnet import ModifiedResNet

    visual = ModifiedResNet([1, 1, 1, 1], 16, 4, image_size=image_size, width=8)
    with torch.no_grad():  # each block begins as the identity; here all of it takes part
        for name, parameter in visual.named_parameters():
            if name.endswith("bn3.weight"):
                parameter.fill_(0.5)
    return visual.eval()


def timm_trunk(name: str, **options) -> nn.Module:
    return import_timm().create_model(name, pretrained=False, **options).eval()


def swin() -> nn.Module:
    sizes = {"embed_dim": 16, "depths": (1, 1), "num_heads": (2, 2), "window_size": 2, "num_classes": 16}
    return timm_trunk("swin_tiny_patch4_window7_224", img_size=(64, 96), **sizes)


MAPS = {
    "ModifiedResNet": (resnet, (64, 64), (2, 2)),
    "ConvNeXt": (lambda: timm_model(timm_trunk("test_convnext", num_classes=0), projection(64)), (64, 96), (2, 3)),
    "EfficientNet": (lambda: timm_model(timm_trunk("test_efficientnet", num_classes=16)), (64, 96), (2, 3)),
    "Swin": (lambda: timm_model(swin()), (64, 96), (8, 12)),
}


@pytest.mark.parametrize("kind", list(MAPS))
def test_the_halves_of_a_tower_with_a_feature_map_give_what_it_gives(kind):
    make, size, grid = MAPS[kind]
    torch.manual_seed(0)
    visual, pixels = make(), image(2, *size)
    tower, read_hw = conv_tower(visual, pixels[:1])
    passed = run_tower(tower, pixels)
    assert torch.allclose(passed.state, own_embedding(visual, pixels), atol=1e-5)
    pooled = kind == "ModifiedResNet"
    assert (tower.grid.height, tower.grid.width, tower.grid.num_prefix_tokens) == (*grid, int(pooled))
    assert read_hw == size
    assert passed.features.shape[2:] == grid and passed.features.shape[1] > max(grid)  # channels before places
    assert passed.features is passed.inputs and passed.layers == ()
    assert tower.pool == ("attention" if pooled else "none") and (tower.to_text is None) != pooled
    changed = pixels.clone()
    changed[:, :, :8, -8:] += 3.0  # upper right
    moved = (tower.embed(changed)[0] - passed.features).abs().sum(1)[0]
    row, column = divmod(int(moved.argmax()), grid[1])
    assert row < grid[0] / 2 and column >= grid[1] / 2
    start = (passed.features.detach().requires_grad_(True), None)
    (gradient,) = torch.autograd.grad(run_tower(tower, None, start=start).state[:, 0].sum(), start[0])
    assert gradient.abs().sum() > 0


RESTS = {
    "ConvNeXt": (lambda: timm_model(timm_trunk("test_convnext", num_classes=0), projection(64)), (128, 96)),
    "ModifiedResNet": (lambda: resnet(150), (128, 128)),
    "EfficientNet": (lambda: timm_model(timm_trunk("test_efficientnet", num_classes=16)), (150, 115)),
}
"""What of 150 x 115 pixels (150 x 150 of the ResNet) the map lies over; padded convolutions read all of it."""


@pytest.mark.parametrize("kind", list(RESTS))
def test_a_map_lies_over_whole_strides_of_the_input(kind):
    make, expected = RESTS[kind]
    pixels = image(1, 150, 150 if kind == "ModifiedResNet" else 115)
    assert conv_tower(make(), pixels).read_hw == expected


def test_a_cell_of_a_map_is_the_square_that_it_reads():
    """A ConvNeXt whose 7 x 7 convolutions see their own place alone: each cell reads its square, and no other."""
    visual, pixels = RESTS["ConvNeXt"][0](), image(1, 150, 115)
    with torch.no_grad():
        for name, parameter in visual.named_parameters():
            if name.endswith("conv_dw.weight"):
                centre = parameter[:, :, 3, 3].clone()
                parameter.zero_()[:, :, 3, 3] = centre
        tower, read_hw = conv_tower(visual, pixels)
        real, side = tower.embed(pixels)[0], read_hw[0] // tower.grid.height
        for row in range(-(-150 // side)):
            for column in range(-(-115 // side)):
                changed = pixels.clone()
                changed[:, :, row * side : (row + 1) * side, column * side : (column + 1) * side] += 1.0
                moved = (tower.embed(changed)[0] != real).any(1)[0]
                expected = torch.zeros(tower.grid.height, tower.grid.width, dtype=torch.bool)
                if row < tower.grid.height and column < tower.grid.width:
                    expected[row, column] = True
                assert torch.equal(moved, expected), (row, column)


def test_a_map_without_a_known_place_is_refused():
    visual = timm_model(timm_trunk("test_convnext", num_classes=0), projection(64))
    visual.trunk.feature_info = []
    assert conv_tower(visual, image(1, 160, 96)).read_hw == (160, 96)
    with pytest.raises(UnsupportedMethodError, match="map of 4 cells along 150 pixels has no known place"):
        conv_tower(visual, image(1, 150, 96))


def test_cells_of_a_map_are_drawn_where_they_were_read(tmp_path):
    cfg = named("test_convnext", image_size=150)
    folder = clip_folder(tmp_path / "m", **cfg, preprocess={"resize_mode": "squash"})
    encoding = Explainer(f"open_clip:{folder}", "cpu").encode(np.zeros((1500, 1500, 3), np.uint8))
    assert (encoding.grid.height, encoding.grid.width) == (4, 4)
    assert encoding.view.patch_box(encoding.grid, 3, 2) == pytest.approx((640, 960, 960, 1280))


def test_a_resnets_pooler_is_its_own_attention_pool():
    """Against torch's attention on the pool's tokens, and MaskCLIP's value path of a cell."""
    visual, pixels = resnet(), image(2, 64, 64)
    lively(visual.attnpool)
    tower, pool = conv_tower(visual, pixels[:1]).image, visual.attnpool
    passed = run_tower(tower, pixels)
    cells = passed.inputs.flatten(2).permute(2, 0, 1)
    x = torch.cat([cells.mean(0, keepdim=True), cells]) + pool.positional_embedding[:, None]
    bias = torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias])
    weights = {f"{name}_proj_weight": getattr(pool, f"{name}_proj").weight for name in "qkv"}
    with torch.no_grad():
        out, probs = F.multi_head_attention_forward(
            x, x, x, x.shape[-1], pool.num_heads, None, bias, None, None, False, 0.0, pool.c_proj.weight,
            pool.c_proj.bias, use_separate_proj_weight=True, average_attn_weights=False, **weights,
        )  # fmt: skip
    assert passed.pooler.probs.shape == (2, pool.num_heads, 1, tower.grid.num_tokens)
    assert torch.allclose(passed.pooler.probs, probs[:, :, :1], atol=1e-5)
    assert torch.allclose(passed.pooler.output, out[0], atol=1e-3)
    cell = passed.inputs[0, :, 1, 0]
    expected = pool.c_proj.weight @ (pool.v_proj.weight @ cell + pool.v_proj.bias) + pool.c_proj.bias
    assert torch.allclose(tower.to_text(passed.inputs[0].flatten(1).T)[2], expected, atol=1e-3)
    (gradient,) = torch.autograd.grad(passed.state[:, 0].sum(), passed.pooler.probs)
    assert gradient.abs().sum() > 0


def test_cocas_decoder_is_a_stage_that_no_match_reads():
    size = {"width": 32, "layers": 1}
    vision = {**size, "image_size": 32, "head_width": 8, "patch_size": 8, "output_tokens": True}
    pooler = {"attentional_pool": True, "attn_pooler_heads": 2, "attn_pooler_queries": 5}
    text = {**size, "heads": 4, "context_length": 9, "vocab_size": 90, "embed_cls": True, "output_tokens": True}
    coca = import_open_clip().CoCa(16, multimodal_cfg={**text, "width": 16}, text_cfg=text, vision_cfg=vision | pooler)
    coca.eval()
    found = stages(coca)
    label, decoder = found[-1]
    assert label == "text decoder, which the match does not read" and found[-2][0] == "embeddings"
    assert {id(p) for p in decoder} == {id(p) for p in coca.text_decoder.parameters()}
    listed = [id(parameter) for _, parts in found for parameter in parts]
    assert sorted(listed) == sorted(id(parameter) for parameter in coca.parameters())

    def embeddings() -> torch.Tensor:
        with torch.no_grad():
            return torch.cat([coca.encode_image(image(1, 32, 32)), coca.encode_text(torch.ones(1, 8).long())])

    before = embeddings()
    for parameter in decoder:
        parameter.data.mul_(1.5)
    assert torch.equal(embeddings(), before)


# Models --------------------------------------------------------------------------------------------------------


def named(name: str, **options) -> dict:
    """One of timm's own small test models."""
    vision = {"timm_model_name": name, "timm_proj": "linear", "image_size": 160}
    return {"vision": vision | options, "custom_text": True}


WHOLE = named("test_vit_relpos")
MODELS = {
    "class token": ({}, "token", (4, 6)),
    "pooler": ({**named("test_vit3", timm_pool="map", timm_proj="none"), "embed_dim": 96}, "attention", (10, 10)),
    "ConvNeXt": (named("test_convnext"), "none", (5, 5)),
    "ModifiedResNet": (OTHER_TOWERS["convolutions"], "attention", (2, 2)),
    "run as a whole": (WHOLE, None, (10, 10)),
}
CAPTION = "a red dog"


@pytest.fixture(scope="module", params=list(MODELS))
def case(request, tmp_path_factory):
    cfg, pooling, grid = MODELS[request.param]
    folder = clip_folder(tmp_path_factory.mktemp("m"), **cfg)
    return models.load_model(f"open_clip:{folder}", "cpu"), pooling, grid


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (90, 150, 3), dtype=np.uint8)


def encoded(model, photo):
    with torch.no_grad():
        return model.encode_image(load_photo(photo))


def test_every_model_encodes_and_offers_what_its_tower_has(case, photo):
    model, pooling, grid = case
    encoding = encoded(model, photo)
    trace = model.trace(encoding, CAPTION)
    pixels = trace.pixels
    with torch.no_grad():
        own = model.module.encode_image(pixels, normalize=True)[0]
    assert torch.allclose(encoding.embedding, own, atol=1e-5)
    assert (encoding.grid.height, encoding.grid.width) == grid
    offered = {"match"}
    if pooling is not None:
        offered |= {"image_tower"}
        offered |= {"image_attention"} if trace.image_tower().blocks else set()
        offered |= {"image_row", "patch_texts"} if pooling != "none" else set()
        tower = trace.image_tower()
        assert tower.pool == pooling and tower.grid == encoding.grid
        assert torch.allclose(run_tower(tower, pixels).state[0], own, atol=1e-5)
        assert (tower.to_text is not None) == ("patch_texts" in offered)
    if pooling == "token":
        offered |= {"cross_attention", "cells", "residual_stream"}
    assert set(trace.provides) == offered
    assert set(model.lacks()) == set(CAPABILITIES) - offered
    for capability in ("image_tower", "cross_attention", "residual_stream"):
        if capability not in offered:
            with pytest.raises(UnsupportedMethodError, match=r"does not offer .*: its "):
                getattr(trace, capability)()
    assert bool(model.notes) == (pooling is None)
    if "cross_attention" not in offered:
        within = model.info.attention_sentence.endswith("in the image tower alone")
        assert within == (pooling == "attention")


def test_match_is_the_cosine_with_the_words_in_a_prompt(case, photo):
    model, _, _ = case
    trace = model.trace(encoded(model, photo), CAPTION)
    match = trace.match()
    phrases = [trace.caption.phrase(word=2), trace.caption.phrase("red dog"), trace.caption.phrase(word=2)]
    batch = torch.cat([trace.pixels, trace.pixels.flip(-1), torch.zeros_like(trace.pixels)])
    with torch.no_grad():
        texts = model._tokenizer(["a photo of a dog", "a photo of a red dog", "a photo of a dog"])
        photos, words = model.module.encode_image(batch), model.module.encode_text(texts)
        expected = F.cosine_similarity(photos[:, None], words[None], dim=-1)
    found = match.score(match.state(batch.repeat(4, 1, 1, 1)), phrases)  # more than go through at once
    assert torch.allclose(found, expected.repeat(4, 1), atol=1e-5)
    assert torch.equal(match.readable(found), found)
    assert match.score(match.state(batch), []).shape == (3, 0)
    assert not match.state(batch).requires_grad


def test_match_has_a_gradient_with_respect_to_the_state(case, photo):
    model, _, _ = case
    trace = model.trace(encoded(model, photo), CAPTION)
    state = trace.image.embedding.detach()[None].clone().requires_grad_(True)
    score = trace.match().score(state, [trace.caption.phrase(word=2)])
    (gradient,) = torch.autograd.grad(score.sum(), state)
    assert torch.allclose(gradient[0], model.embed_texts(["a photo of a dog"])[0], atol=1e-6)


def test_a_tower_run_as_a_whole_says_so(tmp_path):
    folder = clip_folder(tmp_path / "m", **WHOLE)
    model = models.load_model(f"open_clip:{folder}")
    (note,) = model.notes
    assert "only as a whole (its image tower is timm's VisionTransformerRelPos" in note and "10 x 10 cells" in note
    assert model.info.attention_sentence.startswith("query: none, key: none")


def test_cells_of_a_tower_without_patches_cover_what_it_sees(tmp_path):
    """Patches that leave a rest: 6 x 6 of 14 pixels, of 96."""
    cfg = {**VISION, "patch_size": 14, "image_size": 96, "scale_attn": True, "block_type": "custom"}
    folder = clip_folder(tmp_path / "m", vision=cfg, preprocess={"resize_mode": "squash"})
    encoding = Explainer(f"open_clip:{folder}", "cpu").encode(np.zeros((960, 960, 3), np.uint8))
    assert (encoding.grid.height, encoding.grid.width) == (6, 6)
    assert encoding.view.patch_box(encoding.grid, 5, 5) == pytest.approx((700, 700, 840, 840))


@pytest.mark.parametrize("kind", ["class token", "pooler"])
def test_parts_that_give_something_else_are_not_used(kind, tmp_path, photo):
    """A tower that someone changed with a hook is run as it is, as a whole."""
    cfg, _, grid = MODELS[kind]
    source = source_of(f"open_clip:{clip_folder(tmp_path / 'm', **cfg)}")
    module, tokenizer = load(source)
    visual = module.visual
    blocks = visual.trunk.blocks if hasattr(visual, "trunk") else visual.transformer
    blocks.register_forward_hook(lambda _, args, out: out)
    assert "image_tower" not in OpenClipModel(source, module, tokenizer, torch.device("cpu")).lacks()
    blocks.register_forward_hook(lambda _, args, out: out.flip(-1))
    model = OpenClipModel(source, module, tokenizer, torch.device("cpu"))
    assert model.lacks()["image_tower"].startswith("its image tower's parts give an embedding that differs")
    encoding = encoded(model, photo)
    assert (encoding.grid.height, encoding.grid.width) == grid
    with torch.no_grad():
        own = module.encode_image(encoding.features["pixels"], normalize=True)[0]
    assert torch.equal(encoding.embedding, own)
    assert set(model.trace(encoding, CAPTION).provides) == {"match"}


def test_the_stages_are_all_weights_once_from_the_answer_down(case):
    model, _, _ = case
    stages = model.stages()
    names = {id(parameter): name for name, parameter in model.module.named_parameters()}
    found = [
        (
            label,
            [names[id(p)] for part in parts for p in ([part] if isinstance(part, nn.Parameter) else part.parameters())],
        )
        for label, parts in stages
    ]
    listed = [name for _, group in found for name in group]
    assert sorted(listed) == sorted(names.values())
    assert found[0][0] == "projections" and "logit_scale" in found[0][1]
    assert any("text_projection" in name for name in found[0][1])
    assert found[-1][0] == "embeddings"
    assert any("token_embedding" in name for name in found[-1][1])
    assert any("conv1" in name or "patch_embed" in name or "stem" in name for name in found[-1][1])
    middle = [label for label, _ in found[1:-1]]
    depth = len(middle)
    assert [label.split(",")[0] for label in middle] == [f"image block {depth - i}" for i in range(depth)]
    assert [label.partition(", ")[2] for label in middle[:2]] == ["text block 2", "text block 1"]
    text = dict(found)[f"image block {depth}, text block 2"]
    assert any("resblocks.1." in name and not name.startswith("visual") for name in text)


def test_a_clone_follows_its_own_weights_alone(case, photo):
    model, pooling, _ = case
    before = encoded(model, photo)
    clone = own_copy(model)
    assert clone.key != model.key
    assert torch.equal(encoded(clone, photo).embedding, before.embedding)
    with torch.no_grad():
        for parameter in clone.module.visual.parameters():
            parameter.mul_(0.7).add_(0.02)
    changed = encoded(clone, photo)
    assert not torch.allclose(changed.embedding, before.embedding, atol=1e-3)
    assert torch.equal(encoded(model, photo).embedding, before.embedding)
    if pooling is not None:
        trace = clone.trace(changed, CAPTION)
        assert torch.allclose(run_tower(trace.image_tower(), trace.pixels).state[0], changed.embedding, atol=1e-5)
    assert clone.module is not model.module
