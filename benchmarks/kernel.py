"""How near the fused attention kernel comes to the GPU's memory, beside what PyTorch does: tables and a roofline.

    python -m benchmarks.kernel [--dtype bfloat16|float16|float32] [--out FOLDER]

Three tables in Markdown, all measured in this run: attention alone, over sizes; the whole module with its projections
beside nn.MultiheadAttention; one photo's call, captured in a CUDA graph. Each time is the median of many calls, with
the L2 cache emptied in between. What must move is Q, K and V, read once, and probs and context, written once; the
bandwidth that it is held against is that of copying 1 GiB within the GPU. FOLDER (build/) gets kernel_roofline.png.
Without an NVIDIA GPU it says so and ends with status 2.
"""

import argparse
import platform
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks.kernel_peers import Size, attention_peers, deviation, module_peers
from benchmarks.kernel_roofline import Point, draw

SIZES = (
    Size(64, 12, 77, 576, 64),
    Size(64, 12, 32, 196, 64),
    Size(64, 12, 576, 77, 64),
    Size(64, 12, 77, 196, 64),
    Size(16, 16, 77, 1024, 64),
    Size(8, 12, 77, 576, 64),
    Size(1, 12, 77, 576, 64),
    Size(64, 8, 20, 256, 32),
    Size(4, 12, 77, 4096, 64),
)
MODULE_SIZES = SIZES[:2]
ONE_PHOTO = Size(1, 12, 77, 576, 64)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", choices=["bfloat16", "float16", "float32"], default="bfloat16")
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder for the picture (%(default)s)")
    args = parser.parse_args()
    if not torch.cuda.is_available() or torch.version.cuda is None or find_spec("triton") is None:
        missing = "This benchmark needs an NVIDIA GPU, PyTorch with CUDA, and Triton, and not all of them are here."
        print(missing, file=sys.stderr)
        raise SystemExit(2)
    dtype = getattr(torch, args.dtype)
    with torch.no_grad():
        bandwidth, peak = copy_bandwidth(), matmul_peak(dtype)
        print(machine(args.dtype), end="\n\n")
        print(f"Copying: {bandwidth / 1e9:.0f} GB/s, read and written. Matrix product: {peak / 1e12:.0f} TFLOP/s.\n")
        points = attention_table(dtype, bandwidth)
        module_table(dtype)
        photo_table(dtype)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "kernel_roofline.png"
    draw(points, bandwidth, peak, f"{torch.cuda.get_device_name()}, {args.dtype}", path)
    print(f"The roofline is drawn in {path}.")


def attention_table(dtype: torch.dtype, bandwidth: float) -> list[Point]:
    """Attention alone, every size by every peer; what the roofline shows of it."""
    print("| batch x heads, queries x keys, head | must move | fused | of the copy | eager | compiled | off by |")
    print("|---|---|---|---|---|---|---|", flush=True)
    points = []
    for size in SIZES:
        given = size.inputs(dtype)
        peers = attention_peers()
        off = deviation(peers["fused"](*given), peers["eager"](*(x.double() for x in given)))
        seconds = {name: timed(lambda call=call, given=given: call(*given)) for name, call in peers.items()}
        fused, moved = seconds["fused"], size.bytes_that_must_move(dtype)
        others = " | ".join(f"{ms(seconds[name])} ({seconds[name] / fused:.2f}x)" for name in ("eager", "compiled"))
        share = f"{moved / fused / bandwidth:.0%}"
        print(f"| {size} | {moved / 1e6:.1f} MB | {ms(fused)} | {share} | {others} | {off:.0e} |", flush=True)
        points += [Point(name, str(size), size.operations / moved, size.operations / s) for name, s in seconds.items()]
    print()
    return points


def module_table(dtype: torch.dtype) -> None:
    """The module with its projections (and its LayerNorm, which torch's has not) beside torch's."""
    print("| batch x heads, queries x keys, head | CrossModalAttention | its plain path | nn.MultiheadAttention |")
    print("|---|---|---|---|")
    for size in MODULE_SIZES:
        own, plain, torchs = (timed(call) for call in module_peers(size, dtype))
        row = f"{ms(own)} | {ms(plain)} ({plain / own:.2f}x) | {ms(torchs)} ({torchs / own:.2f}x)"
        print(f"| {size} | {row} |", flush=True)
    print()


def photo_table(dtype: torch.dtype) -> None:
    """One photo: what the launch of each step costs, and what is left of it in a CUDA graph."""
    own, plain, _ = module_peers(ONE_PHOTO, dtype)
    rows = {
        "plain path": timed(plain),
        "fused": timed(own),
        "plain path, CUDA graph": timed(captured(plain)),
        "fused, CUDA graph": timed(captured(own)),
    }
    print(f"| one photo, {ONE_PHOTO}, the whole module | |\n|---|---|")
    for name, seconds in rows.items():
        print(f"| {name} | {ms(seconds)} |")
    print(flush=True)


def captured(call: Callable[[], object]) -> Callable[[], object]:
    """The replay of a call that is captured in a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # compiled and warm before it is captured
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def copy_bandwidth() -> float:
    """Bytes per second of copying 1 GiB within the GPU, what is read and what is written."""
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() / timed(lambda: target.copy_(source))


def matmul_peak(dtype: torch.dtype) -> float:
    """Floating point operations per second of a large square matrix product."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=dtype) for _ in range(2))
    return 2 * 8192**3 / timed(lambda: a @ b)


def timed(call: Callable[[], object]) -> float:
    """Median seconds of a call on the GPU, each with a cold L2 cache."""
    from triton.testing import do_bench

    call()
    return do_bench(call, warmup=100, rep=300, return_mode="median") / 1000


def ms(seconds: float) -> str:
    """As it stands in a table."""
    return f"{seconds * 1000:.3f} ms"


def machine(dtype: str) -> str:
    """What the figures were measured on."""
    import triton

    return (
        f"{torch.cuda.get_device_name()}; {platform.system()}, Python {platform.python_version()}, torch "
        f"{torch.__version__}, CUDA {torch.version.cuda}, Triton {triton.__version__}; {dtype}"
    )


if __name__ == "__main__":
    main()
