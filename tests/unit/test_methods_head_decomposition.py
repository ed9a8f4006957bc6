"""Head decomposition: the shares add up, and each is what the similarity loses without it."""

import numpy as np
import pytest
import torch
from small_models import CLIP_VARIANTS, clip_folder

from crossviz import Explainer, models
from crossviz.errors import CaptureError, MethodError
from crossviz.methods import HeadDecomposition
from crossviz.methods.head_decomposition import decompose
from crossviz.photo import load_photo

CAPTION = "A dog, a frisbee and the dog"


@pytest.fixture(scope="module")
def photo():
    return np.random.default_rng(0).integers(0, 255, (90, 150, 3), dtype=np.uint8)


@pytest.mark.parametrize("variant", list(CLIP_VARIANTS))
def test_shares_and_named_terms_add_up_to_open_clips_similarity(variant, tmp_path, photo):
    """Against open_clip's own two encoders; every pooling, norm, grid and kind of block that is supported."""
    explainer = Explainer(f"open_clip:{clip_folder(tmp_path / 'm', **CLIP_VARIANTS[variant])}")
    found = explainer.explain(photo, CAPTION, "head_decomposition").map
    assert found.params["conservation_error"] <= 1e-4
    model = models.load_model(explainer.info.name)
    prompts = [f"a photo of a {word}" for word in ("A", "dog", "a", "frisbee", "and", "the", "dog")]
    with torch.no_grad():
        image = model.module.encode_image(model.preprocess(load_photo(photo))[0], normalize=True)[0]
        texts = model.module.encode_text(model._tokenizer(prompts), normalize=True)
    for i, (prompt, similarity) in enumerate(zip(prompts, (texts @ image).tolist(), strict=True)):
        terms = dict(found.params["words"][i])
        assert terms.pop("prompt") == prompt
        assert terms.pop("similarity") == pytest.approx(similarity, abs=1e-5)
        assert terms["patches"] == pytest.approx(float(found.values[i].sum()), abs=1e-5)
        assert sum(terms.values()) == pytest.approx(similarity, rel=1e-4, abs=1e-6)
    assert torch.allclose(found.values, found.per_head.sum((0, 1)), atol=1e-6)


def test_a_share_is_what_the_last_layer_adds_through_one_head_and_one_patch(tmp_path, photo):
    """By the definition, in plain arithmetic: one head's output from one patch, through the norm held as it is."""
    name = f"open_clip:{clip_folder(tmp_path / 'm')}"
    found = Explainer(name).explain(photo, "frisbee", HeadDecomposition("{}"))
    model = models.load_model(name)
    visual = model.module.visual
    block = visual.transformer.resblocks[-1]
    seen = {}
    handles = [
        block.ln_1.register_forward_hook(lambda module, args, out: seen.update(inside=out[0])),
        visual.ln_post.register_forward_hook(lambda module, args, out: seen.update(final=args[0][0, 0])),
    ]
    with torch.no_grad():
        image = visual(model.preprocess(load_photo(photo))[0])[0]
        text = model.embed_texts(["frisbee"])[0]
    for handle in handles:
        handle.remove()
    x, final, dim = seen["inside"].double().numpy(), seen["final"].double().numpy(), 48
    weight = block.attn.in_proj_weight.detach().double().numpy()
    bias = block.attn.in_proj_bias.detach().double().numpy()
    out = block.attn.out_proj.weight.detach().double().numpy()
    q, k, v = (x @ weight[i * dim : (i + 1) * dim].T + bias[i * dim : (i + 1) * dim] for i in range(3))
    gain, projection = visual.ln_post.weight.detach().double().numpy(), visual.proj.detach().double().numpy()
    std = np.sqrt(final.var() + visual.ln_post.eps)
    for head, patch in ((0, 0), (1, 17), (3, 23)):
        part = slice(head * 12, head * 12 + 12)
        logits = q[0, part] @ k[:, part].T / np.sqrt(12)
        attention = np.exp(logits - logits.max())
        attention /= attention.sum()
        added = out[:, part] @ (attention[patch + 1] * v[patch + 1, part])
        share = ((added - added.mean()) / std * gain) @ projection @ text.double().numpy() / float(image.norm())
        row, col = divmod(patch, 6)
        assert float(found.map.per_head[-1, head, 0, row, col]) == pytest.approx(share, rel=1e-4, abs=1e-8)
        assert float(found.record.probs[-1, head, 0, patch + 1]) == pytest.approx(attention[patch + 1], abs=1e-6)


def test_a_word_is_a_text_by_itself(tmp_path, photo):
    explainer = Explainer(f"open_clip:{clip_folder(tmp_path / 'm')}")
    image = explainer.encode(photo)
    one = explainer.explain(image, CAPTION, "head_decomposition")
    other = explainer.explain(image, "my frisbee", "head_decomposition")
    assert torch.allclose(one.map.values[3], other.map.values[1], atol=1e-6)
    assert torch.equal(one.map.values[1], one.map.values[6])  # both dogs
    assert "does not depend on the caption's other words" in " ".join(one.map.notes)
    assert one.record.query_kind == "image class token" and one.record.probs.shape == (3, 4, 1, 25)
    assert one.provenance.notes[1].startswith("query: image class token, key: class token, then image patches")


def test_the_prompt_is_a_parameter_and_stated(tmp_path, photo):
    explainer = Explainer(f"open_clip:{clip_folder(tmp_path / 'm')}")
    image = explainer.encode(photo)
    bare = explainer.explain(image, "frisbee", HeadDecomposition("{}"))
    photo_of = explainer.explain(image, "frisbee", "head_decomposition")
    assert (bare.map.params["prompt"], photo_of.map.params["prompt"]) == ("{}", "a photo of a {}")
    assert not torch.allclose(bare.map.values, photo_of.map.values, atol=1e-4)
    assert bare.map.params["words"][0]["similarity"] == pytest.approx(bare.similarity, abs=1e-5)


@pytest.mark.parametrize("prompt", ["a photo", "{} and {}", "{0}", "{word}"])
def test_a_prompt_without_one_place_for_the_word_is_refused(prompt):
    with pytest.raises(MethodError, match="must hold"):
        HeadDecomposition(prompt)


def test_shares_that_do_not_add_up_are_not_shown(tmp_path, photo):
    from dataclasses import replace

    model = models.load_model(f"open_clip:{clip_folder(tmp_path / 'm')}")
    with torch.no_grad():
        trace = model.trace(model.encode_image(load_photo(photo)), "a dog")
        stream = trace.residual_stream()
        broken = replace(stream, layers=(replace(stream.layers[0], mlp=stream.layers[0].mlp * 1.5), *stream.layers[1:]))
        with pytest.raises(CaptureError, match="don't add up"):
            HeadDecomposition()(replace(trace, provides={"residual_stream": lambda: broken}))


def test_an_error_of_a_few_ten_thousandths_is_refused(tmp_path, photo):
    from dataclasses import replace

    model = models.load_model(f"open_clip:{clip_folder(tmp_path / 'm')}")
    with torch.no_grad():
        trace = model.trace(model.encode_image(load_photo(photo)), "dog")
        stream = trace.residual_stream()
        told = HeadDecomposition()(trace).map.params["words"][0]
        least, share = max(abs(told["similarity"]), 0.01), told["input embedding"]
        for error, refused in ((5e-5, False), (3e-4, True)):
            broken = replace(stream, initial=stream.initial * (1 + error * least / share))
            asked = replace(trace, provides={"residual_stream": lambda broken=broken: broken})
            if refused:
                with pytest.raises(CaptureError, match="at most 1e-04"):
                    HeadDecomposition()(asked)
            else:
                found = HeadDecomposition()(asked).map.params["conservation_error"]
                assert found == pytest.approx(error, rel=0.1)


def test_terms_are_linear_in_the_text(tmp_path, photo):
    model = models.load_model(f"open_clip:{clip_folder(tmp_path / 'm')}")
    with torch.no_grad():
        stream = model.trace(model.encode_image(load_photo(photo)), "a dog").residual_stream()
    a, b = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    patches, terms = decompose(stream, torch.stack([a, b, a - 2 * b]))
    assert torch.allclose(patches[:, :, 2], patches[:, :, 0] - 2 * patches[:, :, 1])
    assert all(torch.allclose(term[2], term[0] - 2 * term[1]) for term in terms.values())
