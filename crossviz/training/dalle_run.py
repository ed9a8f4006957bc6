"""What the training runs of dalle-mini-scenes share: their scenes, their learning rate, and how they go on."""

import copy
import math
import time
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from crossviz.errors import DatasetError
from crossviz.models.dalle_transformer import TransformerConfig
from crossviz.training import scene_data
from crossviz.training.dalle_batches import Batch, Reading
from crossviz.training.dalle_rows import KINDS, Rows, make_rows
from crossviz.training.log import CsvLog

__all__ = ["Prepared", "Run", "all_steps", "guard", "make_know", "make_optimizer", "on", "prepare", "rate_at"]

_LOG_EVERY = 50
Some = TypeVar("Some", Batch, Reading)


class Prepared(NamedTuple):
    """The scenes of the training as they are and mirrored, those of "dev", and the codebook."""

    plain: Rows
    mirrored: Rows
    dev: Rows
    codebook: Tensor


def prepare(work: Path) -> Prepared:
    """The scenes of a work folder, whose pictures were written as tokens (`crossviz.training.dalle_vqvae`).

    Raises:
        DatasetError: they were not.
    """
    path, most = work / "tokens.npz", TransformerConfig().max_words
    if not path.exists():
        raise DatasetError(f"{path} is missing: the image tokenizer has to be trained first.")
    tokens = np.load(path)
    plain = make_rows(scene_data.load(work / "scenes", "train"), tokens["plain"], most)
    dev = make_rows(scene_data.load(work / "scenes", "dev"), tokens["dev"], most)
    return Prepared(plain, plain.mirrored(tokens["mirrored"]), dev, torch.from_numpy(tokens["codebook"]))


class Run:
    """One training: the moving average of its weights, its optimizers, its checkpoint and its log.

    Args:
        path: of the checkpoint, from which the run goes on where it is there; the log lies beside it.
        settings: of this training, with `average`, which is how much of the average stays at a step, and `save_every`.
        model: what is trained.
        columns: of the log, between the step and the seconds.
        parts: what else the checkpoint holds, by name; everything that is an optimizer takes a step in `learn`.
    """

    def __init__(
        self, path: Path, settings: dict[str, Any], model: nn.Module, columns: list[str], **parts: Any
    ) -> None:
        self.path, self.settings, self.model, self.parts = path, settings, model, parts
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.optimizers = [part for part in parts.values() if isinstance(part, torch.optim.Optimizer)]
        self.step = 0
        if path.exists():
            device = next(model.parameters()).device
            state = torch.load(path, weights_only=True, map_location=device)
            for name, part in self._kept().items():
                part.load_state_dict(state[name])
            self.step = state["step"]
        self._log = CsvLog(path.with_suffix(".csv"), ["step", *columns, "seconds"], resume=self.step > 0)
        self._started = time.perf_counter()

    def learn(self, loss: Tensor, rate: float, clip: float) -> None:
        """One step of all optimizers at this learning rate; the norm of the model's gradient is at most `clip`.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        guard(loss, self.step)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
            for group in optimizer.param_groups:
                group["lr"] = rate
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), clip)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        self._follow()

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the present weights, at first faster."""
        pairs = zip(self.average.parameters(), self.model.parameters(), strict=True)
        slow, now = zip(*((mine, theirs) for mine, theirs in pairs if theirs.requires_grad), strict=True)
        stays = min(self.settings["average"], (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(slow), list(now), 1 - stays)

    @property
    def logs(self) -> bool:
        """Whether figures are due after this step."""
        return self.step % _LOG_EVERY == 0

    def log(self, *figures: float) -> None:
        """Write the columns' figures."""
        self._log.write(self.step, *figures, time.perf_counter() - self._started)
        print(f"{self.path.stem}: {self._log.last}", flush=True)

    def save(self, last: int) -> None:
        """Write the checkpoint where one is due, whole or not at all; one is due after the last step, too."""
        if self.step % self.settings["save_every"] and self.step != last:
            return
        fresh = self.path.with_suffix(".part")
        torch.save({**{name: part.state_dict() for name, part in self._kept().items()}, "step": self.step}, fresh)
        fresh.replace(self.path)

    def _kept(self) -> dict[str, Any]:
        return {"model": self.model, "average": self.average, **self.parts}


def guard(loss: Tensor, step: int) -> None:
    """Stop a run before what is not a number is learned, and kept.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    if not torch.isfinite(loss):
        raise FloatingPointError(f"The loss is not finite at step {step}.")


def make_know(width: int) -> nn.Module:
    """Reads off a place of that width the words of `KINDS`; for the training alone."""
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, sum(map(len, KINDS))))


def make_optimizer(model: nn.Module, settings: dict[str, Any]) -> torch.optim.Optimizer:
    """AdamW; biases, norms and other vectors don't decay."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim < 2]
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": settings["weight_decay"]}, {"params": others, "weight_decay": 0.0}],
        betas=(0.9, 0.98),
    )


def all_steps(settings: dict[str, Any]) -> int:
    """Of all cycles."""
    return sum(steps for steps, _ in settings["cycles"])


def rate_at(step: int, settings: dict[str, Any]) -> float:
    """The learning rate: in each cycle it rises in the warm-up, then falls as a cosine to a fiftieth."""
    cycle = 0
    while step >= settings["cycles"][cycle][0]:
        step -= settings["cycles"][cycle][0]
        cycle += 1
    steps, rate = settings["cycles"][cycle]
    if step < settings["warmup"]:
        return rate * (step + 1) / settings["warmup"]
    gone = (step - settings["warmup"]) / max(1, steps - settings["warmup"])
    return rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, gone))))


def on(batch: Some, device: str) -> Some:
    """The batch on that device."""
    return type(batch)(**{name: value.to(device) for name, value in vars(batch).items()})
