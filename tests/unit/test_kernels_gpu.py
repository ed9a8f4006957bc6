"""The fused attention kernel on a real GPU: compiled, tuned, differentiated, captured in a CUDA graph."""

from importlib.util import find_spec

import attention_cases as cases
import pytest
import torch

from crossviz.attention import CrossModalAttention
from crossviz.kernels import plain_attention, why_not_fused

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available() or find_spec("triton") is None, reason="needs a GPU and Triton"),
]
SIZES = {
    "77 x 576": cases.Case(2, 12, 77, 576, 64, mask="key", null=True, strided=True),
    "32 x 196": cases.Case(2, 12, 32, 196, 64, mask="bool", strided=True),
    "576 x 77": cases.Case(2, 12, 576, 77, 64, mask="float"),
    "1 x 5000": cases.Case(1, 2, 1, 5000, 128),
    "large enough to be tuned for": cases.Case(16, 12, 77, 576, 64, null=True),
}


@pytest.mark.parametrize("dtype", cases.DTYPES, ids=str)
@pytest.mark.parametrize("name", [*cases.CASES, *SIZES])
def test_every_case(name, dtype):
    from crossviz.kernels.fused import fused_attention

    given = (cases.CASES | SIZES)[name].inputs(dtype, "cuda")
    assert why_not_fused(given["q"], given["k"], given["v"]) is None
    cases.check(fused_attention(**given), given)


@pytest.mark.parametrize("name", ["77 x 576", "32 x 196"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_every_tile(name, dtype):
    from triton.runtime.errors import OutOfResources

    from crossviz.kernels.fused import fused_attention
    from crossviz.kernels.tiles import tiles

    case = SIZES[name]
    given = case.inputs(dtype, "cuda")
    ran = 0
    for tile in tiles(case.queries, case.keys, case.dim, dtype.itemsize):
        try:
            made = fused_attention(**given, tile=tile)
        except OutOfResources:
            continue
        cases.check(made, given)
        ran += 1
    assert ran


@pytest.mark.parametrize("name", ["float and key", "blind rows, null", "strided"])
def test_gradients(name):
    from crossviz.kernels.fused import fused_attention

    given, inputs = cases.leaves(cases.CASES[name].inputs(torch.float32, "cuda"))
    actual = torch.autograd.grad(cases.loss(fused_attention(**given)), inputs)
    expected = torch.autograd.grad(cases.loss(plain_attention(**given)), inputs)
    for gradient, wanted in zip(actual, expected, strict=True):
        assert torch.allclose(gradient, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("autocast", [False, True])
def test_the_module_by_either_path(autocast):
    torch.manual_seed(0)
    module = CrossModalAttention(768, num_heads=12, null_key=True).cuda().eval()
    query, key = torch.randn(2, 77, 768, device="cuda"), torch.randn(2, 576, 768, device="cuda")
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16, enabled=autocast):
        made, wanted = module(query, key), module(query, key, fused=False)
    for actual, expected in zip(made, wanted, strict=True):
        assert actual.dtype == expected.dtype
        cases.assert_close(actual, expected.double(), 4e-2 if autocast else 1e-5, "either path")


@torch.no_grad()
def test_one_photo_is_captured_in_a_cuda_graph():
    module = CrossModalAttention(768, num_heads=12, null_key=True).cuda().half().eval()
    query, key = (torch.randn(1, count, 768, device="cuda", dtype=torch.half) for count in (77, 576))
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        module(query, key)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = module(query, key)
    query.copy_(torch.randn_like(query))
    graph.replay()
    for actual, expected in zip(captured, module(query, key), strict=True):
        assert torch.equal(actual, expected)
