"""Train vilt-mini on crossviz-mini's patches: `python -m crossviz.training.vilt --data DIR --work DIR`.

WORK holds `patches.npy` (crossviz.training.patch_features); everything else is written to WORK/vilt.
"""

import argparse
import copy
import math
import random
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from crossviz.evaluate.absent import Absence
from crossviz.models import load_model
from crossviz.training.data import Photo
from crossviz.training.log import CsvLog
from crossviz.training.patch_features import open_patches
from crossviz.training.teacher import MiniLM
from crossviz.training.train import follow
from crossviz.training.vilt_dev import FIGURES, dev_rows, measure
from crossviz.training.vilt_losses import LOSSES, losses
from crossviz.training.vilt_model import ViltMini, config, piece_states, read, warm_start
from crossviz.training.vilt_samples import Batch, Sampler, collate
from crossviz.training.vilt_words import corpus, learn_vocabulary

__all__ = ["Trainer", "rate", "settings"]


def settings() -> dict[str, Any]:
    """`vilt_mini.toml`."""
    with open(Path(__file__).with_name("vilt_mini.toml"), "rb") as file:
        return tomllib.load(file)


def rate(step: int, steps: int, warmup: int) -> float:
    """The learning rate's share at a step: a linear start, then a cosine down to a fiftieth."""
    cosine = 0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2
    return min(1.0, (step + 1) / warmup) * cosine


def absence(photos: Sequence[Photo], alike: bool = True) -> Absence:
    """Which phrases mean nothing in which photo; `alike`: nor may anything there resemble them to MiniLM."""
    if not alike:
        return Absence([p.sentences for p in photos])
    teacher = MiniLM()

    def resemble(heads: list[str]) -> np.ndarray:
        vectors = teacher.embed(heads)
        return (vectors @ vectors.T) > 0.5

    return Absence([p.sentences for p in photos], resemble)


class Trainer:
    """Model, its running average (which is measured and exported), data and optimiser."""

    def __init__(self, data: Path, work: Path, plan: dict[str, Any]) -> None:
        self.plan, self.work = plan, work / "vilt"
        self.work.mkdir(exist_ok=True)
        torch.manual_seed(plan["seed"])
        self.rng = random.Random(plan["seed"])
        self.features = open_patches(data, work)
        photos = self.features.photos
        self.tokenizer = self._vocabulary(data)
        self.sampler = Sampler(photos, self.tokenizer, absence(photos), plan["batch"])
        measured = copy.copy(self.sampler)
        measured.absence = absence(photos, alike=False)
        self.dev = dev_rows(measured, plan["dev_photos"])
        self.model = ViltMini(config(self.tokenizer.get_vocab_size()))
        self._warm_start()
        self.average = copy.deepcopy(self.model).eval()
        self.optimizer = torch.optim.AdamW(self._groups(), betas=(0.9, 0.98))
        self.step, self.seconds = 0, 0.0

    def _vocabulary(self, data: Path) -> Tokenizer:
        path, wanted = self.work / "tokenizer.json", self.plan["vocabulary"]
        if not path.exists():
            learn_vocabulary(corpus(data, wanted["class_names"]), wanted["size"]).save(str(path))
        return Tokenizer.from_file(str(path))

    def _warm_start(self) -> None:
        mini = load_model("crossviz-mini", "cpu").module
        states = piece_states(self.tokenizer, mini["clip"].text)
        some = self.features[self.sampler.rows[:: len(self.sampler.rows) // 200]]
        spread = float(torch.nn.functional.avg_pool2d(some.permute(0, 3, 1, 2), 2).std(1).mean())
        warm_start(self.model, states, mini["attention"], spread, self.plan["model"]["word_scale"])

    def _groups(self) -> list[dict]:
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, p in self.model.named_parameters():
            warm = "word_embeddings" in name or "patch_embeddings" in name
            decay = self.plan["optimizer"]["weight_decay"] if p.ndim > 1 and "embedding" not in name else 0.0
            groups.setdefault((self.plan["optimizer"]["warm"] if warm else 1.0, decay), []).append(p)
        return [{"params": p, "share": s, "weight_decay": d, "lr": 0.0} for (s, d), p in groups.items()]

    def _draw(self, order: Iterator[int]) -> tuple[Batch, Tensor]:
        chosen = [next(order) for _ in range(self.plan["batch"]["photos"])]
        rows, mirrored = self.sampler.draw(chosen, self.rng)
        patches = self.features[chosen]  # photo 24 24 256
        for i, flip in enumerate(mirrored):
            patches[i] = patches[i].flip(1) if flip else patches[i]
        kept = torch.tensor(np.random.default_rng(self.rng.getrandbits(32)).random((len(chosen), 1, 1, 256)))
        return collate(rows), patches * (kept >= self.plan["batch"]["channels"])

    def run(self) -> None:
        """All steps that are left."""
        plan, made = (
            self.plan["optimizer"],
            CsvLog(self.work / "train.csv", ["step", "seconds", "loss", *LOSSES], resume=self.step > 0),
        )
        figures = CsvLog(self.work / "dev.csv", ["step", *FIGURES], resume=self.step > 0)
        order, params = _forever(self.sampler.rows, self.rng), list(self.model.parameters())
        began, means = time.time() - self.seconds, []
        with ThreadPoolExecutor(1) as pool:
            pending = pool.submit(self._draw, order)
            while self.step < plan["steps"]:
                batch, patches = pending.result()
                pending = pool.submit(self._draw, order)
                for group in self.optimizer.param_groups:
                    group["lr"] = plan["lr"] * group["share"] * rate(self.step, plan["steps"], plan["warmup"])
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    joint = read(self.model, batch.ids, patches[batch.photo])
                    parts = losses(self.model, joint, batch)
                loss = sum(self.plan["loss"][name] * value for name, value in parts.items())
                if not torch.isfinite(loss):
                    raise FloatingPointError(f"The loss is not finite at step {self.step}: {parts}")
                self.optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(params, plan["clip"])
                self.optimizer.step()
                self.step += 1
                follow(self.average, self.model, min(plan["average"], (1 + self.step) / (10 + self.step)))
                self.seconds = time.time() - began
                means.append([float(loss.detach()), *(float(parts[name].detach()) for name in LOSSES)])
                if self.step % 20 == 0:
                    made.write(self.step, self.seconds, *np.mean(means, 0))
                    print(made.last, flush=True)
                    means = []
                if self.step % self.plan["save_every"] == 0 or self.step == plan["steps"]:
                    self.save()
                if self.step % self.plan["dev_every"] == 0 or self.step == plan["steps"]:
                    found = measure(self.average, self.dev, self.sampler, self.features.maps)
                    figures.write(self.step, *(found[name] for name in FIGURES))
                    print(figures.last, flush=True)

    def save(self) -> None:
        """Write `checkpoint.pt`: averaged weights, vocabulary and facts for the export; the rest for `resume`."""
        state = {
            "model": self.average.state_dict(),
            "vocabulary": self.tokenizer.to_str(),
            "facts": {"steps": self.step, "seconds": round(self.seconds), "settings": self.plan},
            "now": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        torch.save(state, self.work / "checkpoint.tmp")
        (self.work / "checkpoint.tmp").replace(self.work / "checkpoint.pt")

    def resume(self) -> None:
        """Go on from the checkpoint."""
        state = torch.load(self.work / "checkpoint.pt", weights_only=True)
        self.average.load_state_dict(state["model"])
        self.model.load_state_dict(state["now"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["facts"]["steps"], state["facts"]["seconds"]
        self.rng.seed(self.plan["seed"] + self.step)


def _forever(rows: Sequence[int], rng: random.Random) -> Iterator[int]:
    while True:
        yield from rng.sample(list(rows), len(rows))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the photo sets")
    parser.add_argument("--work", type=Path, required=True, help="folder of the patches, and for everything made here")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    args = parser.parse_args()
    trainer = Trainer(args.data, args.work, settings())
    if args.resume:
        trainer.resume()
    trainer.run()


if __name__ == "__main__":
    main()
