"""Train the image head, the text tower and the cross-attention together, on kept trunk features."""

import argparse
import copy
import math
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from crossviz.models.mini_tower import LITE2_CHANNELS
from crossviz.training.batches import ABSENT, PRESENT, SEEN, Batch, Sample, collate
from crossviz.training.config import load_config
from crossviz.training.detected import DetectedSampler
from crossviz.training.dev import flickr_dev, imagenet_dev, measure, mix_dev
from crossviz.training.empty import EMPTY, EmptySampler
from crossviz.training.features import open_features
from crossviz.training.flickr import FlickrSampler
from crossviz.training.forward import Maps, forward, plain_attention
from crossviz.training.log import CsvLog
from crossviz.training.losses import contrast, inside_loss, null_loss, parts_loss, pooled_cover, seen_loss, spread_loss
from crossviz.training.mix import MixSampler
from crossviz.training.model import Tokenizer, build_attention, build_clip
from crossviz.training.prototypes import PrototypeSampler
from crossviz.training.teacher import MiniLM
from crossviz.training.views import imagenet_views

__all__ = ["Trainer", "follow", "total_loss"]

LOSSES = ["inside", "spread", "parts", "null", "seen", "stop", "clip", "found"]
FIGURES = [
    f"{group}_{figure}"
    for group in ("caption", "alone", "coco", "ade20k", "imagenet")
    for figure in ("point", "iou", "auroc", "null_present", "null_absent")
]


def total_loss(maps: Maps, batch: Batch, scale: Tensor, weights: dict[str, float]) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum of all losses, and each by itself. Samples without a caption count `mix_null` for absence."""
    patches = maps.phrases.shape[-1] - 1
    present, absent, seen = (batch.kinds == kind for kind in (PRESENT, ABSENT, SEEN))
    cover = pooled_cover(batch.covers[present], patches)
    captioned = batch.captions >= 0
    alone = present & (batch.phrase_text >= 0)
    trust = torch.where(captioned, 1.0, weights["mix_null"])[:, None].expand_as(batch.kinds)
    parts = {
        "inside": inside_loss(maps.phrases[present], cover).mean(),
        "spread": spread_loss(maps.phrases[present], cover).mean(),
        "parts": parts_loss(maps.heads[present], cover).mean(),
        "null": (null_loss(maps.phrases[..., -1][absent]) * trust[absent]).sum() / trust[absent].sum().clamp(min=1),
        "seen": seen_loss(maps.phrases[..., -1][seen]).sum() / max(int(seen.sum()), 1),
        "stop": null_loss(maps.tokens[..., -1][batch.stops]).sum() / max(int(batch.stops.sum()), 1),
        "clip": contrast(maps.image[captioned], maps.texts[batch.captions[captioned]], scale),
        "found": contrast(maps.found[alone], maps.texts[batch.phrase_text[alone]], scale),
    }
    total = sum(weights[name] * value for name, value in parts.items())
    return total, {name: float(value.detach()) for name, value in parts.items()}


class Trainer:
    """Model, data, optimiser; `run` goes through the stages of the config and keeps checkpoints.

    What is measured and saved as the model is a running average of the weights over the last few hundred steps.
    """

    def __init__(self, data: Path, work: Path, config: dict[str, Any], device: str = "cpu") -> None:
        self.work, self.config, settings = work, config, config["grounding"]
        self.device = torch.device(device)
        torch.manual_seed(settings["seed"])
        self.rng = random.Random(settings["seed"])
        self.tokenizer = Tokenizer()
        teacher = MiniLM()
        self.flickr = FlickrSampler(data, self.tokenizer, teacher, *(settings[k] for k in ("swap", "crop", "nonsense")))
        self.mix = MixSampler(data, self.tokenizer)
        counts = {name: len(views) for name, views in self.flickr.views.items()}
        counts |= {"mix": len(self.mix.views), "imagenet": len(imagenet_views(data)), "empty": EMPTY}
        self.features = {name: open_features(work / "features" / name, n) for name, n in counts.items()}
        self.detected = DetectedSampler(data, self.tokenizer, self.flickr, self.features)
        self.prototypes = PrototypeSampler(self.flickr, self.features["flickr"].coarse, teacher)
        self.empty = EmptySampler(self.flickr, self.mix)
        dev_photos = settings["dev_photos"]
        self.dev = flickr_dev(self.flickr, dev_photos), mix_dev(self.mix), imagenet_dev(data, self.prototypes)
        self.clip, self.attention = build_clip(), build_attention(settings["null_bias"])
        self.clip.visual.trunk.body = nn.Identity()  # its features are kept; export puts it back
        for block in self.clip.visual.trunk.head.blocks:
            block.attn.fused_attn = self.device.type != "cpu"
        self.clip.text.load_state_dict(torch.load(work / "text_tower.pt", weights_only=True))
        self.clip.text.token_embedding.requires_grad_(False)
        self._standardise()
        self.clip.to(self.device)
        self.attention.to(self.device)
        self.average = copy.deepcopy(self.clip), copy.deepcopy(self.attention)
        self.optimizer = torch.optim.AdamW(self._groups(settings), betas=(0.9, 0.98))
        self.step, self.seconds = 0, 0.0

    def _standardise(self) -> None:
        rng, head = np.random.default_rng(0), self.clip.visual.trunk.head
        rows = {"flickr": rng.choice(self.flickr.rows, 400, False), "mix": rng.choice(self.mix.rows, 200, False)}
        parts = [self.features[name][np.asarray(r)] for name, r in rows.items()]
        for name, values in zip(("fine", "coarse"), zip(*parts, strict=True), strict=True):
            flat = torch.cat(values).flatten(0, 2).float()
            getattr(head, f"{name}_mean").copy_(flat.mean(0))
            getattr(head, f"{name}_scale").copy_(1 / flat.std(0).clamp(min=0.02))

    def _groups(self, settings: dict) -> list[dict]:
        groups: dict[tuple[float, float], list] = {}
        for module, factor in ((self.clip, 1.0), (self.attention, 1.0)):
            for name, p in module.named_parameters():
                if not p.requires_grad:
                    continue
                rate = settings["text_lr"] if name.startswith("text.") else factor
                plain = p.ndim > 1 and "pos" not in name and "null" not in name
                decay = settings["weight_decay"] if plain else 0.0
                groups.setdefault((rate, decay), []).append(p)
        return [{"params": p, "rate": r, "weight_decay": d, "lr": 0.0} for (r, d), p in groups.items()]

    def _plan(self) -> list[tuple[dict, float]]:
        """Stage and learning rate of every step. The rate falls as a cosine, anew from each stage that names one."""
        warmup, plan = self.config["grounding"]["warmup"], []
        for lr, stages in _parts(self.config["stage"]):
            total = sum(stage["steps"] for stage in stages)
            part = [stage for stage in stages for _ in range(stage["steps"])]
            for step, stage in enumerate(part):
                cosine = 0.02 + 0.98 * (1 + math.cos(math.pi * step / total)) / 2
                plan.append((stage, lr * min(1.0, (step + 1) / warmup) * cosine))
        return plan

    def _samplers(self) -> dict[str, Any]:
        names = ("flickr", "mix", "detected", "prototypes", "empty")
        return {name: getattr(self, name) for name in names}

    def _draw(self, stage: dict, order: dict[str, Iterator[int]]) -> tuple[tuple[Tensor, Tensor], Batch]:
        samples: list[Sample] = []
        for name, sampler in self._samplers().items():
            if stage.get(name):
                samples += sampler.draw([next(order[name]) for _ in range(stage[name])], self.rng)
        kept = []
        for name in ("fine", "coarse"):
            rows = [(getattr(self.features[s.source], name)[s.row], s.flip) for s in samples]
            if name == "coarse":
                rows = [(_paste(row, s), s.flip) for (row, _), s in zip(rows, samples, strict=True)]
            kept.append(torch.from_numpy(np.stack([row[:, ::-1] if flip else row for row, flip in rows])))
        return (kept[0], kept[1]), collate(samples, self.tokenizer)

    def run(self) -> None:
        """All steps that are left."""
        settings, plan = self.config["grounding"], self._plan()
        order = {name: _forever(sampler.rows, self.rng) for name, sampler in self._samplers().items()}
        log = CsvLog(self.work / "train.csv", ["step", "seconds", "loss", *LOSSES], resume=self.step > 0)
        figures = CsvLog(self.work / "dev.csv", ["step", *FIGURES], resume=self.step > 0)
        params = [p for group in self.optimizer.param_groups for p in group["params"]]
        began, means = time.time() - self.seconds, []
        with ThreadPoolExecutor(1) as pool:
            pending = pool.submit(self._draw, plan[min(self.step, len(plan) - 1)][0], order)
            while self.step < len(plan):
                features, batch = pending.result()
                stage, rate = plan[self.step]
                if self.step + 1 < len(plan):
                    pending = pool.submit(self._draw, plan[self.step + 1][0], order)
                self.clip.train()
                self.attention.train()
                for group in self.optimizer.param_groups:
                    group["lr"] = rate * group["rate"]
                fine, coarse = (f.to(self.device, torch.bfloat16) for f in features)
                batch = batch.to(self.device)
                with torch.autocast(self.device.type, dtype=torch.bfloat16), plain_attention(self.device):
                    maps = forward(self.clip, self.attention, (fine, coarse), batch, stage["grid"])
                scale = self.clip.logit_scale.exp().clamp(max=100)
                loss, parts = total_loss(maps, batch, scale, self.config["loss"] | stage.get("loss", {}))
                if not torch.isfinite(loss):
                    raise FloatingPointError(f"The loss is not finite at step {self.step}: {parts}")
                self.optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(params, settings["clip"])
                self.optimizer.step()
                self.step += 1
                keep = min(settings["average"], (1 + self.step) / (10 + self.step))
                for average, module in zip(self.average, (self.clip, self.attention), strict=True):
                    follow(average, module, keep)
                self.seconds = time.time() - began
                means.append([float(loss.detach()), *(parts[name] for name in LOSSES)])
                if self.step % 20 == 0:
                    log.write(self.step, self.seconds, *np.mean(means, 0))
                    means = []
                    print(log.last, flush=True)
                if self.step % settings["dev_every"] == 0 or self.step == len(plan):
                    self.save()
                    found: dict[str, float] = {}
                    for dev in self.dev:
                        found |= measure(dev, *self.average, self.features, self.tokenizer)
                    figures.write(self.step, *(found.get(name, math.nan) for name in FIGURES))
                    print(figures.last, flush=True)

    def save(self) -> None:
        """Write `checkpoint.pt` (averaged weights; for `resume`: present weights, optimiser, step)."""
        facts = {"steps": self.step, "seconds": round(self.seconds), "config": self.config}
        average, now = (
            [module.state_dict() for module in pair] for pair in (self.average, (self.clip, self.attention))
        )
        state = {"clip": average[0], "attention": average[1], "facts": facts, "now": now}
        state |= {"optimizer": self.optimizer.state_dict(), "step": self.step, "seconds": self.seconds}
        torch.save(state, self.work / "checkpoint.tmp")
        (self.work / "checkpoint.tmp").replace(self.work / "checkpoint.pt")

    def resume(self, path: Path, weights_only: bool = False) -> None:
        """Go on from a checkpoint, or start a new run from its averaged weights."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        for module, saved in zip(self.average, (state["clip"], state["attention"]), strict=True):
            module.load_state_dict(saved)
        now = (state["clip"], state["attention"]) if weights_only else state["now"]
        self.clip.load_state_dict(now[0])
        self.attention.load_state_dict(now[1])
        if not weights_only:
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds = state["step"], state["seconds"]
            self.rng.seed(self.config["grounding"]["seed"] + self.step)


@torch.no_grad()
def follow(average: nn.Module, module: nn.Module, keep: float) -> None:
    """Move the averaged weights towards the present ones: `keep` of what they were, the rest of what is now."""
    for slow, p in zip(average.parameters(), module.parameters(), strict=True):
        if p.requires_grad:
            slow.lerp_(p, 1 - keep)


def _parts(stages: list[dict]) -> list[tuple[float, list[dict]]]:
    """Stages in parts, each beginning with a stage that names its learning rate."""
    parts: list[tuple[float, list[dict]]] = []
    for stage in stages:
        if "lr" in stage:
            parts.append((stage["lr"], []))
        parts[-1][1].append(stage)
    return parts


def _paste(coarse: np.ndarray, sample: Sample) -> np.ndarray:
    """The coarse features with the sample's prototypes in them, in the range of the trunk's activation."""
    if not sample.paste:
        return coarse
    out = torch.from_numpy(coarse.astype(np.float32))
    lite2 = out[..., :LITE2_CHANNELS]
    for cells, shift in sample.paste:
        lite2[cells] = (lite2[cells] + shift).clamp(0, 6)
    return out.numpy().astype(coarse.dtype)


def _forever(rows: list[int], rng: random.Random) -> Iterator[int]:
    """All rows in random order, again and again."""
    while True:
        yield from rng.sample(rows, len(rows))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the photo sets")
    parser.add_argument("--work", type=Path, required=True, help="folder for everything made on the way")
    parser.add_argument("--config", type=Path, default=None, help="TOML settings (default: mini.toml beside this)")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--start", type=Path, default=None, help="start a new run from this checkpoint's weights")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    trainer = Trainer(args.data, args.work, load_config(args.config), args.device)
    if args.start:
        trainer.resume(args.start, weights_only=True)
    elif args.resume and (args.work / "checkpoint.pt").exists():
        trainer.resume(args.work / "checkpoint.pt")
    trainer.run()


if __name__ == "__main__":
    main()
