"""`attend` against the formula written out and PyTorch's fused attention."""

import pytest
import torch
from torch.nn import functional as F

from crossviz.kernels import attend


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("mask", [None, (5, 7), (2, 1, 1, 7), (2, 3, 5, 7)], ids=str)
def test_against_the_formula(mask, dtype):
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(2, n, 3, 4, generator=generator).transpose(1, 2).to(dtype) for n in (5, 7, 7))
    bias = None if mask is None else torch.randn(mask, generator=generator).to(dtype)
    scores = q.double() @ k.double().mT * 0.3 + (0 if bias is None else bias.double())
    probs = torch.softmax(scores, -1)
    fused = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=0.3)
    wide = torch.promote_types(dtype, torch.float32)
    close = {"rtol": 1e-4, "atol": 1e-5} if wide == dtype else {"rtol": 2e-2, "atol": 2e-2}
    for rows in (None, slice(1, 4), [4, 0]):
        for asked in ({"scores": True}, {"scores": True, "probs": False}, {}, {"probs": False}):
            made = attend(q, k, v, scale=0.3, bias=bias, rows=rows, **asked)
            torch.testing.assert_close(made.context, fused, **close)
            torch.testing.assert_close(made.context.double(), probs @ v.double(), **close)
            assert made.context.dtype == dtype
            for tensor, whole, wanted in (
                (made.scores, scores, asked.get("scores", False)),
                (made.probs, probs, asked.get("probs", True)),
            ):
                assert (tensor is not None) == wanted
                if wanted:
                    expected = whole if rows is None else whole[:, :, rows]
                    assert tensor.dtype == wide
                    torch.testing.assert_close(tensor.double(), expected, rtol=1e-4, atol=1e-5)
    half = attend(q, k, v, scale=0.3, bias=bias, scores=True, dtype=torch.float16)
    assert half.scores.dtype == half.probs.dtype == torch.float16
    torch.testing.assert_close(half.probs.double(), probs, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(half.context.double(), probs @ v.double(), **close), "from unrounded probs"


def test_nothing_to_attend_to():
    q, k = torch.randn(2, 3, 0, 4), torch.randn(2, 3, 7, 4)
    made = attend(q, k, k, scale=1.0)
    assert made.probs.shape == (2, 3, 0, 7) and made.context.shape == (2, 3, 0, 4)
    made = attend(k, q, q, scale=1.0)
    assert made.probs.shape == (2, 3, 7, 0) and not made.context.any()
