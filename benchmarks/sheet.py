"""How long a sheet of words x heads takes to draw, beside what draws the same maps elsewhere: a table.

    python -m benchmarks.sheet [--runs N] [--cell PIXELS]

`Explanation.sheet` (with its title, labels, null masses and colour bar) against a matplotlib figure per map, one
matplotlib figure with an axes per map, and a numpy overlay per map as pytorch-grad-cam makes it
(`benchmarks.sheet_peers`); the same maps, of 16 x 16 patches, each drawn in as many pixels. Once up to the PNG, in
memory, as each writes it (crossviz as `crossviz explain -o`), and once without encoding. All work in one thread: times
are processor time, so that what else the machine does stays out of it. In turns: each time is the median of the rounds,
each ratio the median of the rounds' ratios. Text that crossviz lettered in the round before is forgotten.
"""

import argparse
import io
import statistics
import time

import matplotlib as mpl
import numpy as np
import torch
from PIL import Image

from benchmarks.attention_like import CAPTION, attention_like
from benchmarks.measure import duration, in_turns, machine, times
from benchmarks.sheet_peers import PEERS
from crossviz.cli.output import SHEET_LEVEL
from crossviz.explanation import Explanation
from crossviz.render.lettering import lettered

SIZES = ((8, 1), (12, 1), (8, 12))
"""Words, and layers of 12 heads."""
OWN = "crossviz"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="rounds (%(default)s)")
    parser.add_argument("--cell", type=int, default=112, help="side of a map in pixels (%(default)s)")
    args = parser.parse_args()
    mpl.use("agg")
    torch.set_num_threads(1)
    libraries = ("matplotlib", "pillow", "numpy")
    print(machine(f"maps of {args.cell} x {args.cell} pixels", libraries=libraries), end="\n\n", flush=True)
    print(f"| words x heads | up to | {OWN} | {' | '.join(PEERS)} |\n|---|---|---|{'---|' * len(PEERS)}", flush=True)
    warm = True
    for words, layers in SIZES:
        explanation = attention_like(" ".join(CAPTION.split()[:words]), layers=layers)
        for encode in (True, False):
            row(explanation, args.cell, args.runs, encode, warm)
            warm = False


def row(explanation: Explanation, cell: int, runs: int, encode: bool, warm: bool) -> None:
    """Measure one size, and print its line."""
    photo = np.asarray(explanation.photo.image().convert("RGB").resize((cell, cell), Image.Resampling.LANCZOS))
    maps = explanation.map.per_head.flatten(0, 1).transpose(0, 1).contiguous()  # word head gh gw

    def own() -> None:
        lettered.cache_clear()
        sheet = explanation.sheet(cell=cell)
        if encode:
            sheet.save(io.BytesIO(), "PNG", compress_level=SHEET_LEVEL)

    calls = {OWN: own} | {name: lambda peer=peer: peer(photo, maps, encode=encode) for name, peer in PEERS.items()}
    seconds = in_turns(calls, runs, warm=warm, clock=time.process_time)
    others = " | ".join(
        f"{duration(statistics.median(seconds[name]))} ({times(seconds[name], seconds[OWN]):.1f}x)" for name in PEERS
    )
    what = "the PNG" if encode else "the pixels"
    words, heads = maps.shape[:2]
    print(f"| {words} x {heads} | {what} | {duration(statistics.median(seconds[OWN]))} | {others} |", flush=True)


if __name__ == "__main__":
    main()
