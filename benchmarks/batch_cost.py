"""What a million photos on eight GPUs would take: on paper, from what is measured here and stated assumptions."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import crossviz
from crossviz.batch.ahead import Ready
from crossviz.batch.block import run_block
from crossviz.batch.plan import Block
from crossviz.batch.settings import Settings
from crossviz.batch.sources import open_source
from crossviz.batch.store import add_block, open_out
from crossviz.photo import load_photo

__all__ = ["cost_model"]

PHOTOS, GPUS = 1_000_000, 8
WORKERS = (1, 2, 4, 8)


class Costs(NamedTuple):
    """Of one photo: processor seconds and bytes."""

    read: float
    ask: float
    write: float
    bytes_in: float
    bytes_out: float


def cost_model(table: Path, gpu_photos_per_second: float, photos: int = 64) -> str:
    """The measured costs of a photo, the assumptions, and what follows, as Markdown."""
    costs = measured(table, photos)
    lines = [
        f"\nA photo of {costs.bytes_in / 1000:.0f} kB, measured here with crossviz-mini, processor time of one core:\n",
        "| reading, resizing, checksum | text tower, cross-attention, maps | writing | written |",
        "|---|---|---|---|",
        f"| {costs.read * 1000:.1f} ms | {costs.ask * 1000:.1f} ms | {costs.write * 1000:.2f} ms "
        f"| {costs.bytes_out / 1000:.1f} kB |",
        f"\nOn paper, {PHOTOS:,} photos on {GPUS} GPUs. Assumed, not measured: a GPU passes "
        f"{gpu_photos_per_second:,.0f} photos/s through the image tower; its GPU waits while a worker asks or writes; "
        "asking takes there what it takes on a core here; photos are read by other cores meanwhile; disk and network "
        "keep up; cores are as fast as these.\n",
        "| workers a GPU | photos/s in all | hours | busy cores | read, MB/s | written, MB/s | written in all, GB |",
        "|---|---|---|---|---|---|---|",
    ]
    for workers in WORKERS:
        alone = 1 / (1 / gpu_photos_per_second + costs.ask + costs.write)
        rate = GPUS * min(gpu_photos_per_second, workers * alone)
        cores = rate * (costs.read + costs.ask + costs.write)
        lines.append(
            f"| {workers} | {rate:,.0f} | {PHOTOS / rate / 3600:.2f} | {cores:.0f} | {rate * costs.bytes_in / 1e6:.0f} "
            f"| {rate * costs.bytes_out / 1e6:.0f} | {PHOTOS * costs.bytes_out / 1e9:.1f} |"
        )
    return "\n".join(lines)


def measured(table: Path, photos: int) -> Costs:
    """The parts of a run, one after the other in one thread."""
    source, explainer = open_source(str(table)), crossviz.Explainer("crossviz-mini", device="cpu")
    rows = source.rows(0, photos)
    photos = len(rows)
    ready = []

    def read() -> None:
        ready.clear()
        for position, row in enumerate(rows):
            prepared = explainer.prepare(load_photo(row.read()))
            prepared.photo.sha256  # noqa: B018  computed here
            ready.append(Ready(position, row, row.told(), prepared))

    reading = cpu(read)
    encoding = cpu(lambda: explainer.encode_many([each.prepared for each in ready]))
    block, results = Block(0, 0, photos), []
    whole = cpu(lambda: results.append(run_block(explainer, block, ready, Settings(batch_size=photos))))
    with tempfile.TemporaryDirectory() as place:
        out = Path(place)
        open_out(out, {}, ())
        writing = cpu(lambda: add_block(out, results[-1]))
        written = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    given = sum(Path(row.read()).stat().st_size for row in rows)
    return Costs(*(value / photos for value in (reading, whole - encoding, writing, given, written)))


def cpu(call: Callable[[], Any], times: int = 3) -> float:
    """Processor seconds of the fastest of some calls, the first left out."""
    call()
    found = []
    for _ in range(times):
        started = time.process_time()
        call()
        found.append(time.process_time() - started)
    return min(found)
