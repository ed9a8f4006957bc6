"""The attention of diffusers, module by module: recomputed exactly, replaceable, refused where it is something else."""

import types

import pytest
import torch
from torch import nn

from crossviz import compat
from crossviz.capture import capture, sites
from crossviz.errors import CaptureError
from crossviz.sites import projections, refusal

compat.ensure_torchvision()
from diffusers.models.attention_processor import (  # noqa: E402
    Attention,
    AttnProcessor,
    JointAttnProcessor2_0,
    SlicedAttnProcessor,
)
from diffusers.models.transformers.transformer_flux import FluxAttention  # noqa: E402

IMAGE, TEXT, DIM = 6, 4, 16


def made(kind, **options):
    torch.manual_seed(3)
    if kind == "cross":
        module = Attention(DIM, cross_attention_dim=12, heads=2, dim_head=8, **options)
    elif kind == "joint":
        module = Attention(
            DIM, added_kv_proj_dim=DIM, heads=2, dim_head=8, out_dim=DIM, bias=True, processor=JointAttnProcessor2_0(),
            **{"context_pre_only": False, "qk_norm": "rms_norm", **options},
        )  # fmt: skip
    else:
        module = FluxAttention(DIM, heads=2, dim_head=8, out_dim=DIM, bias=True, **options)
    for parameter in module.parameters():
        parameter.data += torch.randn(parameter.shape) * 0.3
    return module.eval()


def inputs(kind):
    torch.manual_seed(4)
    image = torch.randn(2, IMAGE, DIM)
    if kind == "cross":
        return {"hidden_states": image, "encoder_hidden_states": torch.randn(2, TEXT, 12)}
    if kind == "single":
        return {"hidden_states": torch.randn(2, TEXT + IMAGE, DIM)}
    return {"hidden_states": image, "encoder_hidden_states": torch.randn(2, TEXT, DIM)}


CASES = {
    "cross": ("cross", {}),
    "cross, oldest processor": ("cross", {"processor": AttnProcessor(), "scale_qk": False}),
    "cross, norms": ("cross", {"qk_norm": "layer_norm"}),
    "joint": ("joint", {}),
    "joint, last layer": ("joint", {"context_pre_only": True}),
    "joint, no norms": ("joint", {"qk_norm": None}),
    "flux": ("flux", {"added_kv_proj_dim": DIM, "context_pre_only": False}),
    "flux, one stream": ("single", {"pre_only": True}),
}


def called(kind, module):
    given = inputs(kind)
    if kind in ("flux", "single"):
        angle = torch.randn(TEXT + IMAGE, 4).repeat_interleave(2, 1)
        given["image_rotary_emb"] = (angle.cos(), angle.sin())
    return module(**given)


@pytest.mark.parametrize("case", CASES)
def test_every_call_recomputes_and_can_be_replaced_with_a_gradient(case):
    kind, options = CASES[case]
    module = made(kind, **options)
    assert sites(nn.ModuleDict({"x": module})) == {"x": module}
    own = called(kind, module)
    with capture({"x": module}, keep=("probs", "values", "scores"), substitute=True) as captured:
        replaced = called(kind, module)
    for one, other in zip(*(each if isinstance(each, tuple) else (each,) for each in (own, replaced)), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-5)
    call = captured["x"]
    queries = IMAGE if kind == "cross" else IMAGE + TEXT
    keys = TEXT if kind == "cross" else IMAGE + TEXT
    assert call.probs.shape == (2, 2, queries, keys) and call.values.shape == (2, 2, keys, 8)
    torch.testing.assert_close(call.probs, call.scores.softmax(-1))
    assert call.probs.amax() > 0.4  # far from even, so that mixed-up heads would show
    last = replaced[0] if isinstance(replaced, tuple) else replaced
    (slope,) = torch.autograd.grad(last.square().sum(), call.probs)
    assert slope.abs().max() > 0


@pytest.mark.parametrize("case", CASES)
def test_every_call_can_be_computed_once(case):
    kind, options = CASES[case]
    module = made(kind, **options)
    with torch.no_grad():
        torch.manual_seed(5)
        own = called(kind, module)
        with capture({"x": module}) as checked:
            called(kind, module)
        with capture({"x": module}, once=True) as captured:
            answers = [called(kind, module) for _ in range(2)]
    for answer in answers:
        for one, other in zip(*(x if isinstance(x, tuple) else (x,) for x in (own, answer)), strict=True):
            torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-5)
    for call in captured.calls("x"):
        torch.testing.assert_close(call.probs, checked["x"].probs)
        torch.testing.assert_close(call.scores, checked["x"].scores)


@pytest.mark.parametrize("processor", [None, AttnProcessor()], ids=["fused", "oldest"])
def test_a_mask_takes_keys_away(processor):
    module = made("cross", **({} if processor is None else {"processor": processor}))
    mask = torch.zeros(2, 1, TEXT)
    mask[1, 0, 2:] = -10000.0
    with torch.no_grad(), capture({"x": module}) as captured:
        module(**inputs("cross"), attention_mask=mask)
    probs = captured["x"].probs
    assert probs[1, ..., 2:].max() == 0 and probs[0].min() > 0
    with pytest.raises(CaptureError, match="mask is of shape"), capture({"x": module}):
        module(**inputs("cross"), attention_mask=torch.zeros(2, 1, 0))


def test_calls_with_more_are_refused():
    module = made("cross")
    with pytest.raises(CaptureError, match="called with scale"), capture({"x": module}):
        module(**inputs("cross"), scale=None)
    joint = made("joint")
    with pytest.raises(CaptureError, match="a mask, which its processor does not read"), capture({"x": joint}):
        joint(**inputs("joint"), attention_mask=torch.zeros(2, 1, IMAGE))


@pytest.mark.parametrize(
    ("kind", "options", "change", "reason"),
    [
        ("cross", {}, {"processor": SlicedAttnProcessor(1)}, "SlicedAttnProcessor"),
        ("cross", {"norm_num_groups": 2}, {}, "normalises its inputs"),
        ("cross", {"cross_attention_norm": "layer_norm"}, {}, "normalises its inputs"),
        ("cross", {"residual_connection": True}, {}, "more than the attention"),
        ("cross", {"rescale_output_factor": 2.0}, {}, "more than the attention"),
        ("cross", {"kv_heads": 1}, {}, "fewer heads"),
        ("cross", {"qk_norm": "layer_norm"}, {"processor": AttnProcessor()}, "leaves out the norms"),
        ("joint", {}, {"processor": AttnProcessor()}, "projections for text that its processor"),
        ("cross", {}, {"to_q": nn.Sequential(nn.Linear(DIM, DIM))}, "to_q .* is not a plain linear layer"),
        ("flux", {}, {"processor": AttnProcessor()}, "AttnProcessor"),
        ("flux", {}, {"fused_projections": True}, "fused"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_what_computes_something_else_is_refused(kind, options, change, reason):
    module = made(kind, **options)
    for name, value in change.items():
        setattr(module, name, value)
    found = refusal(module)
    assert found is not None
    with pytest.raises(CaptureError, match=reason), capture({"x": module}):
        pass


def test_dropping_and_a_forward_of_its_own_are_refused():
    module = made("cross", dropout=0.5)
    assert refusal(module) is None and "drops at random" in refusal(module.train())
    module.eval().forward = types.MethodType(lambda self, *given: given, module)
    assert "`forward` of its own" in refusal(module)


def test_projections_are_those_of_one_stream():
    module = made("cross")
    found = projections(module)
    assert found.num_heads == 2 and found.key_weight is module.to_k.weight and found.scale == 8**-0.5
    for kind, options in (("joint", {}), ("flux", {"added_kv_proj_dim": DIM, "context_pre_only": False})):
        with pytest.raises(CaptureError, match="of the image and of the text"):
            projections(made(kind, **options))
