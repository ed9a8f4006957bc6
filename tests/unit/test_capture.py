"""Captured attention against each module's own output, torch's own weights and implementations written out here."""

import asyncio
import copy
import gc
import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from crossviz.capture import TOLERANCES, Captured, SiteCapture, capture, sites, uncovered
from crossviz.compat import import_open_clip, import_timm
from crossviz.errors import CaptureError
from crossviz.sites import projections, recompute

EVERYTHING = ("queries", "keys", "values", "scores", "probs", "context", "output")
HEADS, WIDTH = 4, 32


@dataclass
class Tower:
    model: nn.Module
    run: Callable[[], Tensor]
    names: list[str]
    """Of the sites, in order."""


def image(batch: int = 2, height: int = 32, width: int = 48) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(3))


def text(batch: int = 2, length: int = 9) -> Tensor:
    ids = torch.randint(1, 90, (batch, length), generator=torch.Generator().manual_seed(4))
    ids[0, -3:] = 0  # padding
    return ids


def lively(model: nn.Module) -> nn.Module:
    """Weights and biases large enough that every term matters and attention is far from uniform."""
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng) * 0.3 + (parameter.ndim == 1) * 0.3)
    return model.eval()


def blocks(count: int, pattern: str) -> list[str]:
    return [pattern.format(i) for i in range(count)]


def vision(**options) -> nn.Module:
    import_open_clip()
    from open_clip.transformer import VisionTransformer

    made = {"image_size": (32, 48), "patch_size": 8, "width": WIDTH, "layers": 2, "heads": HEADS, "mlp_ratio": 2.0}
    return lively(VisionTransformer(**(made | {"output_dim": 16} | options)))


def language(**options) -> nn.Module:
    import_open_clip()
    from open_clip.transformer import TextTransformer

    made = {"context_length": 9, "vocab_size": 90, "width": WIDTH, "heads": HEADS, "layers": 2, "output_dim": 16}
    return lively(TextTransformer(**(made | options)))


def timm_vit(name: str = "vit_tiny_patch16_224", **options) -> nn.Module:
    made = {"img_size": (32, 48), "depth": 2, "embed_dim": WIDTH, "num_heads": HEADS, "num_classes": 16}
    return lively(import_timm().create_model(name, pretrained=False, **(made | options)))


def coca() -> nn.Module:
    import_open_clip()
    from open_clip.coca_model import CoCa

    shared = {"width": WIDTH, "layers": 2, "heads": HEADS}
    return lively(
        CoCa(
            WIDTH,
            multimodal_cfg={**shared, "context_length": 9, "vocab_size": 90, "dim_head": 8, "attn_pooler_heads": HEADS},
            text_cfg={**shared, "context_length": 10, "vocab_size": 90, "embed_cls": True, "output_tokens": True},
            vision_cfg={
                "width": WIDTH, "layers": 2, "head_width": 8, "image_size": 32, "patch_size": 8,
                "attentional_pool": True, "attn_pooler_heads": HEADS, "output_tokens": True,
            },
        )
    )  # fmt: skip


def tower(name: str) -> Tower:
    resblocks = blocks(2, "transformer.resblocks.{}.attn")
    trunk = blocks(2, "blocks.{}.attn")
    if name == "vision":
        model = vision()
        return Tower(model, lambda: model(image()), resblocks)
    if name == "vision, custom blocks":
        model = vision(block_type="custom")
        return Tower(model, lambda: model(image()), resblocks)
    if name == "vision, custom blocks, qk_norm":
        model = vision(qk_norm=True)
        return Tower(model, lambda: model(image()), resblocks)
    if name == "vision, attention pool":
        model = vision(attentional_pool=True, attn_pooler_queries=5, attn_pooler_heads=2)
        return Tower(model, lambda: model(image()), [*resblocks, "attn_pool.attn"])
    if name == "text":
        model = language()
        return Tower(model, lambda: model(text()), resblocks)
    if name == "text, class token":
        model = language(embed_cls=True, pad_id=0)
        return Tower(model, lambda: model(text()), resblocks)
    if name == "text, both ways, padded":
        model = language(no_causal_mask=True, use_pad_mask=True, pool_type="first")
        return Tower(model, lambda: model(text()), resblocks)
    if name == "text, custom blocks, padded":
        model = language(no_causal_mask=True, use_pad_mask=True, pool_type="first", block_type="custom")
        return Tower(model, lambda: model(text()), resblocks)
    if name == "timm":
        model = timm_vit()
        return Tower(model, lambda: model(image()), trunk)
    if name == "timm, qk_norm":
        model = timm_vit(qk_norm=True)
        return Tower(model, lambda: model(image()), trunk)
    if name == "timm, latent pool":
        model = timm_vit("vit_base_patch16_siglip_224", qk_norm=True)
        return Tower(model, lambda: model(image()), [*trunk, "attn_pool"])
    if name == "coca":
        model = coca()
        names = blocks(2, "text.transformer.resblocks.{}.attn") + blocks(2, "visual.transformer.resblocks.{}.attn")
        names += ["visual.attn_pool.attn"] + blocks(2, "text_decoder.resblocks.{}.attn")
        names += blocks(2, "text_decoder.cross_attn.{}.attn")
        return Tower(model, lambda: model(image(2, 32, 32), text())["logits"], names)
    raise AssertionError(name)


TOWERS = [
    "vision",
    "vision, custom blocks",
    "vision, custom blocks, qk_norm",
    "vision, attention pool",
    "text",
    "text, class token",
    "text, both ways, padded",
    "text, custom blocks, padded",
    "timm",
    "timm, qk_norm",
    "timm, latent pool",
    "coca",
]


def deviation(actual: Tensor, expected: Tensor) -> float:
    assert actual.shape == expected.shape
    difference = (actual.double() - expected.double()).abs().max() / expected.double().abs().max()
    return difference.item()


def recorded(modules: dict[str, nn.Module], run: Callable[[], Tensor]) -> dict[str, tuple]:
    """The real (args, kwargs, result) of every site, by hooks of this test's own."""
    calls = {}
    handles = [
        module.register_forward_hook(
            lambda _, args, kwargs, result, name=name: calls.__setitem__(name, (args, kwargs, result)), with_kwargs=True
        )
        for name, module in modules.items()
    ]
    run()
    for handle in handles:
        handle.remove()
    return calls


def torch_weights(module: nn.MultiheadAttention, args: tuple, kwargs: dict) -> tuple[Tensor, Tensor]:
    """torch's own probabilities, mean over heads and per head."""
    kwargs = kwargs | {"need_weights": True}
    return module(*args, **kwargs)[1], module(*args, **kwargs, average_attn_weights=False)[1]


def timm_weights(module: nn.Module, args: tuple, kwargs: dict) -> Tensor:
    """timm's own probabilities: what its unfused path hands to `attn_drop`."""
    seen = []
    handle = module.attn_drop.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    fused, module.fused_attn = module.fused_attn, False
    module(*args, **kwargs)
    module.fused_attn = fused
    handle.remove()
    return seen[0]


def own_tensor(module: nn.Module, result) -> Tensor:
    return result[0] if isinstance(result, tuple) else result


@pytest.mark.parametrize("grad", [False, True], ids=["no_grad", "grad"])
@pytest.mark.parametrize("name", TOWERS)
def test_every_site_of_a_tower(name, grad):
    """In no_grad, nn.MultiheadAttention takes its fused fast path; with grad it does not."""
    subject = tower(name)
    found = sites(subject.model)
    assert list(found) == list(subject.model.get_submodule(n) and n for n in found)
    assert sorted(found) == sorted(subject.names)
    assert uncovered(subject.model) == {}

    with torch.set_grad_enabled(grad):
        calls = recorded(found, subject.run)
        expected = subject.run()
        with capture(found, keep=EVERYTHING) as captured:
            actual = subject.run()
    assert torch.equal(actual, expected), "capturing does not change the model"
    assert list(captured) == list(found)

    for site, module in found.items():
        seen = captured[site]
        args, kwargs, result = calls[site]
        assert seen.deviation <= 1e-5 and seen.name == site
        assert deviation(seen.output, own_tensor(module, result)) <= 1e-5
        batch, heads, queries, keys = seen.scores.shape
        assert heads == seen.num_heads == module.num_heads
        assert seen.queries.shape[:3] == seen.context.shape[:3] == (batch, heads, queries)
        assert seen.keys.shape[:3] == seen.values.shape[:3] == (batch, heads, keys)
        assert seen.probs.requires_grad is grad

        masked = seen.scores.isneginf()
        bias = torch.zeros_like(seen.scores).masked_fill(masked, -torch.inf)
        plain = F.scaled_dot_product_attention(seen.queries, seen.keys, seen.values, attn_mask=bias)
        assert deviation(seen.context, plain) <= 1e-5
        identity = torch.eye(keys).expand(batch, heads, -1, -1)
        as_torch = F.scaled_dot_product_attention(
            F.pad(seen.queries, (0, keys)) * ((seen.queries.shape[-1] + keys) / seen.queries.shape[-1]) ** 0.5,
            F.pad(seen.keys, (0, keys)),
            F.pad(identity, (seen.values.shape[-1], 0)),
            attn_mask=bias,
        )[..., seen.values.shape[-1] :]
        assert deviation(seen.probs, as_torch) <= 1e-5
        assert deviation(seen.probs.sum(-1), torch.ones(batch, heads, queries)) <= 1e-5
        assert masked.any() == ("text" in site or name.startswith("text")) or "cross_attn" in site

        with torch.no_grad():
            if isinstance(module, nn.MultiheadAttention):
                mean, each = torch_weights(module, args, kwargs)
                assert deviation(seen.probs, each) <= 1e-5
                assert deviation(seen.probs.mean(1), mean) <= 1e-5
            elif hasattr(module, "attn_drop") and hasattr(module, "fused_attn"):
                assert deviation(seen.probs, timm_weights(module, args, kwargs)) <= 1e-5


@pytest.mark.parametrize("name", TOWERS)
def test_substituted_output_is_the_model_s_and_so_are_all_gradients(name):
    subject = tower(name)
    expected = subject.run()
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(5))
    parameters = [p for p in subject.model.parameters() if p.requires_grad]
    plain = torch.autograd.grad((expected * weight).sum(), parameters, allow_unused=True)
    with capture(sites(subject.model), substitute=True) as captured:
        actual = subject.run()
    assert deviation(actual, expected) <= 1e-4
    loss = (actual * weight).sum()
    by_probs = torch.autograd.grad(loss, [captured[n].probs for n in captured], retain_graph=True, allow_unused=True)
    reached = {n for n, gradient in zip(captured, by_probs, strict=True) if gradient is not None and gradient.any()}
    # CoCa's logits come from its decoder; the text tower's last block is read through the tokens before the class token.
    assert reached == set(captured)
    again = torch.autograd.grad(loss, parameters, allow_unused=True)
    largest = max(g.abs().max() for g in plain if g is not None)
    for was, now in zip(plain, again, strict=True):
        assert (was is None) == (now is None)
        assert was is None or (was - now).abs().max() <= 1e-4 * largest


def naive_vision(model: nn.Module, pixels: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """open_clip's VisionTransformer written out, with its scores and probs as tensors of their own."""
    x = model.conv1(pixels).flatten(2).transpose(1, 2)
    x = torch.cat([model.class_embedding.expand(len(x), 1, -1), x], 1) + model.positional_embedding
    x = model.ln_pre(x)
    all_scores, all_probs = [], []
    for block in model.transformer.resblocks:
        attention, y = block.attn, block.ln_1(x)
        q, k, v = (y @ attention.in_proj_weight.T + attention.in_proj_bias).split(WIDTH, -1)
        q, k, v = (z.reshape(len(z), -1, HEADS, WIDTH // HEADS).permute(0, 2, 1, 3) for z in (q, k, v))
        scores = torch.einsum("bhqd,bhkd->bhqk", q, k) / (WIDTH // HEADS) ** 0.5
        powers = scores.exp()
        probs = powers / powers.sum(-1, keepdim=True)
        all_scores.append(scores)
        all_probs.append(probs)
        joined = torch.einsum("bhqk,bhkd->bqhd", probs, v).reshape(y.shape)
        x = x + joined @ attention.out_proj.weight.T + attention.out_proj.bias
        x = x + block.mlp(block.ln_2(x))
    return model.ln_post(x)[:, 0] @ model.proj, all_scores, all_probs


def test_gradients_through_substituted_probs_are_those_of_the_network_written_out():
    model = vision().double()
    pixels = image().double()
    direction = torch.randn(16, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    output, scores, probs = naive_vision(model, pixels)
    expected = torch.autograd.grad((output @ direction).sum(), [*scores, *probs])
    with capture(sites(model), substitute=True) as captured:
        similarity = (model(pixels) @ direction).sum()
    tensors = [captured[n].scores for n in captured] + [captured[n].probs for n in captured]
    actual = torch.autograd.grad(similarity, tensors)
    for was, now in zip(expected, actual, strict=True):
        assert was.abs().max() > 0
        assert deviation(now, was) <= 1e-9


def test_gradients_of_captured_probs_reach_the_input_without_substitution():
    model = vision().double()
    pixels = image().double().requires_grad_()
    _, _, naive = naive_vision(model, pixels)
    pick = torch.randn(naive[1].shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    expected = torch.autograd.grad((naive[1] * pick).sum(), pixels)[0]
    with capture(sites(model)) as captured:
        output = model(pixels)
    last = captured["transformer.resblocks.1.attn"].probs
    assert deviation(torch.autograd.grad((last * pick).sum(), pixels, retain_graph=True)[0], expected) <= 1e-9
    # The model went on with its own output, which does not come from these probs.
    assert torch.autograd.grad(output.sum(), last, allow_unused=True) == (None,)


@pytest.mark.parametrize("name", ["vision", "text", "vision, attention pool", "timm"])
def test_projections_are_the_site_s_arithmetic(name):
    subject = tower(name)
    found = sites(subject.model)
    with torch.no_grad():
        calls = recorded(found, subject.run)
        with capture(found, keep=EVERYTHING) as captured:
            subject.run()
    for site, module in found.items():
        args, _, _ = calls[site]
        x_query, x_key, x_value = args if len(args) == 3 else args * 3
        weights, seen = projections(module), captured[site]
        for x, weight, bias, expected in (
            (x_query, weights.query_weight, weights.query_bias, seen.queries),
            (x_key, weights.key_weight, weights.key_bias, seen.keys),
            (x_value, weights.value_weight, weights.value_bias, seen.values),
        ):
            assert deviation((x @ weight.T + bias).unflatten(-1, (weights.num_heads, -1)).transpose(1, 2), expected) < 1e-5
        scores = weights.scale * seen.queries @ seen.keys.transpose(-2, -1)
        assert deviation(scores.masked_fill(seen.scores.isneginf(), 0.0), seen.scores.clamp(min=-1e9) * ~seen.scores.isneginf()) < 1e-5
        by_head = weights.out_weight.unflatten(1, (weights.num_heads, -1))  # out head head_dim
        total = torch.einsum("bhqd,ohd->bqo", seen.context, by_head) + weights.out_bias
        assert deviation(total, seen.output) < 1e-5


# --- nn.MultiheadAttention in all its ways of being called -----------------------------------------------------------


def multihead(dtype=torch.float32, **options) -> nn.MultiheadAttention:
    return lively(nn.MultiheadAttention(WIDTH, HEADS, **options)).to(dtype)


def multihead_masks(kind: str, batch: int, queries: int, keys: int) -> dict:
    rng = torch.Generator().manual_seed(8)
    padding = torch.arange(keys) >= torch.tensor([keys, 2, 1])[:batch, None]
    hidden = torch.rand(queries, keys, generator=rng) < 0.4
    hidden[:, 0] = False
    causal = torch.ones(queries, keys, dtype=torch.bool).triu(1)
    each = torch.randn(batch * HEADS, queries, keys, generator=rng)
    return {
        "none": {},
        "bool": {"attn_mask": hidden},
        "float": {"attn_mask": torch.randn(queries, keys, generator=rng)},
        "-inf": {"attn_mask": torch.zeros(queries, keys).masked_fill(hidden, -torch.inf)},
        "per head": {"attn_mask": each},
        "per head, bool": {"attn_mask": (each > 0.5) & (torch.arange(keys) > 0)},
        "padding": {"key_padding_mask": padding},
        "float padding": {"key_padding_mask": torch.zeros(batch, keys).masked_fill(padding, -torch.inf)},
        "bool and padding": {"attn_mask": hidden, "key_padding_mask": padding},
        "float and padding": {"attn_mask": each, "key_padding_mask": padding},
        "causal": {"attn_mask": causal, "is_causal": True},
        "causal and padding": {"attn_mask": causal, "is_causal": True, "key_padding_mask": padding},
    }[kind]


MULTIHEAD_MASKS = [
    "none", "bool", "float", "-inf", "per head", "per head, bool", "padding", "float padding", "bool and padding",
    "float and padding", "causal", "causal and padding",
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask and attn_mask is deprecated")
@pytest.mark.parametrize("mask", MULTIHEAD_MASKS)
@pytest.mark.parametrize("inputs", ["self", "cross", "other widths"])
@pytest.mark.parametrize("batch_first", [True, False], ids=["batch first", "batch second"])
def test_multihead_attention_however_it_is_called(batch_first, inputs, mask):
    options = {"kdim": 5, "vdim": 7} if inputs == "other widths" else {}
    module = multihead(batch_first=batch_first, **options)
    rng = torch.Generator().manual_seed(9)
    batch, queries = 3, 6
    keys = queries if inputs == "self" or "causal" in mask else 4
    query = torch.randn(batch, queries, WIDTH, generator=rng)
    key = query if inputs == "self" else torch.randn(batch, keys, options.get("kdim", WIDTH), generator=rng)
    value = query if inputs == "self" else torch.randn(batch, keys, options.get("vdim", WIDTH), generator=rng)
    if not batch_first:
        same = inputs == "self"
        query = query.transpose(0, 1)
        key, value = (query, query) if same else (key.transpose(0, 1), value.transpose(0, 1))
    masks = multihead_masks(mask, batch, queries, keys)
    with torch.no_grad():
        _, expected = torch_weights(module, (query, key, value), masks)
    for grad in (False, True):
        for need_weights in (False, True):
            with torch.set_grad_enabled(grad), capture({"it": module}, keep=EVERYTHING) as captured:
                own, _ = module(query, key, value, need_weights=need_weights, **masks)
            own = own if batch_first else own.transpose(0, 1)
            assert deviation(captured["it"].output, own) <= 1e-5
            assert deviation(captured["it"].probs, expected) <= 1e-5


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("batch_first", [True, False])
def test_multihead_attention_without_a_batch(batch_first, bias):
    module = multihead(batch_first=batch_first, bias=bias)
    x = torch.randn(5, WIDTH)
    mask = torch.randn(HEADS, 5, 5)
    with capture({"it": module}, keep=EVERYTHING, substitute=True) as captured:
        own, weights = module(x, x, x, attn_mask=mask, key_padding_mask=torch.arange(5) > 3, average_attn_weights=False)
    assert own.shape == (5, WIDTH) and weights.shape == (HEADS, 5, 5)
    assert captured["it"].probs.shape == (1, HEADS, 5, 5)
    expected = module(x, x, x, attn_mask=mask, key_padding_mask=torch.arange(5) > 3)
    assert deviation(own, expected[0]) <= 1e-5
    assert deviation(captured["it"].probs[0].mean(0), expected[1]) <= 1e-5


@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_substituted_weights_have_the_gradient_path_that_torch_s_lack(batch_first, average):
    module = multihead(batch_first=batch_first)
    x = torch.randn(3, 5, WIDTH)
    expected, expected_weights = module(x, x, x, average_attn_weights=average)
    with capture({"it": module}, substitute=True) as captured:
        output, weights = module(x, x, x, average_attn_weights=average)
    assert deviation(output, expected) <= 1e-5 and deviation(weights, expected_weights) <= 1e-5
    assert output.is_contiguous()
    for result in (output.sum(), weights.square().sum()):
        assert torch.autograd.grad(result, captured["it"].probs, retain_graph=True)[0].any()


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_multihead_attention_of_any_size(data):
    heads, head_dim = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 6))
    batch, queries, keys = data.draw(st.integers(0, 3)), data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    torch.manual_seed(data.draw(st.integers(0, 99)))
    module = nn.MultiheadAttention(heads * head_dim, heads, batch_first=True).eval()
    query, key = torch.randn(batch, queries, heads * head_dim), torch.randn(batch, keys, heads * head_dim)
    with torch.no_grad(), capture({"it": module}) as captured:
        _, weights = module(query, key, key, average_attn_weights=False)
    assert captured["it"].probs.shape == (batch, heads, queries, keys)
    assert torch.allclose(captured["it"].probs, weights, atol=1e-5)


@pytest.mark.parametrize("dtype", list(TOLERANCES), ids=str)
@pytest.mark.parametrize("name", ["vision", "text", "timm", "timm, latent pool", "vision, custom blocks"])
def test_other_precisions(name, dtype):
    subject = tower(name)
    subject.model.to(dtype)
    run = (lambda: subject.model(text())) if name == "text" else (lambda: subject.model(image().to(dtype)))
    with torch.no_grad(), capture(sites(subject.model), keep=EVERYTHING) as captured:
        run()
    for seen in captured.values():
        assert seen.deviation <= TOLERANCES[dtype]
        assert seen.probs.dtype == seen.scores.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert deviation(seen.probs.sum(-1), torch.ones(seen.probs.shape[:3])) <= 1e-5
        assert seen.output.dtype == seen.values.dtype == dtype


def test_autocast():
    subject = tower("vision")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = subject.run()
        with capture(sites(subject.model), keep=EVERYTHING, substitute=True) as captured:
            actual = subject.run()
    assert actual.dtype == expected.dtype and deviation(actual, expected) < 0.1
    assert all(seen.deviation <= TOLERANCES[torch.bfloat16] for seen in captured.values())
    assert all(seen.probs.dtype == torch.float32 for seen in captured.values())


def test_an_encoder_layer_s_fast_path_does_not_bypass_its_attention():
    layer = lively(nn.TransformerEncoderLayer(WIDTH, HEADS, 64, batch_first=True))
    x = torch.randn(2, 5, WIDTH)
    with torch.no_grad(), capture({"it": layer.self_attn}) as captured:
        layer(x)
        _, expected = layer.self_attn(x, x, x, average_attn_weights=False)
    assert len(captured.calls("it")) == 2
    assert deviation(captured.calls("it")[0].probs, expected) <= 1e-5


# --- What is refused -------------------------------------------------------------------------------------------------


class OtherForward(nn.MultiheadAttention):
    def forward(self, *args, **kwargs):
        return super().forward(*args, **kwargs)


class MyAttention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def refused() -> dict[str, tuple[str, Callable[[], nn.Module]]]:
    import_open_clip()
    timm = import_timm()
    from open_clip.modified_resnet import AttentionPool2d
    from open_clip.transformer import Attention

    def patched() -> nn.Module:
        module = multihead()
        module.forward = lambda *args, **kwargs: None
        return module

    def adapted() -> nn.Module:
        module = timm.layers.Attention(WIDTH, HEADS)
        module.proj = nn.Sequential(module.proj, nn.Linear(WIDTH, WIDTH))
        return module

    def older() -> nn.Module:
        module = Attention(WIDTH, HEADS)
        del module.head_scale
        return module

    layer_norm = {"norm_layer": nn.LayerNorm}
    return {
        "bias_kv": ("learned key", lambda: multihead(add_bias_kv=True)),
        "zero_attn": ("zero key", lambda: multihead(add_zero_attn=True)),
        "dropout": ("at random .dropout=0.1", lambda: multihead(dropout=0.1).train()),
        "subclass": ("OtherForward has a `forward` of its own", lambda: OtherForward(WIDTH, HEADS)),
        "patched": ("MultiheadAttention has a `forward` of its own", patched),
        "cosine": ("scaled_cosine", lambda: Attention(WIDTH, HEADS, scaled_cosine=True)),
        "scale_heads": ("scale_heads", lambda: Attention(WIDTH, HEADS, scale_heads=True)),
        "inner_norm": ("inner_norm", lambda: Attention(WIDTH, HEADS, inner_norm=True)),
        "open_clip dropout": ("attn_drop with p=0.2", lambda: Attention(WIDTH, HEADS, attn_drop=0.2)),
        "older version": ("another version of open_clip.transformer .*head_scale", older),
        "scale_norm": ("scale_norm", lambda: timm.layers.Attention(WIDTH, HEADS, scale_norm=True, **layer_norm)),
        "gated": ("gated", lambda: timm.layers.Attention(WIDTH, HEADS, gated=True)),
        "timm dropout": ("proj_drop with p=0.3", lambda: timm.layers.Attention(WIDTH, HEADS, proj_drop=0.3)),
        "batch norm": (
            "q_norm .BatchNorm1d. keeps state",
            lambda: timm.layers.Attention(WIDTH, HEADS, qk_norm=True, norm_layer=nn.BatchNorm1d),
        ),
        "adapter": ("proj .Sequential. is not a plain linear layer", adapted),
        "rope": ("AttentionRope .timm.layers.attention. is none of", lambda: timm.layers.AttentionRope(WIDTH, HEADS)),
        "pool dropout": ("drops at random", lambda: timm.layers.AttentionPoolLatent(WIDTH, num_heads=4, drop=0.1)),
        "rn50 pool": ("AttentionPool2d .open_clip.modified_resnet.", lambda: AttentionPool2d(2, WIDTH, HEADS)),
        "unknown": ("MyAttention", MyAttention),
    }


@pytest.mark.parametrize("case", refused())
def test_what_is_not_covered_is_refused_by_name(case):
    message, make = refused()[case]
    model = nn.Sequential(nn.Linear(2, 2), make())
    assert sites(model) == {}
    assert list(uncovered(model)) == ["1"]
    with pytest.raises(CaptureError, match=message) as caught, capture({"1": model[1]}):
        pass
    assert "Site '1' can't be captured" in str(caught.value)
    with pytest.raises(CaptureError, match=message):
        projections(model[1])


def test_uncovered_names_the_attention_and_not_the_block_around_it():
    eva = import_timm().create_model("eva02_tiny_patch14_224", pretrained=False, depth=2)
    assert list(uncovered(eva)) == ["blocks.0.attn", "blocks.1.attn"]
    relpos = import_timm().create_model("vit_relpos_small_patch16_224", pretrained=False)
    assert set(uncovered(relpos)) == {f"blocks.{i}.attn" for i in range(12)}
    model = vision(scaled_cosine_attn=True)
    assert list(uncovered(model)) == blocks(2, "transformer.resblocks.{}.attn")
    assert "scaled_cosine" in uncovered(model)["transformer.resblocks.0.attn"]


def test_a_site_by_itself_is_its_own_model():
    module = multihead()
    assert sites(module) == {"": module} and uncovered(module) == {}
    assert list(uncovered(multihead(add_zero_attn=True))) == [""]


@pytest.mark.parametrize("change", ["scale", "shape", "one value"])
def test_an_output_that_is_not_the_attention_s_is_refused(change):
    model = vision()
    module = model.transformer.resblocks[1].attn

    def alter(_, __, result):
        if change == "scale":
            return result[0] * 1.001, None
        if change == "shape":
            return result[0][:1], None
        changed = result[0].clone()
        changed[1, 2, 3] += 1e-4 * changed.abs().max()
        return changed, None

    handle = module.register_forward_hook(alter)
    message = "has .*" if change == "shape" else r"deviates from its own output by \d"
    with (
        torch.no_grad(),
        pytest.raises(CaptureError, match=rf"'transformer.resblocks.1.attn'.*{message}"),
        capture(sites(model)),
    ):
        model(image())
    handle.remove()


def bad_calls() -> dict[str, tuple[str, Callable[[], None]]]:
    timm = import_timm()
    x = torch.randn(2, 5, WIDTH)

    def call(module: nn.Module, *args, **kwargs) -> Callable[[], None]:
        def run() -> None:
            with torch.no_grad(), capture({"it": module}):
                module(*args, **kwargs)

        return run

    module = multihead(batch_first=True)
    nested = torch.nested.nested_tensor([torch.randn(3, WIDTH), torch.randn(4, WIDTH)])
    bent = copy.deepcopy(module)
    bent.num_heads = 2  # half as many as its head_dim says
    return {
        "NaN": ("not finite", call(module, *[x * torch.nan] * 3)),
        "all keys masked": ("not finite", call(module, x, x, x, key_padding_mask=torch.ones(2, 5).bool())),
        "nested": ("nested tensors", call(module, nested, nested, nested)),
        "integers": ("run the model in torch.float64", call(lively(Int()), x)),
    } | {"timm": ("not finite", call(lively(timm.layers.Attention(WIDTH, HEADS)), x * torch.inf))}


class Int(nn.MultiheadAttention):
    """Never built: see `bad_calls`."""
