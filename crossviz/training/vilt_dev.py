"""vilt-mini's figures on photos of the Flickr8k dev split, while it trains and at the end."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from crossviz.evaluate.records import Sentence
from crossviz.measures import auroc, box_mask, pointing
from crossviz.training.place import place_loss
from crossviz.training.vilt_model import GRID, ViltMini, read
from crossviz.training.vilt_samples import Row, Sampler, alone, collate, hide, place, swap
from crossviz.training.vilt_words import Coded, Part, code

__all__ = ["FIGURES", "Asked", "dev_rows", "head_part", "measure", "thorough_rows"]

FIGURES = ("caption", "alone", "inside", "words", "words_other_photo", "match_phrase", "match_caption")
"""Per cent of phrases pointed at right in captions and alone; share of the map inside; per cent of hidden head nouns
guessed first, with the photo and with another; AUROC of fitting against unfitting phrases and captions."""
_MATCHED = ("fits", "there", "not there", "does not fit", "swapped", "made up")


@dataclass
class Asked:
    """A row with the photo that it is shown, and the group that its answers count in."""

    photo: int
    row: Row
    group: str


def head_part(coded: Coded, part: Part) -> Part | None:
    """The phrase's last token, where that is its head noun in one piece; else None."""
    last = part.tokens[-1]
    whole = part.text.lower().endswith(part.head) and coded.words.count(coded.words[last]) == 1
    return replace(part, tokens=(last,)) if whole else None


def dev_rows(sampler: Sampler, photos: int, seed: int = 0) -> list[Asked]:
    """Per photo: two captions as they are, one with a head noun hidden (also before another photo), four phrases that
    are there and four that are not, a caption of another photo, and one with a foreign phrase in it."""
    rng = random.Random(seed)
    held = [i for i, p in enumerate(sampler.photos) if p.split != "train"]
    out: list[Asked] = []
    for number in rng.sample(held, min(photos, len(held))):
        texts, other = sampler.texts[number], rng.choice([r for r in held if r != number])
        for coded in rng.sample(texts, min(2, len(texts))):
            out.append(Asked(number, Row(0, coded), "fits"))
        out += _hidden(sampler, number, other, rng)
        parts = {p.text: p for coded in texts for p in coded.parts if p.boxes}
        for part in rng.sample(sorted(parts.values(), key=lambda p: p.text), min(4, len(parts))):
            out.append(Asked(number, Row(0, alone(sampler.tokenizer, part, head=False)), "there"))
        foreign = [p for row in rng.sample(held, min(12, len(held))) for c in sampler.texts[row] for p in c.parts]
        foreign = [p for p in foreign if sampler.absence(p.head, p.kinds, number)]
        for part in rng.sample(foreign, min(4, len(foreign))):
            out.append(Asked(number, Row(0, alone(sampler.tokenizer, part, head=False)), "not there"))
        out.append(Asked(number, Row(0, rng.choice(sampler.texts[other])), "does not fit"))
    return out


def thorough_rows(sampler: Sampler, photos: int, seed: int = 0) -> list[Asked]:
    """`dev_rows`, and per photo a caption of it with a foreign phrase written in, and a made-up word."""
    out, rng = dev_rows(sampler, photos, seed), random.Random(seed)
    for number in dict.fromkeys(a.photo for a in out if a.group == "fits"):
        own = [(c, p) for c in sampler.texts[number] for p in c.parts if p.boxes]
        if own:
            coded, old = rng.choice(own)
            foreign = alone(sampler.tokenizer, sampler.foreign(number, rng), head=False).ids[1:-1]
            swapped = swap(coded, old, foreign)
            out += [Asked(number, Row(0, swapped), "swapped")] if swapped is not None else []
        word = code(sampler.tokenizer, [Sentence("a " + sampler.nonsense.word(rng))])[0]
        out.append(Asked(number, Row(0, word), "made up"))
    return out


def _hidden(sampler: Sampler, number: int, other: int, rng: random.Random) -> list[Asked]:
    choices = [(c, h) for c in sampler.texts[number] for p in c.parts if (h := head_part(c, p)) is not None]
    if not choices:
        return []
    coded, head = rng.choice(choices)
    masked, labels = hide(coded, 0.0, head, rng)
    return [Asked(n, Row(0, masked, labels), g) for n, g in ((number, "hidden"), (other, "hidden, other photo"))]


@torch.no_grad()
def measure(
    model: ViltMini, asked: Sequence[Asked], sampler: Sampler, features: np.ndarray, batch: int = 48
) -> dict[str, float]:
    """All of FIGURES, and more where the rows are `thorough_rows`: also the share of texts whose match is above 0.

    A map is read as the app reads it: mean over the phrase's tokens, drawn bilinearly on the photo.
    """
    found: dict[str, list[float]] = defaultdict(list)
    asked = sorted(asked, key=lambda a: len(a.row.coded.ids))
    for start in range(0, len(asked), batch):
        part = asked[start : start + batch]
        rows = collate([a.row for a in part])
        patches = torch.from_numpy(np.stack([features[a.photo] for a in part])).float()
        with torch.autocast("cpu", torch.bfloat16):
            joint = read(model, rows.ids, patches)
            best = model.mlm_score(joint.text).float().topk(5).indices
        for i, a in enumerate(part):
            hidden = rows.labels[i] >= 0
            if hidden.any():
                right = (best[i] == rows.labels[i][:, None])[hidden].float()  # hidden guess
                found[a.group].append(float(right[:, 0].mean()))
                found[f"{a.group}, of five"].append(float(right.sum(-1).mean()))
                continue
            found[a.group].append(float(joint.match[i]))
            if a.group in ("fits", "there"):
                _point(found, a, joint.attention[i], sampler)
    group = {name: np.array(values) for name, values in found.items()}
    figures = {
        "caption": 100 * group["point fits"].mean(),
        "alone": 100 * group["point there"].mean(),
        "inside": 100 * group["inside"].mean(),
        "words": 100 * group["hidden"].mean(),
        "words_other_photo": 100 * group["hidden, other photo"].mean(),
        "match_phrase": auroc(-group["not there"], -group["there"]),
        "match_caption": auroc(-group["does not fit"], -group["fits"]),
        "words_of_five": 100 * group["hidden, of five"].mean(),
        "words_of_five_other_photo": 100 * group["hidden, other photo, of five"].mean(),
    }
    if "swapped" in group:
        figures["match_swapped"] = auroc(-group["swapped"], -group["fits"])
    figures |= {f"above 0: {n}": 100 * (v > 0).mean() for n, v in group.items() if n in _MATCHED}
    return {name: float(value) for name, value in figures.items()} | {"phrases": float(len(group["inside"]))}


def _point(found: dict[str, list[float]], asked: Asked, attention: torch.Tensor, sampler: Sampler) -> None:
    photo = sampler.photos[asked.photo]
    for p in asked.row.coded.parts:
        if p.boxes:
            grid = attention[list(p.tokens)].mean(0)
            size = (photo.height, photo.width)
            heat = torch.nn.functional.interpolate(
                grid.view(1, 1, GRID, GRID), size, mode="bilinear", align_corners=False
            )
            found[f"point {asked.group}"].append(pointing(heat[0, 0].numpy(), box_mask(p.boxes, *size)))
            cover = torch.from_numpy(place(p, photo, False).ravel())
            found["inside"].append(float(torch.exp(-place_loss(grid[None], cover[None]))))
