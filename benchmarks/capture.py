"""What capturing attention costs: a pass of ViT-B/16 with every layer's and head's attention, beside the bare pass.

    python -m benchmarks.capture [--batches 1 8 32] [--runs N] [--device cpu|cuda] [--dtype float32|float16|bfloat16]

One Markdown table for each batch. Weights are random, which makes no difference to the time; photos are 224 x 224, 197
tokens. All passes take turns, in another order each round; a ratio is the median, over the rounds, of a pass' time to
its own bare pass' time in the same round; that of the processor's time (all threads) is steadier where a machine is
shared. Beside open_clip's model with crossviz, the same architecture in transformers with eager attention and
`output_attentions=True`, against its own SDPA: what one does without crossviz.

"Kept" is what is in the caller's hands after the pass (layers x heads x queries x keys x bytes, for each photo), "peak"
the most memory that tensors take at one time during the pass, beyond that of its bare pass.
"""

import argparse
import logging
import random
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.measure import machine, timed
from crossviz.capture import capture, sites
from crossviz.compat import import_open_clip

Call = Callable[[], object]
BARE, PEER = "open_clip, bare", "transformers, SDPA"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--runs", type=int, default=9, help="rounds for each batch (%(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="float32")
    args = parser.parse_args()
    import transformers

    logging.disable(logging.WARNING)  # open_clip's, that its weights are random
    open_clip = import_open_clip()
    torch.manual_seed(0)
    place = {"device": args.device, "dtype": getattr(torch, args.dtype)}
    model = open_clip.create_model("ViT-B-16").eval().to(**place)
    peers = transformers_towers(place)
    libraries = f"open_clip {open_clip.__version__}, transformers {transformers.__version__}"
    print(f"{machine('ViT-B-16', args.device)}, {libraries}; {args.dtype}", end="\n\n", flush=True)
    with torch.inference_mode():
        for batch in args.batches:
            image = torch.randn(batch, 3, 224, 224).to(**place)
            text = torch.randint(1, 49000, (batch, 77), device=args.device)
            table(f"batch {batch}", image_passes(model.visual, peers, image), args.runs)
            table(f"batch {batch}, both towers", model_passes(model, image, text), args.runs)


def image_passes(tower: nn.Module, peers: tuple[nn.Module, nn.Module], image: Tensor) -> list[tuple[str, str, Call]]:
    """What is measured on the image tower: name, the name of its bare pass, the pass."""
    found = sites(tower)
    last = dict([list(found.items())[-1]])
    run = partial(captured, lambda: tower(image))
    sdpa, eager = peers
    return [
        (BARE, BARE, lambda: tower(image)),
        ("+ probs", BARE, lambda: run(found, keep=("probs",), once=True)),
        ("+ probs in float16", BARE, lambda: run(found, keep=("probs",), once=True, dtype=torch.float16)),
        ("+ scores and probs", BARE, lambda: run(found, once=True)),
        ("+ probs of the class token", BARE, lambda: run(found, keep=("probs",), once=True, rows=[0])),
        ("+ probs of the last layer only", BARE, lambda: run(last, keep=("probs",), once=True)),
        ("+ probs, recomputed beside and checked", BARE, lambda: run(found, keep=("probs",))),
        (PEER, PEER, lambda: sdpa(pixel_values=image)),
        ("transformers, eager, output_attentions", PEER, lambda: attentions(eager, image)),
    ]


def model_passes(model: nn.Module, image: Tensor, text: Tensor) -> list[tuple[str, str, Call]]:
    """The same for a whole model."""
    run = partial(captured, lambda: model(image, text))
    return [
        (BARE, BARE, lambda: model(image, text)),
        ("+ probs of both towers", BARE, lambda: run(sites(model), keep=("probs",), once=True)),
    ]


def captured(run: Call, modules: dict[str, nn.Module], **asked) -> list[Tensor]:
    """What is kept of a pass."""
    with capture(modules, **asked) as seen:
        run()
    wanted = asked.get("keep", ("scores", "probs"))
    return [getattr(call, name) for call in seen.values() for name in wanted]


def attentions(model: nn.Module, image: Tensor) -> list[Tensor]:
    """transformers' own."""
    return list(model(pixel_values=image, output_attentions=True).attentions)


def transformers_towers(place: dict[str, object]) -> tuple[nn.Module, nn.Module]:
    """CLIP's ViT-B/16, with fused and with eager attention."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    made = []
    for implementation in ("sdpa", "eager"):
        config = CLIPVisionConfig(patch_size=16, attn_implementation=implementation)
        made.append(CLIPVisionModel(config).eval().to(**place))
    return made[0], made[1]


def table(title: str, passes: list[tuple[str, str, Call]], runs: int) -> None:
    """Measure and print one."""
    memory = {name: (kept_bytes(call()), peak_bytes(call)) for name, _, call in passes}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name, _, _ in passes}
    for _ in range(runs):
        for name, _, call in random.sample(passes, len(passes)):
            used = time.process_time()
            wall = timed(call)
            seconds[name].append((wall, time.process_time() - used))
    print(f"| {title} | median | ratio | of processor time | kept | peak |\n|---|---|---|---|---|---|")
    for name, bare, _ in passes:
        pairs = list(zip(seconds[name], seconds[bare], strict=True))
        ratio, processor = (statistics.median(a[i] / b[i] for a, b in pairs) for i in (0, 1))
        kept, peak = memory[name][0], memory[name][1] - memory[bare][1]
        cells = ("", "", "", "")
        if name != bare:
            cells = (f"{ratio:.2f}x", f"{processor:.2f}x", megabytes(kept), megabytes(peak))
        median = statistics.median(wall for wall, _ in seconds[name])
        print(f"| {name} | {median * 1000:.1f} ms | {' | '.join(cells)} |", flush=True)
    print(flush=True)


def kept_bytes(kept: object) -> int:
    """Of a list of tensors; none for what a bare pass returns."""
    return sum(tensor.nbytes for tensor in kept) if isinstance(kept, list) else 0


def peak_bytes(call: Call) -> int:
    """The most that tensors made in the call take at one time."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        if torch.cuda.max_memory_allocated() > before:
            return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        call()
    changes = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    total = peak = 0
    for event in sorted(changes, key=lambda event: event.start_ns()):
        total += event.nbytes()
        peak = max(peak, total)
    return peak


def megabytes(count: int) -> str:
    """As it stands in a table."""
    return f"{count / 1e6:.1f} MB"


if __name__ == "__main__":
    main()
