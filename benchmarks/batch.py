"""How fast `crossviz batch` is beside the bare encoders, how much it writes, and what a million photos would take.

    python -m benchmarks.batch [--photos N] [--runs N] [--models NAME ...] [--ray] [--gpu-photos-per-second N]

Whole runs of `crossviz batch` (reading, encoding, asking every word, writing) and of the loop that a user would write
for the two encoders alone (open_clip's own transform, `encode_image`, `encode_text`; photos read ahead by as many
threads, batches as large), in turn, on the same files. `--ray` measures one and two workers as well, a thread each.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from safetensors.torch import save_file

import crossviz
from benchmarks.batch_cost import cost_model
from benchmarks.batch_photos import make_photos
from benchmarks.measure import machine
from crossviz.batch.cluster import Cluster
from crossviz.batch.rows import Columns
from crossviz.batch.run import run_batch
from crossviz.batch.settings import Settings
from crossviz.batch.sources import open_source
from crossviz.compat import import_open_clip
from crossviz.paths import assets_dir

MINI = "crossviz-mini"
RAY_BLOCK = 4


class Seconds(NamedTuple):
    """Of one run: by the clock, and of all processors together."""

    wall: float
    cpu: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=192)
    parser.add_argument("--runs", type=int, default=3, help="of each, in turn (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2, help="threads that read photos (%(default)s)")
    parser.add_argument("--models", nargs="+", default=[MINI, "ViT-B-32", "ViT-B-16"])
    parser.add_argument("--ray", action="store_true", help="measure one and two workers on Ray, too")
    parser.add_argument("--gpu-photos-per-second", type=float, default=1000.0, help="assumed for the cost model")
    args = parser.parse_args()

    print(machine(", ".join(args.models), "cpu"), end="\n\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="crossviz-batch-") as place:
        folder = Path(place)
        (folder / "photos").mkdir()
        table = make_photos(folder / "photos", args.photos)
        print(
            "| model | crossviz batch, photos/s | bare encoders, photos/s | ratio by the clock | by processor time "
            "| kB written a photo |\n|---|---|---|---|---|---|",
            flush=True,
        )
        for name in args.models:
            against_bare(name, model_folder(folder, name), table, folder, args)
        if args.ray:
            on_ray(table, folder, args)
        print(cost_model(table, args.gpu_photos_per_second))


def model_folder(folder: Path, name: str) -> Path:
    """The embedded model's folder, or one with random weights of an architecture of open_clip's."""
    if name == MINI:
        return assets_dir() / "models" / MINI
    made, open_clip = folder / name, import_open_clip()
    made.mkdir()
    config = {"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": {}}
    (made / "open_clip_config.json").write_text(json.dumps(config))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = open_clip.create_model(name).state_dict()
    save_file({key: value.contiguous().clone() for key, value in weights.items()}, made / "open_clip_model.safetensors")
    return made


def against_bare(name: str, model: Path, table: Path, folder: Path, args: argparse.Namespace) -> None:
    """One row: both ways in turn."""
    explainer = crossviz.Explainer(MINI if name == MINI else f"open_clip:{model}", device="cpu")
    settings = Settings(batch_size=args.batch_size, workers=args.workers)
    bare = BareEncoders(model, args.batch_size, args.workers)
    out, own, theirs = folder / f"out-{name}", [], []

    def batch(limit: int | None = None) -> None:
        shutil.rmtree(out, ignore_errors=True)
        source = open_source(str(table))
        run_batch(source, str(table), out, explainer, settings, columns=Columns(), limit=limit)

    batch(args.batch_size)  # the first of each is left out
    bare(table, args.batch_size)
    for _ in range(args.runs):
        own.append(timed(batch))
        theirs.append(timed(lambda: bare(table)))
    written = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    assert len(crossviz.load(out)) == args.photos
    wall = statistics.median(b.wall / a.wall for a, b in zip(own, theirs, strict=True))
    cpu = statistics.median(b.cpu / a.cpu for a, b in zip(own, theirs, strict=True))
    print(
        f"| {name} | {rate(own, args.photos)} | {rate(theirs, args.photos)} | {wall:.2f} | {cpu:.2f} "
        f"| {written / args.photos / 1000:.1f} |",
        flush=True,
    )


class BareEncoders:
    """The loop that one would write for the embeddings alone."""

    def __init__(self, model: Path, batch_size: int, workers: int) -> None:
        open_clip = import_open_clip()
        from crossviz.models import mini_parts  # noqa: F401  registers the embedded model's tower

        self.model, _, self.transform = open_clip.create_model_and_transforms(f"local-dir:{model}")
        self.tokenizer = open_clip.get_tokenizer(f"local-dir:{model}")
        self.model.eval()
        self.layout = torch.contiguous_format
        if model.name == MINI:  # as crossviz has it: convolutions are faster so
            self.layout = torch.channels_last
            self.model.visual.trunk.to(memory_format=self.layout)
        self.batch_size, self.workers = batch_size, workers

    @torch.inference_mode()
    def __call__(self, table: Path, limit: int | None = None) -> list[torch.Tensor]:
        """The embeddings of all photos and captions."""
        rows = [json.loads(line) for line in table.read_text().splitlines()][:limit]
        found, pixels = [], self.read_ahead([table.parent / row["photo"] for row in rows])
        for start in range(0, len(rows), self.batch_size):
            part = rows[start : start + self.batch_size]
            images = torch.stack([next(pixels) for _ in part]).contiguous(memory_format=self.layout)
            found += [self.model.encode_image(images, normalize=True)]
            found += [self.model.encode_text(self.tokenizer([row["caption"] for row in part]), normalize=True)]
        return found

    def read_ahead(self, files: list[Path]) -> Iterator[torch.Tensor]:
        """Photos as the model takes them, read in threads, two batches ahead."""
        with ThreadPoolExecutor(self.workers) as pool:
            waiting: deque[Any] = deque()
            for file in files:
                waiting.append(pool.submit(self.read, file))
                if len(waiting) > 2 * self.batch_size:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def read(self, file: Path) -> torch.Tensor:
        """One photo."""
        with Image.open(file) as photo:
            return self.transform(photo.convert("RGB"))


def on_ray(table: Path, folder: Path, args: argparse.Namespace) -> None:
    """One and two workers in turn: from the second block of each to the last, by the files."""
    explainer, rates = crossviz.Explainer(MINI, device="cpu"), {1: [], 2: []}
    settings, out = Settings(batch_size=RAY_BLOCK, workers=1), folder / "out-ray"
    for _ in range(args.runs):
        for workers, found in rates.items():
            shutil.rmtree(out, ignore_errors=True)
            source, cluster = open_source(str(table)), Cluster(workers=workers)
            run_batch(
                source, str(table), out, explainer, settings, columns=Columns(), block_rows=RAY_BLOCK, ray=cluster
            )  # fmt: skip
            times = sorted(file.stat().st_mtime_ns for file in (out / "rows").iterdir())[2 * workers - 1 :]
            found.append(RAY_BLOCK * (len(times) - 1) / (times[-1] - times[0]) * 1e9)
    print("\n| workers on Ray, one thread each | photos/s, median | of each run |\n|---|---|---|")
    for workers, found in rates.items():
        print(f"| {workers} | {statistics.median(found):.2f} | {', '.join(f'{each:.2f}' for each in found)} |")
    gain = statistics.median(two / one for one, two in zip(rates[1], rates[2], strict=True))
    print(f"\nTwo workers do {gain:.2f} times as much as one.", flush=True)


def timed(call: Callable[[], Any]) -> Seconds:
    """Seconds that `call` takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def rate(seconds: list[Seconds], photos: int) -> str:
    """Photos a second, the median."""
    return f"{photos / statistics.median(each.wall for each in seconds):.2f}"


if __name__ == "__main__":
    main()
