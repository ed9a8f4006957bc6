"""Every kind of attention site computed again: against the module's own output, torch's and timm's own weights."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from crossviz.capture import capture
from crossviz.compat import import_open_clip, import_timm
from crossviz.errors import CaptureError
from crossviz.sites import TOLERANCES, projections, recompute, sites, uncovered
from tests.towers import (
    EVERYTHING,
    HEADS,
    TOWERS,
    WIDTH,
    blocks,
    deviation,
    image,
    lively,
    multihead,
    own_tensor,
    recorded,
    text,
    timm_weights,
    torch_weights,
    tower,
    vision,
)


@pytest.mark.parametrize("grad", [False, True], ids=["no_grad", "grad"])
@pytest.mark.parametrize("name", TOWERS)
def test_every_site_of_a_tower(name, grad):
    """In no_grad, nn.MultiheadAttention takes its fused fast path; with grad it does not."""
    subject = tower(name)
    found = sites(subject.model)
    assert sorted(found) == sorted(subject.names)
    assert list(found) == [name for name, _ in subject.model.named_modules() if name in found], "the model's order"
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
        # With the identity for values, attention gives its probs.
        identity = torch.eye(keys).expand(batch, heads, -1, -1)
        as_torch = F.scaled_dot_product_attention(seen.queries, seen.keys, identity, attn_mask=bias)
        assert deviation(seen.probs, as_torch) <= 1e-5
        assert deviation(seen.probs.sum(-1), torch.ones(batch, heads, queries)) <= 1e-5
        assert masked.any() == (name.startswith("text") or (site.startswith("text") and "cross" not in site))

        with torch.no_grad():
            if isinstance(module, nn.MultiheadAttention):
                mean, each = torch_weights(module, args, kwargs)
                assert deviation(seen.probs, each) <= 1e-5
                assert deviation(seen.probs.mean(1), mean) <= 1e-5
            elif hasattr(module, "attn_drop") and hasattr(module, "fused_attn"):
                assert deviation(seen.probs, timm_weights(module, args, kwargs)) <= 1e-5


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
            assert (
                deviation((x @ weight.T + bias).unflatten(-1, (weights.num_heads, -1)).transpose(1, 2), expected) < 1e-5
            )
        scores, open_ = weights.scale * seen.queries @ seen.keys.transpose(-2, -1), ~seen.scores.isneginf()
        assert deviation(scores[open_], seen.scores[open_]) < 1e-5
        by_head = weights.out_weight.unflatten(1, (weights.num_heads, -1))  # out head head_dim
        total = torch.einsum("bhqd,ohd->bqo", seen.context, by_head) + weights.out_bias
        assert deviation(total, seen.output) < 1e-5


# --- nn.MultiheadAttention in all its ways of being called -----------------------------------------------------------


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
    masks = {"attn_mask": torch.randn(HEADS, 5, 5), "key_padding_mask": torch.randn(5)}
    with capture({"it": module}, keep=EVERYTHING, substitute=True) as captured:
        own, weights = module(x, x, x, **masks, average_attn_weights=False)
    assert own.shape == (5, WIDTH) and weights.shape == (HEADS, 5, 5)
    assert captured["it"].probs.shape == (1, HEADS, 5, 5)
    expected = module(x, x, x, **masks)
    assert deviation(own, expected[0]) <= 1e-5
    assert deviation(captured["it"].probs[0].mean(0), expected[1]) <= 1e-5


@pytest.mark.parametrize("need_weights", [True, False])
def test_a_causal_hint_that_is_not_true(need_weights):
    """torch then believes the mask where it gives weights, and the hint where it does not."""
    module = multihead()
    x = torch.randn(5, 2, WIDTH)
    other = torch.randn(5, 5)
    with capture({"it": module}) as captured:
        module(x, x, x, attn_mask=other, is_causal=True, need_weights=need_weights)
    mask = other if need_weights else torch.ones(5, 5, dtype=torch.bool).triu(1)
    _, expected = torch_weights(module, (x, x, x), {"attn_mask": mask})
    assert deviation(captured["it"].probs, expected) <= 1e-5


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


def test_an_encoder_layer_s_fast_path_does_not_bypass_its_attention():
    layer = lively(nn.TransformerEncoderLayer(WIDTH, HEADS, 64, batch_first=True))
    x = torch.randn(2, 5, WIDTH)
    with torch.no_grad(), capture({"it": layer.self_attn}) as captured:
        layer(x)
        _, expected = layer.self_attn(x, x, x, average_attn_weights=False)
    assert len(captured.calls("it")) == 2
    assert deviation(captured.calls("it")[0].probs, expected) <= 1e-5


def test_a_timm_site_s_own_masks():
    module = lively(import_timm().layers.Attention(WIDTH, HEADS))
    x = torch.randn(2, 5, WIDTH)
    look = torch.rand(2, 1, 5, 5) < 0.5
    look[..., 0] = True
    for options in ({"attn_mask": look}, {"attn_mask": torch.randn(5, 5)}, {"is_causal": True}):
        with torch.no_grad(), capture({"it": module}) as captured:
            module(x, **options)
        assert deviation(captured["it"].probs, timm_weights(module, (x,), options)) <= 1e-5


def test_an_open_clip_site_s_own_masks():
    import_open_clip()
    from open_clip.transformer import Attention

    module = lively(Attention(WIDTH, HEADS))
    same = multihead(batch_first=True)
    same.load_state_dict(module.state_dict())
    x = torch.randn(2, 5, WIDTH)
    hide = torch.rand(5, 5) < 0.5
    hide[:, 0] = False
    each = torch.randn(2 * HEADS, 5, 5)
    for mask in (hide, torch.randn(5, 5), each):
        with torch.no_grad(), capture({"it": module}) as captured:
            module(x, attn_mask=mask)
            _, expected = same(x, x, x, attn_mask=mask, average_attn_weights=False)
        assert deviation(captured["it"].probs, expected) <= 1e-5


def test_recompute_without_a_hook_is_checked_too():
    module = multihead(batch_first=True)
    x = torch.randn(2, 3, WIDTH)
    result = module(x, x, x, need_weights=False)
    again = recompute(module, (x, x, x), {"need_weights": False}, result)
    assert again.deviation <= 1e-5 and deviation(again.replacement()[0], result[0]) <= 1e-5
    with pytest.raises(CaptureError, match="deviates from its own output"):
        recompute(module, (x, x, x), {"need_weights": False}, (result[0] * 1.01, None))


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
