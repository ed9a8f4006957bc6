"""Where the time goes: the start of the app, and one explanation, part by part.

    python -m benchmarks.latency_parts [--starts N] [--runs N]

The start is timed in new processes, by the steps that the app itself takes. The parts of an explanation are called one
after the other, as often as `--runs` says, on a photo and captions of assets/examples; captions differ from call to
call, as those of a person who tries one after another. `python -m benchmarks.latency` has the wholes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image

from benchmarks.latency import ROOT
from benchmarks.measure import duration, in_turns, machine, timed
from crossviz.explainer import Explainer
from crossviz.methods import get_method
from crossviz.paths import assets_dir
from crossviz.photo import load_photo
from crossviz.render.payload import viewer_payload
from crossviz.web.components import envelope
from crossviz.web.engine import Engine

PHONE_WH = (4000, 3000)
START = """
import json, sys, time
marks = [("the interpreter", time.perf_counter())]
def done(what):
    marks.append((what, time.perf_counter()))
if sys.argv[1] == "plain":
    import gradio
else:
    from crossviz.web.gradio_import import import_gradio
    import_gradio()
done("importing Gradio")
import torch
done("importing torch")
from crossviz import compat
compat.import_open_clip()
done("importing open_clip, timm and torchvision")
from crossviz.web import app, page
from crossviz.web.engine import Engine
done("importing the rest")
engine = Engine("crossviz-mini", "cpu")
explainer = engine.explainer("")
done("loading the model, its files' hashes included")
explainer._model.key
done("the hash of its weights")
opening = app._opening(engine)
done("the first example's explanation, remembered from the start before")
blocks = page.build(engine, opening)
done("building the page")
import socket
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
page.launch(blocks, "127.0.0.1", port)
done("starting the server")
blocks.close(verbose=False)
print(json.dumps({what: at - before for (what, at), (_, before) in zip(marks[1:], marks)}))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=5, help="new processes (%(default)s)")
    parser.add_argument("--runs", type=int, default=20, help="calls of each part (%(default)s)")
    args = parser.parse_args()
    print(machine("model crossviz-mini", libraries=("gradio", "open_clip_torch", "timm")), end="\n\n", flush=True)
    start_table(args.starts)
    explanation_tables(args.runs)
    size_table(args.runs)


def start_table(starts: int) -> None:
    """The steps of the app's start; Gradio's import beside what it takes without `crossviz.web.gradio_import`."""
    found = [(started("app"), started("plain")) for _ in range(starts)]
    gradio = "importing Gradio"
    rows = {what: statistics.median(own[what] for own, _ in found) for what in found[0][0]}
    print("| start of the app | median | share |\n|---|---|---|")
    print_rows(rows, sum(rows.values()))
    plain = statistics.median(other[gradio] for _, other in found)
    ratio = statistics.median(other[gradio] / own[gradio] for own, other in found)
    print(f"\n{gradio} as it is: {duration(plain)}, {ratio:.2f} times as long.\n", flush=True)


def started(how: str) -> dict[str, float]:
    """Seconds of each step in a new process."""
    env = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False"}
    command = [sys.executable, "-c", START, how]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@torch.no_grad()
def explanation_tables(runs: int) -> None:
    """What a warm explanation is made of, from the photo's file to what the page is sent; and a change of caption."""
    folder = assets_dir() / "examples"
    example = json.loads((folder / "examples.json").read_text(encoding="utf-8"))[0]
    photo, number = folder / example["photo"], count()
    explainer = Explainer("crossviz-mini", device="cpu")
    model, method = explainer._model, get_method("cross_attention")
    visual = model.module["clip"].visual
    trunk = visual.trunk
    loaded = load_photo(photo)
    prepared = explainer.prepare(loaded)
    image = explainer.encode(loaded)
    pixels = prepared.pixels.contiguous(memory_format=torch.channels_last)
    features = trunk.body(pixels)
    trace = model.trace(image, example["caption"])
    explanation = explainer.explain(image, example["caption"])
    payload = viewer_payload(explanation)

    def caption() -> str:
        return f"{example['caption']}, {next(number)}"

    tokenized = model.tokenize(example["caption"])
    photo_parts: dict[str, Callable[[], object]] = {
        "reading the photo's file, which is in use": lambda: load_photo(photo),
        "resizing it for the model": lambda: model.preprocess(loaded),
        "image tower: the detector's convolutions": lambda: trunk.body.detector(pixels),
        "image tower: EfficientNet's, and joining both": lambda: trunk.body(pixels),  # less the detector's, below
        "image tower: attention and local blocks": lambda: trunk.head(*features),
    }
    caption_parts: dict[str, Callable[[], object]] = {
        "tokens and words": lambda: model.tokenize(caption()),
        "text tower": lambda: model.encode_text(tokenized),
        "cross-attention": trace.cross_attention,
        "cross-attention and its maps": lambda: method(trace),  # less the cross-attention's, below
        "the result": lambda: explainer._explanation(trace, method, None),  # less the maps', below
        "what the page is sent: maps": lambda: viewer_payload(explanation),
        "what the page is sent: as JSON": lambda: envelope(payload=payload, job=0),
    }
    wholes: dict[str, Callable[[], object]] = {
        "photo": lambda: explainer.encode(str(photo)),
        "caption": lambda: envelope(payload=viewer_payload(explainer.explain(image, caption())), job=0),
    }
    seconds = {
        what: statistics.median(taken)
        for what, taken in in_turns({**photo_parts, **caption_parts, **wholes}, runs).items()
    }
    inner = {
        "image tower: EfficientNet's, and joining both": "image tower: the detector's convolutions",
        "the result": "cross-attention and its maps",
        "cross-attention and its maps": "cross-attention",
    }
    own = {what: seconds[what] - seconds.get(inner.get(what, ""), 0.0) for what in (*photo_parts, *caption_parts)}
    own["the maps of the words"] = own.pop("cross-attention and its maps")
    total = seconds["photo"] + seconds["caption"]
    print("| a warm explanation | median | share |\n|---|---|---|")
    print_rows({what: own[what] for what in photo_parts} | {"all of the caption's, below": seconds["caption"]}, total)
    print(f"\nTogether {duration(total)}.\n")
    print("| another caption, the photo's features kept | median | share |\n|---|---|---|")
    print_rows({what: value for what, value in own.items() if what not in photo_parts}, seconds["caption"])
    print(f"\nTogether {duration(seconds['caption'])}.")


def size_table(runs: int) -> None:
    """What an answer of the page takes on the server, by the size of the photo: from its file to what is sent."""
    source = assets_dir() / "examples" / "photographer.jpg"
    number = count()
    print("\n| answer of the page | a new photo | another caption |\n|---|---|---|")
    with TemporaryDirectory() as folder, Image.open(source) as image:
        for width, height in (image.size, PHONE_WH):
            sized = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
            paths = [Path(folder) / f"{width}-{i}.jpg" for i in range(runs)]
            for i, path in enumerate(paths):
                sized.putpixel((8 * i % width, 8 * i // width * 8), (255, 0, 255))  # another photo each time
                sized.save(path, quality=92)
            engine = Engine("crossviz-mini", "cpu")
            engine.warm()

            def answer(path: Path, engine: Engine = engine) -> None:
                viewer_payload(engine.explain(str(path), f"a photographer and his camera, {next(number)}"))

            fresh = statistics.median(timed(lambda path=path: answer(path)) for path in paths)
            again = statistics.median(timed(lambda path=paths[-1]: answer(path)) for _ in range(runs))
            print(f"| photo of {width} x {height} pixels | {duration(fresh)} | {duration(again)} |", flush=True)


def print_rows(rows: Mapping[str, float], total: float) -> None:
    """Lines of a table: what, seconds, share of the whole."""
    for what, seconds in rows.items():
        print(f"| {what} | {duration(max(seconds, 0.0))} | {max(seconds, 0.0) / total:.0%} |", flush=True)


if __name__ == "__main__":
    main()
