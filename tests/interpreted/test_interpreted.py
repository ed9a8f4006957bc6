"""The fused attention kernel, number by number, in Triton's interpreter on the CPU."""

import attention_cases as cases
import pytest
import torch
from torch import nn

from crossviz import attention
from crossviz.attention import CrossModalAttention
from crossviz.kernels import plain_attention
from crossviz.kernels.fused import fused_attention
from crossviz.kernels.tiles import Tile

TWICE = Tile(16, 16, False, 4, 2)
WHOLE = {16: Tile(16, 16, True, 4, 1), 32: Tile(16, 32, True, 4, 1), 64: Tile(16, 64, True, 4, 1)}
NAMES = list(cases.CASES)


@pytest.mark.parametrize("name", NAMES)
def test_float32_in_two_loops(name):
    given = cases.CASES[name].inputs(torch.float32)
    cases.check(fused_attention(**given, tile=TWICE), given)


@pytest.mark.parametrize("name", NAMES)
def test_float32_in_one_block(name):
    case = cases.CASES[name]
    given = case.inputs(torch.float32)
    tile = next(tile for side, tile in WHOLE.items() if side >= case.keys)
    cases.check(fused_attention(**given, tile=tile), given)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["null", "float and key", "blind rows", "large scores", "one key", "several blocks"])
def test_half_precisions(name, dtype):
    given = cases.CASES[name].inputs(dtype)
    tile = TWICE if name in ("float and key", "several blocks") else WHOLE[32]
    cases.check(fused_attention(**given, tile=tile), given)


def test_the_tile_that_is_chosen_by_size():
    given = cases.Case(1, 1, 3, 7, 8).inputs(torch.float32)
    cases.check(fused_attention(**given), given)


def test_scores_that_are_not_asked_for_are_not_written():
    given = cases.CASES["null"].inputs(torch.float32)
    made = fused_attention(**given, tile=TWICE, need_scores=False)
    assert made.scores is None
    wanted = fused_attention(**given, tile=TWICE)
    assert torch.equal(made.probs, wanted.probs) and torch.equal(made.context, wanted.context)


def test_probs_in_a_precision_of_their_own():
    given = cases.CASES["null"].inputs(torch.bfloat16)
    probs = fused_attention(**given, tile=TWICE, probs_dtype=torch.float32).probs
    assert probs.dtype == torch.float32
    assert (probs.sum(-1) - 1).abs().max() < 1e-6


def test_what_is_not_a_number_spoils_its_own_row_only():
    given = cases.CASES["plain"].inputs(torch.float32)
    given["q"][0, 0, 2, 3] = float("nan")
    made = fused_attention(**given, tile=TWICE)
    wanted = plain_attention(**given)
    for actual, expected in zip(made, wanted, strict=True):
        assert torch.equal(actual.isnan(), expected.isnan())


@pytest.mark.parametrize("name", ["float and key", "blind rows, null", "a mask per head", "strided"])
def test_gradients_are_those_of_the_plain_path(name):
    given, inputs = cases.leaves(cases.CASES[name].inputs(torch.float32))
    actual = torch.autograd.grad(cases.loss(fused_attention(**given, tile=TWICE)), inputs)
    expected = torch.autograd.grad(cases.loss(plain_attention(**given)), inputs)
    for gradient, wanted in zip(actual, expected, strict=True):
        assert torch.allclose(gradient, wanted, atol=1e-5, rtol=1e-5)


def test_second_derivatives_are_those_of_the_plain_path():
    found = []
    for attend in (lambda **given: fused_attention(**given, tile=TWICE), plain_attention):
        given, inputs = cases.leaves(cases.CASES["null"].inputs(torch.float32))
        gradients = torch.autograd.grad(cases.loss(attend(**given)), inputs, create_graph=True)
        found.append(torch.autograd.grad(sum(x.square().sum() for x in gradients), inputs))
    for gradient, wanted in zip(*found, strict=True):
        assert (gradient - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_only_one_of_the_results_is_used():
    given, inputs = cases.leaves(cases.CASES["null"].inputs(torch.float32))
    for field in ("scores", "probs", "context"):
        made = [getattr(attend(**given), field) for attend in (fused_attention, plain_attention)]
        actual, wanted = (torch.autograd.grad(x.square().sum(), inputs, allow_unused=True) for x in made)
        for gradient, expected in zip(actual, wanted, strict=True):
            assert (gradient is None) == (expected is None)
            assert gradient is None or torch.allclose(gradient, expected, atol=1e-4, rtol=1e-4)


def test_inputs_are_left_alone():
    given = cases.CASES["float and key"].inputs(torch.float32)
    before = {name: x.clone() for name, x in given.items() if isinstance(x, torch.Tensor)}
    fused_attention(**given, tile=TWICE)
    assert all(torch.equal(x, given[name]) for name, x in before.items())


@pytest.mark.parametrize("null_key", [False, True], ids=["plain", "null"])
def test_the_module_gives_the_same_by_either_path(monkeypatch, null_key):
    torch.manual_seed(0)
    module = CrossModalAttention(12, 10, num_heads=3, null_key=null_key).eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4)
    query, key = torch.randn(2, 4, 12), torch.randn(2, 19, 10)
    masks = {"key_mask": torch.arange(19) < torch.tensor([[19], [5]]), "attn_mask": torch.rand(4, 19) < 0.8}
    wanted = module(query, key, **masks)
    wanted.output.square().sum().backward()
    gradients = [parameter.grad.clone() for parameter in module.parameters()]
    module.zero_grad()
    # On a GPU it is `why_not_fused` that lets a call through; here there is only the interpreter.
    monkeypatch.setattr(attention, "why_not_fused", lambda *_, **__: None)
    made = module(query, key, **masks)
    for actual, expected in zip(made, wanted, strict=True):
        assert actual.shape == expected.shape
        assert torch.allclose(actual, expected, atol=1e-5, rtol=1e-5)
    made.output.square().sum().backward()
    for parameter, gradient in zip(module.parameters(), gradients, strict=True):
        assert (parameter.grad - gradient).abs().max() <= 1e-5 * gradient.abs().max().clamp(min=1.0)
    assert module(query, key, need_scores=False).scores is None
