"""Training on a person's own photos: what is trained, by which losses, and what is held where it was."""

import copy
import math
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from crossviz.errors import DatasetError
from crossviz.models import Model
from crossviz.photo import Photo as Pixels
from crossviz.photo import load_photo
from crossviz.training.batches import ABSENT, PRESENT, SEEN, Batch, collate
from crossviz.training.data import Photo
from crossviz.training.forward import Maps, forward, plain_attention
from crossviz.training.log import CsvLog
from crossviz.training.losses import inside_loss, null_loss, parts_loss, pooled_cover, seen_loss, spread_loss
from crossviz.training.own_samples import KEEP, OwnSampler, OwnView

__all__ = ["LOSSES", "Settings", "own_loss", "train", "trunk_features"]

LOSSES = ("inside", "spread", "parts", "null", "seen", "stop", "keep", "hold")
Features = tuple[Tensor, ...]


@dataclass(frozen=True)
class Settings:
    """How long, how fast, and what counts how much."""

    steps: int = 200
    batch: int = 8
    """Photos a step; no more than there are."""
    lr: float = 3e-4
    """Of image head and cross-attention; rises over the first tenth of the steps, then falls as a cosine."""
    text_lr: float = 0.3
    """Of the text tower, as a share of `lr`; its token embedding is not trained."""
    crops: int = 4
    """Random parts of every photo, beside the photo itself and its mirror image."""
    held_out: float = 0.2
    """Share of the photos that is not trained on, where no line has a `split`."""
    seed: int = 0
    inside: float = 1.0
    spread: float = 0.7
    parts: float = 0.2
    """Of every head's own part of the thing; see `losses.head_targets`."""
    null: float = 0.6
    seen: float = 0.3
    stop: float = 0.1
    keep: float = 3.0
    """Of every head's maps and null masses of generic phrases and made-up words, against the starting model's."""
    hold: float = 1.0
    """Of the embeddings of photos and generic phrases, against the starting model's."""


@torch.no_grad()
def trunk_features(model: Model, photos: list[Photo], views: list[OwnView]) -> Features:
    """What the frozen trunk says of every view: one fp16 tensor for each of its outputs, `view ...`, on the CPU."""
    body = model.module["clip"].visual.trunk.body
    kept: list[list[Tensor]] = []
    loaded: tuple[int, Any] = (-1, None)
    for view in tqdm(views, desc="trunk", disable=None, leave=False):
        if loaded[0] != view.photo:
            loaded = view.photo, load_photo(photos[view.photo].path)
        x0, y0, x1, y1 = map(int, view.crop)
        pixels = loaded[1].pixels[y0:y1, x0:x1]
        part = Pixels(pixels[:, ::-1] if view.flip else pixels, "photo")
        for i, feature in enumerate(body(model.preprocess(part)[0])):
            if len(kept) == i:
                kept.append([])
            kept[i].append(feature[0].half().cpu())
    return tuple(torch.stack(rows) for rows in kept)


def own_loss(maps: Maps, start: Maps, batch: Batch, settings: Settings) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum of all losses, and each by itself; `start` is what the starting model says of the batch."""
    present, absent, seen, keep = (batch.kinds == kind for kind in (PRESENT, ABSENT, SEEN, KEEP))
    cover = pooled_cover(batch.covers[present], maps.phrases.shape[-1] - 1)
    old, new = (m.heads[keep].clamp(min=1e-6) for m in (start, maps))  # phrase head patch+1
    texts = batch.phrase_text[keep]
    cosines = [(maps.image * start.image).sum(-1), (maps.texts[texts] * start.texts[texts]).sum(-1)]
    parts = {
        "inside": _mean(inside_loss(maps.phrases[present], cover)),
        "spread": _mean(spread_loss(maps.phrases[present], cover)),
        "parts": _mean(parts_loss(maps.heads[present], cover)),
        "null": _mean(null_loss(maps.phrases[..., -1][absent])),
        "seen": _mean(seen_loss(maps.phrases[..., -1][seen])),
        "stop": _mean(null_loss(maps.tokens[..., -1][batch.stops])),
        "keep": _mean((old * (old.log() - new.log())).sum(-1)),
        "hold": sum(_mean(1 - cosine) for cosine in cosines),
    }
    total = sum(getattr(settings, name) * parts[name] for name in LOSSES)
    return total, {name: float(parts[name].detach()) for name in LOSSES}


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(values.numel(), 1)


def train(
    model: Model, sampler: OwnSampler, features: Features, settings: Settings, rng: random.Random, log: Path
) -> nn.Module:
    """The trained copy of the model's modules (`clip`, `attention`), in eval mode; a row of losses a step in `log`.

    Raises:
        DatasetError: the loss is no number any more.
    """
    start, student = model.module, copy.deepcopy(model.module).train()
    groups = _trainable(student, settings)
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)
    rows, count = CsvLog(log, ["step", "seconds", "loss", *LOSSES]), len(sampler.words.sentences)
    order: list[int] = []
    began = time.time()
    bar = tqdm(range(settings.steps), desc="training", disable=None, leave=False)
    for step in bar:
        if len(order) < settings.batch:
            order += rng.sample(range(count), count)
        chosen = list(dict.fromkeys(order[: settings.batch]))
        chosen = chosen if len(chosen) > 1 else rng.sample(range(count), 2)
        del order[: settings.batch]
        samples = sampler.draw(chosen, rng)
        batch = collate(samples, sampler.tokens).to(model.device)
        kept = tuple(f[[s.row for s in samples]].float().to(model.device) for f in features)
        with plain_attention(model.device):
            with torch.no_grad():
                before = forward(start["clip"], start["attention"], kept, batch, model.grid.height)
            maps = forward(student["clip"], student["attention"], kept, batch, model.grid.height)
        loss, parts = own_loss(maps, before, batch, settings)
        if not torch.isfinite(loss):
            raise DatasetError(f"The training broke down at step {step + 1}: give a smaller --lr than {settings.lr}.")
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * settings.lr * _pace(step, settings.steps)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], 1.0)
        optimizer.step()
        rows.write(step + 1, time.time() - began, float(loss.detach()), *(parts[name] for name in LOSSES))
        bar.set_postfix_str(f"loss {float(loss.detach()):.2f}")
        if bar.disable and (step + 1) % 50 == 0:
            tqdm.write(rows.last, file=sys.stderr)
    return student.eval()


def _trainable(student: nn.Module, settings: Settings) -> list[dict[str, Any]]:
    """Everything but the trunk, the token embedding and the image embedding's projection."""
    student.requires_grad_(False)
    clip = student["clip"]
    clip.visual.trunk.head.requires_grad_(True)
    clip.text.requires_grad_(True)
    clip.text.token_embedding.requires_grad_(False)
    student["attention"].requires_grad_(True)
    image = [*clip.visual.trunk.head.parameters(), *student["attention"].parameters()]
    text = [p for p in clip.text.parameters() if p.requires_grad]
    return [{"params": image, "rate": 1.0}, {"params": text, "rate": settings.text_lr}]


def _pace(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / max(1, steps // 10)) * (0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2)
