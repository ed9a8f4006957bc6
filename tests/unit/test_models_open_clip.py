"""The family open_clip: names, sources and what they turn into; its view of a photo; its cross-attention's formula."""

import json
from dataclasses import fields, is_dataclass

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import CLIP_VARIANTS, TEXT, VISION, clip_folder, mini_folder

from crossviz import Explainer, models
from crossviz.capture import capture
from crossviz.compat import import_open_clip
from crossviz.errors import CaptureError, ModelUnavailableError, UnknownModelError, UnsupportedMethodError
from crossviz.methods import get_method, methods
from crossviz.models.open_clip import OpenClipModel
from crossviz.models.open_clip_load import load, source_of
from crossviz.models.pixels import Preprocess
from crossviz.models.vit_tower import vit_tower
from crossviz.photo import load_photo

SQUARE = {**VISION, "image_size": 64}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return clip_folder(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def photo():
    return np.random.default_rng(0).integers(0, 255, (90, 150, 3), dtype=np.uint8)


# Names ---------------------------------------------------------------------------------------------------------


def test_a_folder_is_named_by_its_path_with_or_without_open_clips_prefix(folder):
    plain, prefixed = (models.load_model(f"open_clip:{prefix}{folder}") for prefix in ("", "local-dir:"))
    assert plain is prefixed  # one folder is one model, loaded once
    assert plain.info.trained


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("open_clip:ViT-B-61/openai", "Did you mean ViT-B-16/openai"),
        ("open_clip:ViT-B-16/opnai", "Did you mean openai?"),
        ("open_clip:RN50/nothing-like-it", "it has: openai"),
        ("open_clip:", "names no model"),
        ("open_clip", "names no model"),
    ],
)
def test_unknown_names_are_told_what_there_is(name, said):
    with pytest.raises(UnknownModelError) as caught:
        models.load_model(name)
    assert said in str(caught.value)


@pytest.mark.parametrize("block", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}], ids=str)
def test_weights_without_network_are_refused_at_once(block, tmp_path):
    """In a process of its own: huggingface_hub reads its settings once."""
    import os
    import subprocess
    import sys

    code = """
import crossviz
from crossviz.compat import import_open_clip
import_open_clip()
try:
    crossviz.Explainer("open_clip:ViT-B-16/openai")
except crossviz.ModelUnavailableError as error:
    print(error)
"""
    env = {**os.environ, "HF_HOME": str(tmp_path), **block}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=env)
    (message,) = done.stdout.splitlines()
    assert "open_clip:ViT-B-16/openai" in message
    assert "HF_HUB_OFFLINE is set" in message or "127.0.0.1:9 can't be reached" in message
    assert "crossviz-mini" in message


def test_damaged_folders_say_what_is_wrong(tmp_path):
    def loading(path) -> str:
        with pytest.raises(ModelUnavailableError) as caught:
            models.load_model(f"open_clip:{path}")
        return str(caught.value)

    assert "no open_clip model in the folder empty" in loading(tmp_path / "empty")
    bare = clip_folder(tmp_path / "bare")
    (bare / "open_clip_model.safetensors").unlink()
    assert "holds no weights" in loading(bare)
    cut = clip_folder(tmp_path / "cut")
    weights = cut / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    assert "can't be loaded" in loading(cut) and "check the files" in loading(cut)
    wrong = clip_folder(tmp_path / "wrong")
    (wrong / "open_clip_config.json").write_text("{")
    assert "can't be loaded" in loading(wrong)


def test_a_changed_folder_is_loaded_again(tmp_path):
    first = models.load_model(f"open_clip:{clip_folder(tmp_path / 'm')}")
    second = models.load_model(f"open_clip:{clip_folder(tmp_path / 'm', vision={**VISION, 'layers': 2})}")
    assert first is not second
    assert first.weights_sha256 != second.weights_sha256


# Trained or not ------------------------------------------------------------------------------------------------


def test_weights_that_were_not_trained_are_marked_to_the_end(tmp_path, photo):
    folder = clip_folder(tmp_path / "m")
    (folder / "crossviz.json").write_text(json.dumps({"training": {"trained": False}}))
    explanation = Explainer(f"open_clip:{folder}").explain(photo, "a dog")
    assert not explanation.provenance.trained
    assert any("not trained" in note for note in explanation.provenance.notes)


def test_a_folder_with_unreadable_metadata_does_not_count_as_trained(tmp_path):
    folder = clip_folder(tmp_path / "m")
    (folder / "crossviz.json").write_text("{}")
    assert not models.load_model(f"open_clip:{folder}").info.trained


def test_an_architecture_without_a_tag_has_the_same_random_weights_every_time():
    import_open_clip()
    before = torch.get_rng_state()
    one = models.load_model("open_clip:ViT-S-32-alt")
    models.unload_models()
    other = models.load_model("open_clip:ViT-S-32-alt")
    assert one is not other and one.weights_sha256 == other.weights_sha256
    assert not one.info.trained and "random weights" in one.info.sentence
    assert torch.equal(before, torch.get_rng_state())


# The photo -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["squash", "shortest", "longest"])
@pytest.mark.parametrize("size", [[64, 96], 64], ids=["wide", "square"])
@pytest.mark.parametrize("wh", [(150, 90), (60, 200), (64, 64)], ids=str)
def test_pixels_are_open_clips_and_the_view_is_where_they_came_from(tmp_path_factory, mode, size, wh):
    name = f"{mode}-{size}".replace(" ", "")
    folder = tmp_path_factory.getbasetemp() / name
    if not folder.exists():
        clip_folder(folder, vision={**VISION, "image_size": size}, preprocess={"resize_mode": mode})
    model = models.load_model(f"open_clip:{folder}")
    # Red grows to the right and green downwards, so that a pixel tells where in the photo it is from.
    columns, rows = np.meshgrid(np.arange(wh[0]) + 0.5, np.arange(wh[1]) + 0.5)
    ramp = np.stack([columns / wh[0] * 250, rows / wh[1] * 250, np.full(columns.shape, 250.0)], -1).astype(np.uint8)
    pixels, view = model.preprocess(load_photo(ramp))
    config = model.module.visual.preprocess_cfg
    transforms = import_open_clip().transform
    own = transforms.PreprocessCfg(**{**config, "size": tuple(np.broadcast_to(size, 2).tolist())})
    assert torch.equal(pixels[0], transforms.image_transform_v2(own, is_train=False)(load_photo(ramp).image()))
    values = pixels[0].permute(1, 2, 0).numpy() * np.array(config["std"]) + np.array(config["mean"])
    height, width = view.input_hw
    centre = np.array([[width * 0.5, height * 0.5], [width * 0.4, height * 0.6]])
    for x, y in centre:
        red, green = values[int(y), int(x), :2] * 255 / 250
        expected = view.input_to_source([int(x) + 0.5, int(y) + 0.5]) / np.array(wh)
        assert (red, green) == pytest.approx(tuple(expected), abs=0.03)


@pytest.mark.parametrize("mode", ["shortest", "longest"])
@pytest.mark.parametrize("wh", [(300, 180), (120, 400)], ids=str)
def test_slivers_are_read_as_open_clip_reads_photos(mode, wh):
    """Photos too thin for open_clip's own transform go another way; on ordinary photos both give the same picture."""
    config = {"size": 64, "resize_mode": mode, "mean": (0.0,) * 3, "std": (1.0,) * 3, "interpolation": "bicubic"}
    usual, other = Preprocess(config), Preprocess(config)
    other._is_sliver = lambda view: True
    smooth = np.random.default_rng(0).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    photo = load_photo(Image.fromarray(smooth).resize(wh, Image.Resampling.BICUBIC))
    (pixels, view), (again, same_view) = usual(photo), other(photo)
    assert view == same_view
    assert float((pixels - again).abs().mean()) < 0.004  # a grey level
    assert float((pixels - again).abs().quantile(0.98)) < 0.03  # single rows at the edge of a crop or of the padding


def test_patches_that_leave_a_rest_are_placed_where_they_were_read(tmp_path):
    folder = clip_folder(
        tmp_path / "m", **CLIP_VARIANTS["patches that leave a rest"], preprocess={"resize_mode": "squash"}
    )
    image = Explainer(f"open_clip:{folder}").encode(np.zeros((960, 960, 3), np.uint8))
    assert (image.grid.height, image.grid.width) == (6, 6)  # of 14 pixels in 96
    assert image.view.patch_box(image.grid, 0, 0) == pytest.approx((0, 0, 140, 140))
    assert image.view.patch_box(image.grid, 5, 5) == pytest.approx((700, 700, 840, 840))


# Towers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", list(CLIP_VARIANTS))
def test_a_tower_taken_apart_gives_its_own_embedding(variant, tmp_path, photo):
    explainer = Explainer(f"open_clip:{clip_folder(tmp_path / 'm', **CLIP_VARIANTS[variant])}")
    model = models.load_model(explainer.info.name)
    image = explainer.encode(photo)
    with torch.no_grad():
        own = model.module.encode_image(model.preprocess(load_photo(photo))[0], normalize=True)[0]
    assert torch.allclose(image.embedding, own, atol=1e-6)


def test_a_tower_that_is_not_the_sum_of_its_parts_is_refused(tmp_path):
    model = models.load_model(f"open_clip:{clip_folder(tmp_path / 'm')}")
    tower = vit_tower(model.module.visual)
    pixels = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        tower.check(pixels)
        model.module.visual.transformer.resblocks[1].register_forward_hook(lambda module, args, out: out * 1.01)
        with pytest.raises(CaptureError, match="differs from the tower's own"):
            tower.check(pixels)


@pytest.mark.parametrize(
    ("vision", "lacking", "reason"),
    [
        ({"layers": [1] * 4, "width": 16, "head_width": 16, "image_size": 64}, "image_attention", "ModifiedResNet"),
        ({**SQUARE, "attentional_pool": True}, "cross_attention", "attention pooler"),
        ({**SQUARE, "scale_attn": True, "block_type": "custom"}, "image_tower", "not a plain pre-norm block"),
        ({"timm_model_name": "test_convnext", "timm_proj": "linear", "image_size": 160}, "patch_texts", "ConvNeXt"),
        ({"timm_model_name": "test_vit_relpos", "timm_proj": "linear", "image_size": 160}, "image_tower", "RelPos"),
    ],
    ids=["convolutions", "pooler", "norm", "timm convolutions", "timm, another transformer"],
)
def test_towers_without_a_part_encode_and_say_why(vision, lacking, reason, tmp_path, photo):
    folder = clip_folder(tmp_path / "m", vision=vision, custom_text="timm_model_name" in vision)
    explainer = Explainer(f"open_clip:{folder}")
    image = explainer.encode(photo)
    trace = models.load_model(explainer.info.name).trace(image, "a dog")
    assert "match" in trace.provides and lacking not in trace.provides
    assert reason in trace.lacks[lacking]
    with pytest.raises(UnsupportedMethodError, match=r"does not offer .*: its image tower"):
        explainer.explain(image, "a dog", "cross_attention")


def test_a_tower_that_fails_on_its_own_input_is_refused_when_loaded(tmp_path):
    source = source_of(f"open_clip:{clip_folder(tmp_path / 'm')}")
    module, tokenizer = load(source)
    module.visual.proj = torch.nn.Parameter(torch.zeros(7, 7))
    with pytest.raises(ModelUnavailableError, match=r"can't be run: its image tower fails on 64 x 96 pixels \(Runtime"):
        OpenClipModel(source, module, tokenizer, torch.device("cpu"))


# Its cross-attention -------------------------------------------------------------------------------------------


def test_cross_attention_is_the_formula_over_clips_own_projections(folder, photo):
    """Written out with open_clip's modules alone: ClearCLIP's dense features, cosines, temperature, softmax."""
    explanation = Explainer(f"open_clip:{folder}").explain(photo, "a red frisbee")
    model = models.load_model(f"open_clip:{folder}")
    clip = model.module
    pixels, _ = model.preprocess(load_photo(photo))
    last = clip.visual.transformer.resblocks[-1]
    with torch.no_grad():
        with capture({"last": last.attn}, keep=("queries", "values")) as captured:
            clip.encode_image(pixels)
        q, v = captured["last"].queries[0], captured["last"].values[0]  # head token head_dim
        mixed = torch.softmax(q @ q.mT / q.shape[-1] ** 0.5, -1) @ v
        dense = clip.visual.ln_post(last.attn.out_proj(mixed.transpose(0, 1).flatten(1)))[1:] @ clip.visual.proj
        ids = model.tokenize("a red frisbee").ids
        x = clip.token_embedding(ids) + clip.positional_embedding
        states = clip.ln_final(clip.transformer(x, attn_mask=clip.attn_mask))[0, :5] @ clip.text_projection
        cosines = torch.nn.functional.normalize(states, dim=-1) @ torch.nn.functional.normalize(dense, dim=-1).T
        expected = torch.softmax(clip.logit_scale.exp() * cosines, -1)
    assert torch.allclose(explanation.record.probs[0, 0], expected, atol=1e-6)
    notes = " ".join(explanation.map.notes)
    for said in ("no cross-attention of its own", "W_Q", "W_K", "ClearCLIP", "Only the pooled position", "causal"):
        assert said in notes


def test_what_is_kept_with_a_photo_holds_no_graph(folder, photo):
    """Whoever asks first, with gradients on or off, leaves the same for the others."""
    explainer = Explainer(f"open_clip:{folder}")
    model, image = models.load_model(f"open_clip:{folder}"), explainer.encode(photo)
    trace = model.trace(image, "a red dog")
    with torch.enable_grad():
        trace.cross_attention()
        stream = trace.residual_stream()
        for info in methods():
            if not any(need in model.lacks() for need in info.requires):
                method = get_method(info.name)
                method(trace)
    assert {"dense", "residual_stream"} <= set(image._kept)
    assert not stream.initial.requires_grad

    def tensors(kept):
        if isinstance(kept, torch.Tensor):
            yield kept
        elif isinstance(kept, dict | list | tuple):
            for part in kept.values() if isinstance(kept, dict) else kept:
                yield from tensors(part)
        elif is_dataclass(kept):
            yield from tensors([getattr(kept, part.name) for part in fields(kept)])

    found = {name: list(tensors(kept)) for name, kept in image._kept.items()}
    assert len(found["residual_stream"]) > 10
    assert [name for name, parts in found.items() if any(part.requires_grad for part in parts)] == []


def test_a_text_tower_that_is_not_causal_is_not_called_so(tmp_path, photo):
    folder = clip_folder(tmp_path / "m", text={**TEXT, "no_causal_mask": True}, custom_text=True)
    assert "causal" not in " ".join(Explainer(f"open_clip:{folder}").explain(photo, "a dog").map.notes)


def test_a_mini_folder_is_an_open_clip_model_too(tmp_path):
    """The towers are saved as open_clip saves them, so open_clip alone loads them."""
    import crossviz.models.mini_tower  # noqa: F401  registers the image tower with timm

    folder = mini_folder(tmp_path / "mini")
    clip = import_open_clip().create_model(f"local-dir:{folder}")
    assert clip.encode_text(import_open_clip().get_tokenizer(f"local-dir:{folder}")(["a dog"])).shape == (1, 256)
