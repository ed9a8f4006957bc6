"""Figures on the dev split while training, from kept features (the published ones come from `crossviz evaluate`)."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import interpolate

from crossviz.attention import CrossModalAttention
from crossviz.measures import auroc, box_mask, iou_at, pointing
from crossviz.models.mini_tower import FINE_GRID
from crossviz.training.batches import ABSENT, PRESENT, Ask, Sample, collate
from crossviz.training.features import Features
from crossviz.training.flickr import FlickrSampler
from crossviz.training.forward import forward
from crossviz.training.mix import MixSampler, class_numbers, class_region
from crossviz.training.model import Tokenizer
from crossviz.training.prototypes import PrototypeSampler
from crossviz.training.views import imagenet_views

__all__ = ["DevSet", "flickr_dev", "imagenet_dev", "measure", "mix_dev", "upsample"]


@dataclass
class DevSet:
    """Samples with, for each phrase, the group it counts in and the region that it should point into."""

    samples: list[Sample]
    groups: list[list[str]]
    regions: list[list[tuple | np.ndarray | None]]  # boxes, a mask, or None where absent
    sizes: list[tuple[int, int]]  # height, width


def flickr_dev(sampler: FlickrSampler, photos: int, seed: int = 0) -> DevSet:
    """Dev photos with their captions, phrases alone, and two captions of other photos (absent phrases)."""
    rng = random.Random(seed)
    rows = [i for i, v in enumerate(sampler.views["flickr"]) if v.held_out]
    dev = DevSet([], [], [], [])
    for row in rng.sample(rows, min(photos, len(rows))):
        photo = sampler.views["flickr"][row].photo
        sample, groups, regions = Sample("flickr", row, False), [], []
        asked: list[tuple[Ask, str, tuple | None]] = []
        alone: dict[str, tuple] = {}
        for sentence in sampler.sentences[row]:
            sample.texts.append(sentence.ids)
            for p in sentence.phrases:
                if p.boxes:
                    asked.append((Ask(len(sample.texts) - 1, p.tokens, PRESENT), "caption", p.boxes))
                    alone[p.text] = (PRESENT, p.boxes)
        for other in rng.sample([r for r in rows if r != row], 2):
            sentence = rng.choice(sampler.sentences[other])
            sample.texts.append(sentence.ids)
            for p in sentence.phrases:
                if p.boxes and sampler.absence_measured(p.head, p.kinds, row):
                    asked.append((Ask(len(sample.texts) - 1, p.tokens, ABSENT), "caption", None))
                    alone.setdefault(p.text, (ABSENT, None))
        for text, (kind, boxes) in alone.items():
            ids = tuple(sampler.tokenizer(text)[0])
            sample.texts.append(ids)
            asked.append((Ask(len(sample.texts) - 1, tuple(range(len(ids))), kind), "alone", boxes))
        for ask, group, boxes in asked:
            sample.asks.append(ask)
            groups.append(group)
            regions.append(boxes)
        dev.samples.append(sample)
        dev.groups.append(groups)
        dev.regions.append(regions)
        dev.sizes.append((photo.height, photo.width))
    return dev


def mix_dev(sampler: MixSampler, seed: int = 0) -> DevSet:
    """Photos held out by file: every class there by its first word, and as many that are not there."""
    rng = random.Random(seed)
    dev = DevSet([], [], [], [])
    numbers = class_numbers(sampler.data)
    for row, view in enumerate(sampler.views):
        if not view.held_out:
            continue
        photo, words = view.photo, sampler.words.words[view.source]
        group = "ade20k" if view.source == "ade20k_val" else "coco"
        present = photo.classes if group == "ade20k" else {label for label, _ in photo.boxes}
        sample, groups, regions = Sample("mix", row, False), [], []
        names = [n for n in words if n in present]
        close = {a for n in names for w in words[n] for a in (w, *sampler.words.alike.get(w, ()))}
        absent = [n for n in words if n not in present and words[n][0] not in close]
        for name in names + rng.sample(absent, min(len(names) + 2, len(absent))):
            region = None
            if name in present:
                mask, boxes = class_region(photo, view.source, name, numbers[view.source].get(name, -1))
                region = mask if mask is not None and mask.any() else boxes
                if isinstance(region, tuple) and not region:
                    continue
            ids = tuple(sampler.tokenizer(words[name][0])[0])
            sample.texts.append(ids)
            kind = ABSENT if region is None else PRESENT
            sample.asks.append(Ask(len(sample.texts) - 1, tuple(range(len(ids))), kind))
            groups.append(group)
            regions.append(region)
        if sample.asks:
            dev.samples.append(sample)
            dev.groups.append(groups)
            dev.regions.append(regions)
            dev.sizes.append((photo.height, photo.width))
    return dev


def imagenet_dev(data: Path, sampler: PrototypeSampler, seed: int = 0) -> DevSet:
    """The ImageNet photos: the label's word against three words of unlike classes (absence only, no places)."""
    rng = random.Random(seed)
    dev = DevSet([], [], [], [])
    for row, view in enumerate(imagenet_views(data)):
        number = view.photo.label
        far = [c for c in range(1000) if not sampler.alike[number, c]]
        sample = Sample("imagenet", row, False)
        for i, c in enumerate([number, *rng.sample(far, 3)]):
            ids = tuple(sampler.tokenizer(sampler.words[c][0])[0])
            sample.texts.append(ids)
            sample.asks.append(Ask(i, tuple(range(len(ids))), ABSENT if i else PRESENT))
        dev.samples.append(sample)
        dev.groups.append(["imagenet"] * 4)
        dev.regions.append([None] * 4)
        dev.sizes.append((view.photo.height, view.photo.width))
    return dev


def upsample(grid: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Maps `n gh gw` on the photo's pixels, bilinear with half-pixel centres."""
    return interpolate(grid[:, None].float(), (height, width), mode="bilinear", align_corners=False)[:, 0]


@torch.no_grad()
def measure(
    dev: DevSet,
    clip: nn.Module,
    attention: CrossModalAttention,
    features: dict[str, Features],
    tokenizer: Tokenizer,
    batch: int = 16,
) -> dict[str, float]:
    """Per group: pointing and IoU (per cent), AUROC of the null mass, mean null mass of present and absent."""
    clip.eval()
    attention.eval()
    rows: dict[str, dict[str, list]] = {}
    for i in range(0, len(dev.samples), batch):
        part = dev.samples[i : i + batch]
        fine, coarse = features[part[0].source][np.array([s.row for s in part])]
        device = clip.logit_scale.device
        inputs = fine.to(device).float(), coarse.to(device).float()
        with torch.autocast(device.type, dtype=torch.bfloat16):
            maps = forward(clip, attention, inputs, collate(part, tokenizer).to(device), FINE_GRID).phrases.cpu()
        for j, sample in enumerate(part):
            height, width = dev.sizes[i + j]
            grids = maps[j, : len(sample.asks), :-1].unflatten(1, (FINE_GRID, FINE_GRID))
            pixels = upsample(grids, height, width).numpy()
            for k, ask in enumerate(sample.asks):
                out = rows.setdefault(dev.groups[i + j][k], {"hit": [], "iou": [], "present": [], "absent": []})
                out["absent" if ask.kind == ABSENT else "present"].append(float(maps[j, k, -1]))
                region = dev.regions[i + j][k]
                if region is None:
                    continue
                if isinstance(region, tuple):
                    region = box_mask(region, height, width)
                out["hit"].append(pointing(pixels[k], region))
                out["iou"].append(iou_at(pixels[k], region))
    figures = {}
    for group, out in rows.items():
        if out["hit"]:
            figures[f"{group}_point"] = 100 * float(np.mean(out["hit"]))
            figures[f"{group}_iou"] = 100 * float(np.mean(out["iou"]))
        figures[f"{group}_auroc"] = auroc(np.array(out["absent"]), np.array(out["present"]))
        figures[f"{group}_null_present"] = float(np.mean(out["present"]))
        figures[f"{group}_null_absent"] = float(np.mean(out["absent"]))
    return figures
