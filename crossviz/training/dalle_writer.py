"""Trains the transformer of dalle-mini-scenes, which writes the tokens of scenes."""

import copy
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossviz.models.dalle_transformer import DalleTransformer, TransformerConfig
from crossviz.training import dalle_vqvae, scene_data
from crossviz.training.dalle_batches import Batch, make_batch
from crossviz.training.dalle_losses import places_find_words, places_know_words, words_write_things
from crossviz.training.dalle_rows import KINDS, Rows, make_rows
from crossviz.training.log import CsvLog

__all__ = ["all_steps", "losses_of", "make_know", "make_optimizer", "prepare", "rate_at", "train"]

_AIDS = ("align", "wrote", "know")
_COLUMNS = ["step", "loss", "next", *_AIDS, "dev_next", "seconds"]


def prepare(work: Path, config: dict[str, Any], device: str = "cpu") -> tuple[Rows, Rows, Rows, Tensor]:
    """The scenes of the training as they are and mirrored, those of "dev", and the codebook."""
    data, dev = scene_data.load(work / "scenes", "train"), scene_data.load(work / "scenes", "dev")
    path = work / "tokens.npz"
    if not path.exists():
        model = dalle_vqvae.train(data, work, config, device)
        parts = {
            "plain": dalle_vqvae.tokenize(model, data.pixels),
            "mirrored": dalle_vqvae.tokenize(model, data.pixels, mirrored=True),
            "dev": dalle_vqvae.tokenize(model, dev.pixels),
            "codebook": model.codebook.cpu().numpy(),
        }
        np.savez(work / "tokens.part.npz", **parts)
        (work / "tokens.part.npz").replace(path)
    tokens = np.load(path)
    most = TransformerConfig().max_words
    plain = make_rows(data, tokens["plain"], most)
    return (
        plain,
        plain.mirrored(tokens["mirrored"]),
        make_rows(dev, tokens["dev"], most),
        torch.from_numpy(tokens["codebook"]),
    )


def losses_of(model: DalleTransformer, know: nn.Module, batch: Batch, settings: dict[str, Any]) -> dict[str, Tensor]:
    """Every part of the loss, before it is weighted. `know` reads off what is known of a place; it is not kept."""
    states, probs = model.states(batch.words, batch.image)
    logits = model.logits(states[-1])
    return {
        "next": F.cross_entropy(logits.flatten(0, 1), batch.image.flatten()),
        "align": places_find_words(probs, batch.groups, batch.places, settings["aligned_heads"]),
        "wrote": words_write_things(probs, batch.groups, batch.places),
        "know": places_know_words(know(states[settings["know_layer"]]), batch.said),
    }


def train(work: Path, config: dict[str, Any], device: str = "cpu", *, steps: int | None = None) -> DalleTransformer:
    """Train, or go on where a run stopped; at most to `steps`. Returns the moving average."""
    settings = config["writer"]
    plain, mirrored, dev, codebook = prepare(work, config, device)
    torch.manual_seed(config["seed"])
    model = DalleTransformer(TransformerConfig(codes=len(codebook), code_dim=codebook.shape[1]))
    model.codebook.copy_(codebook / codebook.std())
    model = model.to(device)
    average = copy.deepcopy(model).requires_grad_(False)
    optimizer = make_optimizer(model, settings)
    know = make_know(model.config.width).to(device)
    knowing = torch.optim.AdamW(know.parameters())
    path, step = work / "writer.pt", 0
    if path.exists():
        state = torch.load(path, weights_only=True, map_location=device)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        know.load_state_dict(state["know"])
        knowing.load_state_dict(state["knowing"])
        step = state["step"]
    log = CsvLog(work / "writer.csv", _COLUMNS, resume=step > 0)
    started, dev_next = time.perf_counter(), math.nan
    last = all_steps(settings) if steps is None else steps
    while step < last:
        batch = _on(make_batch((plain, mirrored), config["seed"] * 1_000_003 + step, settings), device)
        for group in (*optimizer.param_groups, *knowing.param_groups):
            group["lr"] = rate_at(step, settings)
        parts = losses_of(model, know, batch, settings)
        loss = parts["next"] + sum(settings[name] * parts[name] for name in _AIDS)
        optimizer.zero_grad(set_to_none=True)
        knowing.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings["clip"])
        optimizer.step()
        knowing.step()
        step += 1
        with torch.no_grad():
            rate = 1 - min(settings["average"], (1 + step) / (10 + step))
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), rate)
        if step % settings["dev_every"] == 0:
            dev_next = _dev(average, know, dev, settings, device)
        if step % 50 == 0:
            values = [loss.item(), *(parts[name].item() for name in ("next", *_AIDS))]
            log.write(step, *values, dev_next, time.perf_counter() - started)
            print(f"writer: {log.last}", flush=True)
        if step % settings["save_every"] == 0 or step == last:
            state = {"model": model.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
            state |= {"know": know.state_dict(), "knowing": knowing.state_dict()}
            torch.save({**state, "step": step}, path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)
    return average.eval()


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


@torch.inference_mode()
def _dev(model: DalleTransformer, know: nn.Module, dev: Rows, settings: dict[str, Any], device: str) -> float:
    """The loss of the next token on 256 held-out scenes."""
    own = {**settings, "batch": 32, "drop": 0.0}
    parts = [losses_of(model, know, _on(make_batch((dev, dev), seed, own), device), own) for seed in range(8)]
    return float(torch.stack([part["next"] for part in parts]).mean())


def _on(batch: Batch, device: str) -> Batch:
    return Batch(**{name: value.to(device) for name, value in vars(batch).items()})
