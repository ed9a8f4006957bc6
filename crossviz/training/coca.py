"""Train coca-mini on kept patches: `python -m crossviz.training.coca --data DIR --patches DIR --work DIR [--resume]`.

The patches come from `crossviz.training.patch_features`; the image tower is never run here, and never changes.
"""

import argparse
import copy
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from crossviz.models import load_model
from crossviz.training.coca_batches import Batch, Sampler
from crossviz.training.coca_dev import FIGURES, dev_rows, greedy, measure
from crossviz.training.coca_forward import image_side
from crossviz.training.coca_losses import LOSSES, losses
from crossviz.training.coca_model import model_cfg, start, trainable
from crossviz.training.coca_words import Words, texts_for_words, train_merges, write_merges
from crossviz.training.config import load_config
from crossviz.training.log import CsvLog
from crossviz.training.patch_features import open_patches
from crossviz.training.train import follow

__all__ = ["Trainer"]


class Trainer:
    """Model, data, optimiser. What is measured and saved as the model is a running average of the weights."""

    def __init__(self, data: Path, patches: Path, work: Path, config: dict[str, Any], resume: bool = False) -> None:
        self.work, self.config = work, config
        torch.manual_seed(config["seed"])
        self.rng = random.Random(config["seed"])
        vocabulary = work / "bpe_vocab.txt.gz"
        if not vocabulary.exists():
            write_merges(train_merges(texts_for_words(data), config["vocabulary"]), vocabulary)
        self.words = Words(vocabulary)
        kept = open_patches(data, patches)
        self.photos, self.maps = kept.photos, kept.maps
        self.sampler = Sampler(self.photos, self.maps, self.words, config["alone"], config["channels"])
        self.dev = dev_rows(self.photos, config["dev_photos"])
        self.module = (trainable(model_cfg(self.words.size)) if resume else self._start()).train()
        self.average = copy.deepcopy(self.module)
        self.optimizer = torch.optim.AdamW(self._groups(), lr=config["lr"], betas=(0.9, 0.98), fused=True)
        self.step, self.seconds = 0, 0.0
        if resume:
            self._resume()

    def _start(self) -> nn.Module:
        rng = random.Random(0)
        told = [p.text for row in self.sampler.rows for s in self.sampler.coded[row] for p in s.phrases if p.boxes]
        some = rng.sample(self.sampler.rows, min(self.config["start_photos"], len(self.sampler.rows)))
        patches = torch.from_numpy(np.concatenate([self.maps[row].reshape(-1, 256) for row in some]))
        phrases = rng.sample(told, min(self.config["start_phrases"], len(told)))
        return start(load_model("crossviz-mini", "cpu"), self.words, phrases, patches)

    def _groups(self) -> list[dict]:
        plain: dict[float, list] = {0.0: [], self.config["weight_decay"]: []}
        for name, p in self.module.named_parameters():
            if p.requires_grad:
                matrix = p.ndim > 1 and not any(part in name for part in ("embedding", "query", "cls"))
                plain[self.config["weight_decay"] if matrix else 0.0].append(p)
        return [{"params": params, "weight_decay": decay} for decay, params in plain.items()]

    def _rate(self) -> float:
        cosine = 0.02 + 0.98 * (1 + math.cos(math.pi * min(1.0, self._done()))) / 2
        return self.config["lr"] * min(1.0, (self.step + 1) / self.config["warmup"]) * cosine

    def _done(self) -> float:
        """The part of the run that is over, by steps or by minutes, whichever ends first; 1 at the end."""
        return max(self.step / self.config["steps"], self.seconds / 60 / self.config["minutes"])

    def _batches(self) -> Iterator[Batch]:
        size = self.config["batch"]
        while True:
            order = self.rng.sample(self.sampler.rows, len(self.sampler.rows))
            for i in range(0, len(order) - size + 1, size):
                yield self.sampler.draw(order[i : i + size], self.rng)

    def run(self) -> None:
        """All steps that are left."""
        config, batches = self.config, self._batches()
        log = CsvLog(self.work / "train.csv", ["step", "seconds", "loss", *LOSSES], resume=self.step > 0)
        figures = CsvLog(self.work / "dev.csv", ["step", *FIGURES], resume=self.step > 0)
        params = [p for group in self.optimizer.param_groups for p in group["params"]]
        began, means = time.time() - self.seconds, []
        while self._done() < 1:
            for group in self.optimizer.param_groups:
                group["lr"] = self._rate()
            batch = next(batches)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                parts = losses(self.module, batch._replace(patches=batch.patches.bfloat16()))
            loss = sum(config["loss"][name] * value for name, value in parts.items())
            if not torch.isfinite(loss):
                raise FloatingPointError(f"The loss is not finite at step {self.step}.")
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(params, config["clip"])
            self.optimizer.step()
            self.step += 1
            follow(self.average, self.module, min(config["average"], (1 + self.step) / (10 + self.step)))
            self.seconds = time.time() - began
            means.append([float(x.detach()) for x in (loss, *(parts[name] for name in LOSSES))])
            if self.step % 20 == 0:
                log.write(self.step, self.seconds, *np.mean(means, 0))
                means = []
                print(log.last, flush=True)
            last = self._done() >= 1
            if self.step % config["save_every"] == 0 or last:
                self.save()
            if self.step % config["dev_every"] == 0 or last:
                self.show(figures)

    def show(self, figures: CsvLog) -> None:
        """Figures on the dev photos, and what is written for three of them."""
        module = self.average.eval()
        found = measure(module, self.photos, self.maps, self.dev, self.words)
        figures.write(self.step, *(found[name] for name in FIGURES))
        print(figures.last, flush=True)
        for row in self.dev[:3]:
            patches = torch.from_numpy(self.maps[row].astype(np.float32)).flatten(0, 1)[None]
            with torch.no_grad():
                print("  ", greedy(module, image_side(module.visual.trunk, patches), self.words), flush=True)

    def save(self) -> None:
        """Write `checkpoint.pt`: averaged weights; for `resume` present weights, optimiser, step."""
        facts = {"steps": self.step, "seconds": round(self.seconds), "config": self.config}
        state = {"average": self.average.state_dict(), "now": self.module.state_dict(), "facts": facts}
        state |= {"optimizer": self.optimizer.state_dict(), "step": self.step, "seconds": self.seconds}
        torch.save(state, self.work / "checkpoint.tmp")
        (self.work / "checkpoint.tmp").replace(self.work / "checkpoint.pt")

    def _resume(self) -> None:
        """Go on from the last checkpoint."""
        state = torch.load(self.work / "checkpoint.pt", weights_only=True)
        self.average.load_state_dict(state["average"])
        self.module.load_state_dict(state["now"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.rng.seed(self.config["seed"] + self.step)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the photo sets")
    parser.add_argument("--patches", type=Path, required=True, help="work folder of crossviz.training.patch_features")
    parser.add_argument("--work", type=Path, required=True, help="folder for everything made on the way")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("coca_mini.toml"), help="TOML settings")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    Trainer(args.data, args.patches, args.work, load_config(args.config), args.resume).run()


if __name__ == "__main__":
    main()
