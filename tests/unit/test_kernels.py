"""When the fused kernel is taken, how its work is cut, and its arithmetic (in a process with Triton's interpreter)."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from crossviz.attention import CrossModalAttention
from crossviz.errors import AttentionInputError
from crossviz.kernels import choice
from crossviz.kernels.tiles import DOT_LEAST, likeliest, power_of_two, tiles

ROOT = Path(__file__).resolve().parents[2]
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="needs the package triton")


@needs_triton
def test_the_kernel_in_the_interpreter():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "tests/interpreted"]
    env = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    env = {name: value for name, value in env.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout


@pytest.mark.parametrize("number, wanted", [(1, 16), (16, 16), (17, 32), (196, 256), (576, 1024), (1024, 1024)])
def test_power_of_two(number, wanted):
    assert power_of_two(number) == wanted


@pytest.mark.parametrize("bytes_each", [2, 4])
@pytest.mark.parametrize("queries", [1, 32, 77, 1000])
@pytest.mark.parametrize("keys", [1, 50, 196, 576, 4096])
@pytest.mark.parametrize("dim", [1, 64, 256])
def test_tiles_are_such_that_the_program_can_take_them(queries, keys, dim, bytes_each):
    found = tiles(queries, keys, dim, bytes_each)
    assert found and len(found) == len(set(found))
    for tile in found:
        for side in (tile.queries, tile.keys):
            assert side >= DOT_LEAST and side & (side - 1) == 0
        assert not tile.whole or tile.keys >= keys
        assert tile.warps in (4, 8)
    if keys == 196 and dim == 64 and bytes_each == 2:
        assert found[0].whole, "a short row needs no score twice"
    if keys == 4096:
        assert not any(tile.whole for tile in found)


def test_a_small_call_is_cut_finely_and_a_large_one_is_not():
    found = tiles(77, 576, 64, 2)
    assert not found[0].whole
    assert likeliest(found, 77, 768) == found[0]
    assert likeliest(found, 77, 12).queries == 16


@needs_triton
def test_the_fastest_tile_is_taken_and_remembered():
    from triton.runtime.errors import OutOfResources

    from crossviz.kernels.tuning import chosen

    candidates = tiles(77, 576, 64, 2)
    started = []

    def start(tile):
        started.append(tile)
        if tile == candidates[0]:
            raise OutOfResources(2, 1, "shared memory")

    def timed(call):
        call()
        return 1.0 if started[-1] == candidates[2] else 2.0

    assert chosen("a size", candidates, start, timed) == candidates[2]
    assert started == candidates
    assert chosen("a size", candidates, start, timed) == candidates[2]
    assert len(started) == len(candidates)
    assert chosen("no room", candidates[:1], start, timed) == candidates[0]


class OnGpu:
    """As much of a CUDA tensor as the choice looks at."""

    is_cuda = True

    def __init__(self, *shape, dtype=torch.float16, device="cuda:0", requires_grad=False):
        self.shape, self.dtype, self.requires_grad = shape, dtype, requires_grad
        self.device = torch.device(device)


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(choice, "_why_not_on", lambda device: None)
    return lambda **changes: [OnGpu(1, 2, 3, 64, **changes) for _ in range(3)]


def test_what_the_kernel_takes(gpu):
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        assert choice.why_not_fused(*gpu(dtype=dtype)) is None


def test_what_stands_against_it(gpu):
    assert "float64" in choice.why_not_fused(*gpu(dtype=torch.float64))
    assert "dropout" in choice.why_not_fused(*gpu(), dropout=0.1)
    assert "gradients" in choice.why_not_fused(*gpu(requires_grad=True))
    assert choice.why_not_fused(*gpu(requires_grad=True), differentiated=True) is None
    with torch.no_grad():
        assert choice.why_not_fused(*gpu(requires_grad=True)) is None
    q, k, v = gpu()
    assert "cpu" in choice.why_not_fused(q, k, v, torch.ones(1, 3, dtype=torch.bool))
    assert "cuda:1" in choice.why_not_fused(q, k, OnGpu(1, 2, 3, 64, device="cuda:1"))
    assert "float32" in choice.why_not_fused(q, k, OnGpu(1, 2, 3, 64, dtype=torch.float32))
    assert "nothing" in choice.why_not_fused(q, OnGpu(1, 2, 0, 64), OnGpu(1, 2, 0, 64))
    assert "512" in choice.why_not_fused(*(OnGpu(1, 2, 3, 512) for _ in range(3)))


def test_on_the_cpu_there_is_the_plain_path_only():
    module = CrossModalAttention(8, num_heads=2, null_key=True).eval()
    query, key = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    with torch.no_grad():
        made = module(query, key)
        for actual, wanted in zip(module(query, key, fused=False), made, strict=True):
            assert torch.equal(actual, wanted)
        less = module(query, key, need_scores=False)
        assert less.scores is None and torch.equal(less.probs, made.probs)
        with pytest.raises(AttentionInputError, match="not possible, as the tensors are on cpu"):
            module(query, key, fused=True)


def test_triton_is_not_imported_for_the_cpu():
    code = """
import sys, torch
from crossviz.attention import CrossModalAttention
CrossModalAttention(8, num_heads=2).eval()(torch.ones(1, 2, 8), torch.ones(1, 3, 8))
print("crossviz.kernels.fused" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == ["False"]
