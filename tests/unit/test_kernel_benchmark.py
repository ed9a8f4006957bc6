"""What of the kernel's benchmark needs no GPU: its arithmetic, its peers, its picture, and what it says without one."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks.kernel_peers import Size, deviation, eager, module_peers
from benchmarks.kernel_roofline import Point, draw

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_a_sentence():
    command = [sys.executable, "-m", "benchmarks.kernel"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("This benchmark needs an NVIDIA GPU") and done.stderr.count("\n") == 1


def test_bytes_and_operations():
    size = Size(64, 12, 77, 576, 64)
    q, k, v = (torch.empty(64, 12, tokens, 64, dtype=torch.bfloat16) for tokens in (77, 576, 576))
    probs = torch.empty(64, 12, 77, 576, dtype=torch.bfloat16)
    assert size.bytes_that_must_move(torch.bfloat16) == sum(x.nbytes for x in (q, k, v, probs, q))
    assert size.operations == 2 * 2 * probs.numel() * 64


def test_the_peers_compute_the_same():
    size = Size(2, 2, 3, 5, 4)
    q, k, v = size.inputs(torch.float32, "cpu")
    probs, context = eager(q, k, v)
    assert torch.allclose(context, torch.nn.functional.scaled_dot_product_attention(q, k, v), atol=1e-6)
    assert deviation((probs, context), eager(q.double(), k.double(), v.double())) < 1e-6
    with torch.no_grad():
        own, plain, torchs = (call() for call in module_peers(size, torch.float32, "cpu"))
    assert torch.equal(own.probs, plain.probs) and own.scores is None
    assert torchs[1].shape == own.probs.shape


def test_the_roofline_is_drawn(tmp_path):
    points = [Point(peer, "1 x 1", 20.0, rate) for peer, rate in (("fused", 5e13), ("eager", 1e13), ("compiled", 2e13))]
    draw(points, 4e12, 7e14, "a GPU", tmp_path / "roofline.png")
    with Image.open(tmp_path / "roofline.png") as picture:
        assert picture.format == "PNG" and picture.width == 1200
