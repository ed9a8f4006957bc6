"""LeGrad, Chefer and Grad-ECLIP on whole models: what they need, what they leave alone, what they refuse."""

import factories
import numpy as np
import pytest
import torch
from small_models import clip_folder, mini_folder
from tiny_towers import Tiny

from crossviz import Explainer, models
from crossviz.errors import UnsupportedMethodError
from crossviz.methods.chefer import Chefer
from crossviz.methods.grad_eclip import GradEclip
from crossviz.methods.legrad import LeGrad

METHODS = {method.info.name: method for method in (LeGrad(), Chefer(), GradEclip())}
CAPTION = "a dog and a frisbeeee"


def timm(name: str, **options) -> dict:
    vision = {"timm_model_name": name, "timm_proj": "linear", "image_size": 160}
    return {"vision": vision | options, "custom_text": True}


MODELS = {
    "class token": {},
    "average": {"vision": {"layers": 2, "width": 48, "head_width": 12, "patch_size": 16, "image_size": [64, 96]}
                | {"pool_type": "avg"}},
    "pooler": {**timm("test_vit3", timm_pool="map", timm_proj="none"), "embed_dim": 96},
    "crossviz-mini": None,
}  # fmt: skip


@pytest.fixture(scope="module", params=list(MODELS))
def name(request, tmp_path_factory) -> str:
    folder, cfg = tmp_path_factory.mktemp("m"), MODELS[request.param]
    return f"crossviz-mini:{mini_folder(folder)}" if cfg is None else f"open_clip:{clip_folder(folder, **cfg)}"


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (90, 150, 3), dtype=np.uint8)


@pytest.mark.parametrize("method", METHODS)
def test_every_word_has_a_map_and_the_model_is_left_as_it_was(method, name, photo):
    model, explainer = models.load_model(name, "cpu"), Explainer(name)
    weights = dict(model.module.named_parameters())
    before = {key: (weight.clone(), weight.requires_grad) for key, weight in weights.items()}
    encoded = explainer.encode(photo)
    found = explainer.explain(encoded, CAPTION, METHODS[method])
    values = found.map.values
    assert values.shape == (5, encoded.grid.height, encoded.grid.width)
    assert (values.flatten(1).amax(1) > 0).sum() >= 3
    assert not torch.allclose(values[1] / values[1].max(), values[4] / values[4].max(), atol=1e-3)
    if "mini" not in name:  # there a word's map depends on its place
        assert torch.equal(values[0], values[3])
    for key, weight in weights.items():
        assert weight.grad is None and weight.requires_grad is before[key][1]
        assert torch.equal(weight, before[key][0])
    for weight in weights.values():
        weight.requires_grad_(False)
    try:
        again = explainer.explain(encoded, CAPTION, METHODS[method]).map.values
        assert torch.allclose(again, values, rtol=1e-4, atol=1e-9)
    finally:
        for key, weight in weights.items():
            weight.requires_grad_(before[key][1])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tower", ["test_convnext", "test_vit_relpos"])
def test_towers_whose_attention_cannot_be_read_are_refused_with_the_reason(method, tower, photo, tmp_path):
    explainer = Explainer(f"open_clip:{clip_folder(tmp_path / 'm', **timm(tower))}")
    with pytest.raises(UnsupportedMethodError, match=r"does not offer .*: its "):
        explainer.explain(photo, CAPTION, METHODS[method])
    assert METHODS[method].info not in explainer.methods


@pytest.mark.parametrize("method", METHODS)
def test_words_that_were_cut_off_have_maps_of_zeros(method):
    tiny = Tiny()
    whole = METHODS[method](tiny.trace("dog cat tree")).map
    cut = METHODS[method](tiny.trace(factories.caption("dog cat tree", read=2))).map
    assert torch.equal(cut.values[:2], whole.values[:2]) and whole.values[2].max() > 0
    assert torch.equal(cut.values[2], torch.zeros(2, 3)) and cut.token_counts == (1, 1, 0)
