"""crossviz-mini taken apart: its image tower, its match of photo and phrase, its cross-attention in a graph."""

import copy
import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import mini_folder, own_copy
from timm.layers import Conv2dSame

from crossviz import Explainer, models
from crossviz.capture import capture, sites
from crossviz.errors import CaptureError, SelectionError, UnsupportedMethodError
from crossviz.models.crossviz_mini import CrossvizMini
from crossviz.models.mini_tower import SameConv2d, pad_within
from crossviz.photo import load_photo
from crossviz.tower import run_tower

CAPTION = "a black dog catches a red frisbeeish thing"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return mini_folder(tmp_path_factory.mktemp("mini"))


@pytest.fixture(scope="module")
def photo():
    return np.random.default_rng(0).integers(0, 255, (90, 150, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=["random", "embedded"])
def model(request, folder):
    return models.load_model(f"crossviz-mini:{folder}" if request.param == "random" else "crossviz-mini", "cpu")


@pytest.fixture(scope="module")
def trace(model, photo):
    with torch.no_grad():
        return model.trace(model.encode_image(load_photo(photo)), CAPTION)


@pytest.fixture(scope="module")
def pixels(trace):
    """Three photos, none like another."""
    x = trace.pixels
    return torch.cat([x, x.flip(-1), x.roll(100, -2) * 0.5])


def close(one, other, tolerance=1e-5):
    return float((one - other).detach().abs().max()) <= tolerance * float(other.detach().abs().max())


def test_the_parts_are_the_tower_that_open_clip_runs(model, trace, pixels):
    visual = model.module["clip"].visual
    with torch.no_grad():
        found = run_tower(trace.image_tower(), pixels)
        _, patches = visual.trunk.forward_dense(pixels)
        embedding = model.module["clip"].encode_image(pixels, normalize=True)
    assert close(found.state["patches"], patches) and close(found.state["embedding"], embedding)
    assert close(found.features.flatten(2).transpose(1, 2), patches)
    grid = trace.image_tower().grid
    assert found.inputs.shape[1] == grid.num_prefix_tokens + grid.num_patches
    for layer in found.layers:
        assert layer.probs.shape == (3, 4, 145, 145)
        assert torch.allclose(layer.probs.sum(-1), torch.ones(()), atol=1e-5)


def test_the_state_is_that_of_the_encoded_photo_however_many_there_are(trace, pixels):
    match = trace.match()
    many = pixels.repeat(4, 1, 1, 1)[:10].clone().requires_grad_(True)  # more than one pass takes
    state = match.state(many)
    assert len(state["patches"]) == len(state["embedding"]) == 10
    assert not state["patches"].requires_grad and not state["embedding"].requires_grad
    assert close(state["patches"][0], trace.image.features["patches"])
    assert close(state["embedding"][0], trace.image.embedding)
    alone = [match.state(pixels[i : i + 1]) for i in range(3)]
    for i in range(10):
        assert close(state["patches"][i], alone[i % 3]["patches"][0])
        assert close(state["embedding"][i], alone[i % 3]["embedding"][0])


def test_the_layout_of_the_weights_changes_neither_them_nor_what_they_give(model, pixels):
    trunk = model.module["clip"].visual.trunk
    stem = trunk.body.conv_stem.weight
    assert stem.is_contiguous(memory_format=torch.channels_last) and not stem.is_contiguous()
    other = own_copy(model)
    other.module.to(memory_format=torch.contiguous_format)
    plain = other.module["clip"].visual.trunk
    assert plain.body.conv_stem.weight.is_contiguous()
    assert other.weights_sha256 == model.weights_sha256
    with torch.no_grad():
        for one, two in zip(trunk.forward_dense(pixels[:2]), plain.forward_dense(pixels[:2]), strict=True):
            assert close(one, two, 1e-4)


def test_with_all_heads_off_only_the_residual_stream_is_left(model, trace, pixels):
    head = model.module["clip"].visual.trunk.head
    tower = trace.image_tower()
    with torch.no_grad():
        found = run_tower(tower, pixels, head_mask=torch.zeros(3, 3, 4))
        x, fine = head.enter(*model.module["clip"].visual.trunk.body(pixels))
        for block in head.blocks:
            x = x + block.attn.proj.bias
            x = x + block.mlp.fc2(torch.nn.functional.gelu(block.mlp.fc1(block.norm2(x))))
        patches = torch.stack([head.join(x[i : i + 1], fine[i : i + 1])[0] for i in range(3)])
    assert close(found.state["patches"], patches)
    assert not close(patches, trace.match().state(pixels)["patches"], 1e-3)


def test_a_head_switched_off_is_one_whose_output_weights_are_zero(model, trace, pixels):
    other = own_copy(model)
    tower = trace.image_tower()
    mask = torch.ones(3, 3, 4)
    mask[:, 1, 2] = 0
    with torch.no_grad():
        other.module["clip"].visual.trunk.head.blocks[1].attn.proj.weight[:, 128:192] = 0
        _, patches = other.module["clip"].visual.trunk.forward_dense(pixels)
        start = tower.embed(pixels)
        found = run_tower(tower, None, start=start, head_mask=mask)
        whole = run_tower(tower, None, start=start)
        one_photo = run_tower(tower, None, start=(start[0][1:2], start[1][1:2]), head_mask=mask[1:2])
    assert close(found.state["patches"], patches)
    assert close(one_photo.state["patches"], patches[1:2])
    assert not close(whole.state["patches"], patches, 1e-4)


def test_the_match_is_the_figure_on_the_screen(model, trace, photo):
    found = Explainer(model.info.name, "cpu").explain(photo, CAPTION)
    match, caption = trace.match(), trace.caption
    phrases = [caption.phrase(word=i) for i in range(len(caption.words))]
    phrases += [caption.phrase("black dog"), caption.phrase("a red frisbeeish thing")]
    assert len({len(caption.words[i].tokens) for i in phrases[-1].words}) > 1  # words of unequal weight
    with torch.no_grad():
        shown = match.readable(match.score(match.state(trace.pixels), phrases))[0]
    null = [found.null_mass(span=(phrase.start, phrase.end)) for phrase in phrases]
    assert torch.allclose(shown, 1 - torch.tensor(null), atol=1e-5)


def test_the_match_of_a_word_that_was_cut_off_is_refused(model, trace):
    long = " ".join(f"dog{i}" for i in range(120))
    last = model.trace(trace.image, long)
    with pytest.raises(SelectionError, match="did not read"):
        last.caption.phrase(word=-1)
    cut_off = last.caption._phrase_of([119])
    with pytest.raises(SelectionError, match="read no token of 'dog119'"):
        last.match().score(last.match().state(last.pixels), [cut_off])


def test_the_gradient_of_the_match_is_that_of_the_whole_model(model, trace, pixels):
    phrase = trace.caption.phrase("black dog")
    tokens = [t for i in phrase.words for t in trace.caption.words[i].tokens]

    def gradient(score):
        given = pixels[:2].detach().clone().requires_grad_(True)
        return torch.autograd.grad(score(given).sum(), given)[0]

    def whole(given):
        _, patches = model.module["clip"].visual.trunk.forward_dense(given)
        states = model.encode_text(model.tokenize(CAPTION)).tokens
        null = model.module["attention"](states.expand(2, -1, -1), patches).probs[..., -1]
        return torch.logit(1 - null[:, :, tokens].mean((1, 2)))

    ours = gradient(lambda given: trace.match().score(run_tower(trace.image_tower(), given).state, [phrase]))
    expected = gradient(whole)
    assert expected.abs().max() > 0
    assert close(ours, expected, 1e-3)


def test_a_pass_is_the_cross_attention_with_the_text_towers_own_attention_before_it(model, trace, pixels):
    state = trace.match().state(pixels)
    found = trace.cross_pass(state)
    own = trace.cross_attention()
    assert (found.layers, found.has_null) == (own.layers, own.has_null)
    assert found.probs.shape == (3, *own.probs.shape)
    assert torch.allclose(found.probs[0], own.probs, atol=1e-5)
    text, tokenized = model.module["clip"].text, model.tokenize(CAPTION)
    with torch.no_grad(), capture(sites(text), keep=("probs",)) as captured:
        model.encode_text(tokenized)
    count = len(tokenized.caption.tokens)
    expected = [call.probs[0, :, :count, :count] for name in sites(text) for call in captured.calls(name)]
    assert len(found.text_probs) == len(expected) == 4
    for ours, theirs in zip(found.text_probs, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
    phrases = [trace.caption.phrase("black dog"), trace.caption.phrase(word=-1)]
    assert torch.allclose(found.score(phrases), trace.match().score(state, phrases), atol=1e-4)


def test_the_gradient_of_a_pass_with_respect_to_its_probs_has_a_closed_form(trace, pixels):
    found = trace.cross_pass(trace.match().state(pixels[:2]))
    phrase = trace.caption.phrase("black dog")
    tokens = [t for i in phrase.words for t in trace.caption.words[i].tokens]
    (gradient,) = torch.autograd.grad(found.score([phrase]).sum(), found.probs)
    null = found.probs[:, 0, :, tokens, -1].detach().mean((1, 2))  # batch
    expected = torch.zeros_like(gradient)
    expected[:, 0, :, tokens, -1] = (-1 / (null * (1 - null)) / (4 * len(tokens)))[:, None, None]
    assert close(gradient, expected, 1e-4)


def test_text_attention_has_the_gradient_that_small_changes_show(model, photo):
    """Against central differences of a loop over the text tower's blocks, in double precision."""
    other = own_copy(model)
    other.module.double().requires_grad_(False)  # the graph must not hang on the weights
    text, attention = other.module["clip"].text, other.module["attention"]
    tokenized = other.tokenize(CAPTION)
    count = len(tokenized.caption.tokens)
    patches = torch.randn(1, 576, 256, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    trace = model.trace(model.encode_image(load_photo(photo)), CAPTION)  # for its caption; the tower is the other's
    phrase = trace.caption.phrase("black dog")
    ids = tokenized.ids[:, : count + 1]

    def score(change: dict) -> float:
        x = (text.token_embedding(ids) + text.positional_embedding[: count + 1])[0]
        for i, block in enumerate(text.transformer.resblocks):
            q, k, v = (
                part.unflatten(-1, (4, -1)).transpose(0, 1)
                for part in (block.ln_1(x) @ block.attn.in_proj_weight.T + block.attn.in_proj_bias).chunk(3, -1)
            )
            probs = torch.softmax(q @ k.transpose(-2, -1) / 8, -1)
            for (layer, *place), step in change.items():
                if layer == i:
                    probs[tuple(place)] += step
            x = x + block.attn.out_proj((probs @ v).transpose(0, 1).flatten(1))
            x = x + block.mlp(block.ln_2(x))
        null = attention(text.ln_final(x)[None, :count], patches).probs[0, :, :, -1]
        return float(torch.logit(1 - null[:, [t for i in phrase.words for t in trace.caption.words[i].tokens]].mean()))

    with torch.no_grad():
        states = other.encode_text(tokenized)
    provided = other.capabilities(trace.image, tokenized, states)["cross_pass"]()
    found = provided({"patches": patches})
    gradients = torch.autograd.grad(found.score([phrase])[0, 0], found.text_probs)
    assert all(gradient.abs().max() > 0 for gradient in gradients)
    for place in ((0, 0, 2, 3), (1, 3, 5, 1), (2, 1, 0, 4), (3, 2, 3, 2)):
        numeric = (score({place: 1e-5}) - score({place: -1e-5})) / 2e-5
        assert float(gradients[place[0]][place[1:]]) == pytest.approx(numeric, rel=1e-4, abs=1e-9)


def test_a_text_tower_that_computes_something_else_is_refused(model, trace):
    other = own_copy(model)
    block = other.module["clip"].text.transformer.resblocks[2]
    block.register_forward_hook(lambda module, given, output: output * 1.01)
    with torch.no_grad():
        image = copy.copy(trace.image)
        object.__setattr__(image, "model_key", other.key)
        changed = other.trace(image, CAPTION)
        with pytest.raises(CaptureError, match="differ from its own by"):
            changed.cross_pass(changed.match().state(changed.pixels))


def test_an_image_tower_whose_parts_give_something_else_is_refused(folder, photo):
    """The first time that its parts are asked for; the tower itself still works."""
    own = CrossvizMini().load(f"crossviz-mini:{folder}", torch.device("cpu"))
    with torch.no_grad():
        kept = own.trace(own.encode_image(load_photo(photo)), CAPTION).image_tower()
        own.module["clip"].visual.trunk.head.blocks[1].register_forward_hook(
            lambda module, given, output: output * 1.01
        )
        assert own.trace(own.encode_image(load_photo(photo)), CAPTION).image_tower().grid == kept.grid  # compared once
        other = CrossvizMini().load(f"crossviz-mini:{folder}", torch.device("cpu"))
        other.module["clip"].visual.trunk.head.blocks[1].register_forward_hook(
            lambda module, given, output: output * 1.01
        )
        broken = other.trace(other.encode_image(load_photo(photo)), CAPTION)
        assert broken.match() and broken.cross_attention()
        for _ in range(2):
            with pytest.raises(CaptureError, match="parts of this image tower give patches that differ from its own"):
                broken.image_tower()


def test_the_tower_says_what_its_pooling_does_not(model, trace):
    """Half of the embedding reads the mean of the patches: with the class token left out it stays."""
    assert "half" in trace.image_tower().pool_note and "read the patches" in trace.image_tower().pool_note
    head = model.module["clip"].visual.trunk.head
    x, tokens = torch.randn(1, 145, 256), torch.randn(1, 576, 256)
    with torch.no_grad():
        pooled = head.pool(x, tokens)
    assert torch.allclose(pooled[:, 256:], tokens.mean(1), atol=1e-6) and pooled.shape == (1, 512)


def log_odds():
    from crossviz.models.mini_parts import _found  # open_clip is there by then

    return _found


@pytest.mark.parametrize("null", [1e-12, 1e-4, 0.3, 1 - 1e-4, 1 - 1e-7, 1 - 1e-12])
def test_the_match_has_a_gradient_however_sure_it_is(null):
    """One head, one token: log-odds are the log-sum of the patches' scores minus the null's, in closed form."""
    scores = torch.randn(1, 1, 1, 577, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    patches = scores[..., :-1].logsumexp(-1)
    scores[..., -1] = patches + np.log(null) - np.log1p(-null)
    given = scores.float().requires_grad_(True)
    found = log_odds()(torch.softmax(given, -1), torch.ones(1, 1))
    assert float(found.detach()) == pytest.approx(float(np.log1p(-null) - np.log(null)), rel=1e-4)
    (gradient,) = torch.autograd.grad(found.sum(), given)
    assert torch.allclose(gradient[..., :-1].double(), torch.softmax(scores[..., :-1], -1), rtol=1e-2, atol=1e-6)


def test_a_match_beyond_what_float32_tells_is_finite_with_a_finite_gradient():
    for sure in (200.0, -200.0):
        given = torch.zeros(1, 1, 1, 577)
        given[..., -1] = sure
        given.requires_grad_(True)
        found = log_odds()(torch.softmax(given, -1), torch.ones(1, 1))
        (gradient,) = torch.autograd.grad(found.sum(), given)
        assert torch.isfinite(found).all() and torch.isfinite(gradient).all() and float(found.detach()) * sure < 0


def test_stages_lie_from_the_map_down_to_the_pixels(model, pixels):
    """The upper a stage, the less of what is computed before it changes."""

    def outputs(which):
        visual = which.module["clip"].visual
        with torch.no_grad():
            body = visual.trunk.body(pixels[:1])
            x, fine = visual.trunk.head.enter(*body)
            after = visual.trunk.head.blocks(x)
            return [*body, x, fine, after, visual.trunk.head.join(after, fine)]

    real, touched = outputs(model), []
    for index in range(6):
        other = own_copy(model)
        with torch.no_grad():
            for part in other.stages()[index][1]:
                for parameter in [part] if isinstance(part, torch.nn.Parameter) else part.parameters():
                    parameter *= 1.5
        same = [torch.equal(one, two) for one, two in zip(outputs(other), real, strict=True)]
        touched.append(next((i for i, equal in enumerate(same) if not equal), len(same)))
    assert touched[0] == 6  # no output of the image tower
    assert touched[:4] == [6, 5, 4, 2]
    assert touched[4:] == [0, 0]


def test_a_model_without_a_null_key_says_that_it_cant_tell_what_is_missing(folder, tmp_path, photo):
    plain = shutil.copytree(folder, tmp_path / "plain")
    weights = load_file(plain / "cross_attention.safetensors")
    save_file({name: w for name, w in weights.items() if "null" not in name}, plain / "cross_attention.safetensors")
    about = json.loads((plain / "crossviz.json").read_text())
    about["cross_attention"]["null_key"] = False
    digest = hashlib.sha256((plain / "cross_attention.safetensors").read_bytes()).hexdigest()
    about["sha256"]["cross_attention.safetensors"] = digest
    (plain / "crossviz.json").write_text(json.dumps(about))
    model = models.load_model(f"crossviz-mini:{plain}", "cpu")
    trace = model.trace(model.encode_image(load_photo(photo)), CAPTION)
    assert trace.cross_attention().probs.shape[-1] == 576
    for ask in (trace.match, lambda: trace.cross_pass({})):
        with pytest.raises(UnsupportedMethodError, match="no null key"):
            ask()


@pytest.mark.parametrize("size", [(24, 24), (25, 24), (7, 12), (3, 5)])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 2), (3, 1), (4, 2), (5, 3)])
def test_padding_within_the_kernel_is_tensorflows(size, kernel, stride):
    torch.manual_seed(0)
    padded = Conv2dSame(6, 12, kernel, stride, groups=3)
    net = torch.nn.Sequential(padded, torch.nn.Conv2d(12, 4, 1))
    x = torch.randn(2, 6, *size)
    expected, state = net(x), net.state_dict()
    pad_within(net)
    assert type(net[0]) is SameConv2d and type(net[1]) is torch.nn.Conv2d and net.state_dict().keys() == state.keys()
    assert torch.allclose(net(x), expected, rtol=0, atol=1e-6) and net(x).shape == expected.shape
