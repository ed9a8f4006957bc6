"""Measure the embedded model through the public API, on photos with phrase boxes or class masks.

`python -m crossviz.training.evaluate --data DIR` prints one table and, with --out, writes every figure as JSON.
Nothing here knows the model's inside: every figure comes from `Explanation.heatmap` and `Explanation.null_mass`.
"""

import argparse
import json
import random
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import crossviz
from crossviz.training.data import Photo, load_image, read_set
from crossviz.training.flickr import code_sentences
from crossviz.training.metrics import auroc, bootstrap, box_mask, iou_at, mass_inside, points_inside
from crossviz.training.mix import MixWords, class_numbers, class_region
from crossviz.training.model import Tokenizer
from crossviz.training.phrases import Absence
from crossviz.training.views import is_held_out

__all__ = ["Tally", "evaluate_classes", "evaluate_phrases"]


@dataclass
class Tally:
    """What was seen of one group of phrases; `photo` says where each figure comes from."""

    rows: list[dict] = field(default_factory=list)
    absent: list[float] = field(default_factory=list)

    def add(self, photo: int, heatmap: np.ndarray, null: float, region: np.ndarray, boxes: tuple, kinds: tuple) -> None:
        """One present phrase. `boxes` decide the pointing game where there are any, else the region."""
        height, width = heatmap.shape
        spot = int(np.argmax(heatmap))
        hit = points_inside(heatmap, boxes) if boxes else bool(region.flat[spot])
        centre = box_mask(boxes, height, width) if boxes else region
        in_centre = bool(centre[height // 2, width // 2])
        iou, mass = iou_at(heatmap, region), mass_inside(heatmap, region)
        row = {"photo": photo, "hit": hit, "centre": in_centre, "null": null, "iou": iou, "mass": mass, "kinds": kinds}
        self.rows.append(row)

    def figures(self) -> dict:
        """Means with 95 % intervals (photos drawn with replacement), per cent but for the AUROC and null masses."""
        photo = np.array([r["photo"] for r in self.rows])
        out: dict = {"phrases": len(self.rows), "absent_phrases": len(self.absent)}
        for name in ("hit", "centre", "iou", "mass"):
            values = np.array([r[name] for r in self.rows], float)
            low, high = bootstrap(values, photo)
            out[name] = [round(100 * float(v), 2) for v in (values.mean(), low, high)]
        null = np.array([r["null"] for r in self.rows])
        out["absent_auroc"] = round(auroc(np.array(self.absent), null), 4)
        out["null_present"], out["null_absent"] = round(float(null.mean()), 3), round(float(np.mean(self.absent)), 3)
        by_kind = defaultdict(list)
        for r in self.rows:
            for kind in r["kinds"]:
                by_kind[kind].append(r["hit"])
        out["hit_by_kind"] = {k: round(100 * float(np.mean(v)), 1) for k, v in sorted(by_kind.items())}
        return out


def evaluate_phrases(
    explainer: "crossviz.Explainer", data: Path, count: int, seed: int = 0, split: str = "dev"
) -> dict[str, dict]:
    """Phrases of Flickr8k captions, in their caption and alone; absent ones from captions of other photos."""
    rng, tokenizer = random.Random(seed), Tokenizer()
    photos = read_set(data, "flickr8k_entities")
    sentences = [code_sentences(p.sentences, tokenizer) for p in photos]
    absence = Absence(photos, sentences, None)
    rows = [i for i, p in enumerate(photos) if p.split == split]
    caption, alone = Tally(), Tally()
    for n, row in enumerate(rng.sample(rows, min(count, len(rows)))):
        photo, single = photos[row], {}
        encoded = explainer.encode(load_image(photo.path))
        for sentence in photo.sentences:
            spans = [p for p in sentence.phrases if p.boxes]
            if not spans:
                continue
            found = explainer.explain(encoded, sentence.text)
            for p in spans:
                region = box_mask(p.boxes, photo.height, photo.width)
                null = found.null_mass(span=(p.start, p.end))
                caption.add(row, found.heatmap(span=(p.start, p.end)), null, region, p.boxes, p.kinds)
                single[sentence.text[p.start : p.end]] = (p, region)
        missing: set[str] = set()
        for other in rng.sample([r for r in rows if r != row], 2):
            pick = rng.randrange(len(sentences[other]))
            text, coded = photos[other].sentences[pick], sentences[other][pick]
            by_text = {(p.text): p for p in coded.phrases}
            wanted = []
            for p in text.phrases:
                c = by_text.get(text.text[p.start : p.end])
                if p.boxes and c is not None and absence(c.head, p.kinds, row):
                    wanted.append(p)
                    missing.add(c.text)
            if wanted:
                found = explainer.explain(encoded, text.text)
                caption.absent += [found.null_mass(span=(p.start, p.end)) for p in wanted]
        for text, (p, region) in single.items():
            found, span = explainer.explain(encoded, text), (0, len(text))
            alone.add(row, found.heatmap(span=span), found.null_mass(span=span), region, p.boxes, p.kinds)
        for text in missing - set(single):
            alone.absent.append(explainer.explain(encoded, text).null_mass(span=(0, len(text))))
        if (n + 1) % 100 == 0:
            print(f"{n + 1} photos", flush=True)
    return {"phrases in their caption": caption.figures(), "phrases alone": alone.figures()}


def evaluate_classes(explainer: "crossviz.Explainer", data: Path, count: int, seed: int = 0) -> dict[str, dict]:
    """Class names by themselves, on the COCO, MLPerf and ADE20K photos that training held out."""
    rng, words, numbers = random.Random(seed), MixWords.read(), class_numbers(data)
    out = {}
    for title, sources in (("COCO classes", ("coco_mini", "mlperf_coco_tiny")), ("ADE20K classes", ("ade20k_val",))):
        photos = [(s, p) for s in sources for p in read_set(data, s) if is_held_out(p.path)]
        tally = Tally()
        for row, (source, photo) in enumerate(photos[:count]):
            encoded = explainer.encode(load_image(photo.path))
            table = words.words[source]
            names = [n for n in table if n in _present(photo, source)]
            close = {a for n in names for w in table[n] for a in (w, *words.alike.get(w, ()))}
            absent = [n for n in table if n not in names and table[n][0] not in close]
            for name in names:
                mask, boxes = class_region(photo, source, name, numbers[source].get(name, -1))
                if mask is None or not mask.any():
                    if not boxes:
                        continue
                    mask = box_mask(boxes, photo.height, photo.width)
                text = table[name][0]
                found = explainer.explain(encoded, text)
                heatmap = found.heatmap(span=(0, len(text)))
                tally.add(row, heatmap, found.null_mass(span=(0, len(text))), mask, (), (text,))
            for name in rng.sample(absent, min(len(names) + 2, len(absent))):
                text = table[name][0]
                tally.absent.append(explainer.explain(encoded, text).null_mass(span=(0, len(text))))
        out[title] = tally.figures()
    return out


def _present(photo: Photo, source: str) -> set[str]:
    return set(photo.classes) if source == "ade20k_val" else {label for label, _ in photo.boxes}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the photo sets")
    parser.add_argument("--model", default="crossviz-mini", help="any model crossviz knows")
    parser.add_argument("--photos", type=int, default=1000, help="at most this many of each set")
    parser.add_argument("--split", default="dev", help="split of flickr8k_entities")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None, help="write the figures as JSON")
    args = parser.parse_args()
    began, explainer = time.time(), crossviz.Explainer(args.model)
    figures = evaluate_phrases(explainer, args.data, args.photos, args.seed, args.split)
    figures |= evaluate_classes(explainer, args.data, args.photos, args.seed)
    for title, values in figures.items():
        print(f"{title}:")
        for name, value in values.items():
            if title.endswith("classes") and name == "hit_by_kind":
                continue
            print(f"  {name}: {value}")
    print(f"{time.time() - began:.0f} s")
    if args.out:
        args.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
