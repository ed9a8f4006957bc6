"""What it takes to get every head's attention of a photo and a caption, beside how it is done elsewhere: three tables.

    python -m benchmarks.extraction [--runs N]

Maps: transformers in eager mode with `output_attentions`, each map drawn out to the photo and stretched to 0..1, as
notebooks do; beside crossviz' `encode`, `explain` and `heatmap` of every word and head. The same sizes of model (random
weights), photo and map on both sides, preprocessing included; maps are made one by one and dropped.
Towers: open_clip's bare forward of image and text; beside a whole explanation by the same towers, and another caption
on the photo that is encoded already.
Pages: all attention as nested lists in JSON in a page, as BertViz writes it; beside crossviz' viewer payload and page.
Peers are in `benchmarks.extraction_peers`. In turns: each time is the median of the rounds, each ratio the median of
the rounds' ratios. Needs transformers (`pip install crossviz[transformers]`).
"""

import argparse
import logging
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from torch import Tensor

import crossviz
from benchmarks.attention_like import example_photo
from benchmarks.extraction_peers import TransformersClip, TransformersVilt, bare_forward, bertviz_page, min_max_maps
from benchmarks.measure import duration, in_turns, machine, times
from crossviz.explanation import Explanation
from crossviz.models.transformers_load import quiet
from crossviz.paths import assets_dir
from crossviz.render.html import script_json
from crossviz.render.payload import viewer_payload

CAPTION = "a man in a coat looks through his camera"
OTHER = "a tower stands behind some old trees"
LIBRARIES = ("transformers", "open_clip_torch", "timm", "numpy", "pillow")
VIT = "ViT-B-16"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="rounds (%(default)s)")
    runs = parser.parse_args().runs
    logging.disable(logging.WARNING)  # open_clip says that weights are random, as they are meant to be
    print(machine("on the CPU", device="cpu", libraries=LIBRARIES), flush=True)
    clip = crossviz.Explainer(f"open_clip:{VIT}", device="cpu")
    with tempfile.TemporaryDirectory() as folder, quiet("transformers"):
        vilt = TransformersVilt(Path(folder))
        joint = crossviz.Explainer(f"vilt:{folder}", device="cpu")
    photo = example_photo().image().convert("RGB")
    map_table(clip, vilt, joint, photo, runs)
    tower_table(clip, photo, runs)
    page_table(vilt, joint, photo.resize((384, 384)), runs)


def map_table(
    clip: crossviz.Explainer, vilt: TransformersVilt, joint: crossviz.Explainer, photo: Image.Image, runs: int
) -> None:
    """From a photo and a caption to every head's maps."""
    print("\n| maps | how many | transformers, eager, min-max | crossviz | crossviz / transformers |")
    print("|---|---|---|---|---|", flush=True)
    tower, small, large = TransformersClip(), photo.resize((224, 224)), photo.resize((384, 384))

    def row(what: str, peer: Callable[[], int], own: Callable[[], int]) -> None:
        if peer() != own():
            raise RuntimeError(f"Both sides must make as many maps of {what}: {peer()} and {own()}.")
        seconds = in_turns({"peer": peer, "own": own}, runs)
        middle = [duration(statistics.median(seconds[name])) for name in ("peer", "own")]
        print(
            f"| {what} | {own()} | {' | '.join(middle)} | {times(seconds['own'], seconds['peer']):.2f}x |", flush=True
        )

    row(
        "ViT-B/16, class token to patches, 224 x 224",
        lambda: min_max_maps(tower(small), (224, 224)),
        lambda: every_map(clip.explain(clip.encode(small), CAPTION, method="raw_attention"), words=1),
    )
    row(
        "ViLT-B/32, every word to patches, 384 x 384",
        lambda: min_max_maps(vilt(large, CAPTION), (384, 384)),
        lambda: every_map(joint.explain(joint.encode(large), CAPTION)),
    )


def every_map(explanation: Explanation, words: int | None = None) -> int:
    """Each word's map through each head in the photo's pixels, one by one; how many they are.

    Args:
        words: only the first so many.
    """
    layers, heads = explanation.map.per_head.shape[:2]
    count = len(explanation.words) if words is None else words
    for word in range(count):
        for layer in range(layers):
            for head in range(heads):
                explanation.heatmap(word=word, layer=layer, head=head)
    return count * layers * heads


def tower_table(clip: crossviz.Explainer, photo: Image.Image, runs: int) -> None:
    """A whole explanation beside the towers' bare forward."""
    print("\n| towers | bare forward, both | whole explanation | bare forward, text | explanation of another caption |")
    print("|---|---|---|---|---|")
    mini = crossviz.Explainer(device="cpu")
    cases = [
        ("crossviz-mini, cross-attention", f"local-dir:{assets_dir() / 'models' / 'crossviz-mini'}", mini, None),
        ("ViT-B/16, cross-attention", VIT, clip, "cross_attention"),
        ("ViT-B/16, head decomposition", VIT, clip, "head_decomposition"),
    ]
    for what, model, explainer, method in cases:
        both, text = bare_forward(model)
        image = explainer.encode(photo)
        seconds = in_turns(
            {
                "bare": lambda both=both: both(photo, CAPTION),
                "whole": lambda e=explainer, m=method: e.explain(e.encode(photo), CAPTION, method=m),
                "text": lambda text=text: text(OTHER),
                "next": lambda e=explainer, m=method, image=image: e.explain(image, OTHER, method=m),
            },
            runs,
        )
        middle = {name: duration(statistics.median(found)) for name, found in seconds.items()}
        whole, more = times(seconds["whole"], seconds["bare"]), times(seconds["next"], seconds["text"])
        print(
            f"| {what} | {middle['bare']} | {middle['whole']} ({whole:.2f}x) | {middle['text']} | "
            f"{middle['next']} ({more:.2f}x) |",
            flush=True,
        )


def page_table(vilt: TransformersVilt, joint: crossviz.Explainer, photo: Image.Image, runs: int) -> None:
    """The same attention as a page."""
    attention, count = vilt.attention(photo, CAPTION)
    rows = attention[:, :, :count, count + 1 :]
    explanation = joint.explain(joint.encode(photo), CAPTION)
    calls = {
        f"BertViz-like: {shape(attention)}, as Python writes numbers": lambda: bertviz_page(attention),
        f"BertViz-like: {shape(rows)}, text to patches, 4 digits": lambda: bertviz_page(rows, digits=4),
        "crossviz: the viewer's payload, with the photo": lambda: script_json(viewer_payload(explanation)).encode(),
        "crossviz: the page, with viewer, photo and all exact numbers": lambda: explanation.to_bytes(".html"),
    }
    print("\n| page of ViLT-B/32 | time | size |\n|---|---|---|")
    for what, seconds in in_turns(calls, runs).items():
        print(f"| {what} | {duration(statistics.median(seconds))} | {len(calls[what]()) / 1e6:.2f} MB |", flush=True)


def shape(attention: Tensor) -> str:
    """ "12 x 12 x 20 x 144"."""
    return " x ".join(map(str, attention.shape))


if __name__ == "__main__":
    main()
