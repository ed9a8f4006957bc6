"""Trains the transformer of dalle-mini-scenes, which writes the tokens of scenes."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossviz.models.dalle_transformer import DalleTransformer, TransformerConfig
from crossviz.training.dalle_batches import Batch, make_batch
from crossviz.training.dalle_losses import places_find_words, places_know_words, words_write_things
from crossviz.training.dalle_rows import Rows
from crossviz.training.dalle_run import Prepared, Run, all_steps, make_know, make_optimizer, on, prepare, rate_at

__all__ = ["losses_of", "train"]

_AIDS = ("align", "wrote", "know")
_COLUMNS = ["loss", "next", *_AIDS, "dev_next"]


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


def train(
    work: Path,
    config: dict[str, Any],
    device: str = "cpu",
    *,
    steps: int | None = None,
    prepared: Prepared | None = None,
) -> DalleTransformer:
    """Train, or go on where a run stopped; at most to `steps`. Returns the moving average."""
    settings = config["writer"]
    plain, mirrored, dev, codebook = prepared or prepare(work)
    torch.manual_seed(config["seed"])
    model = DalleTransformer(TransformerConfig(codes=len(codebook), code_dim=codebook.shape[1]))
    model.codebook.copy_(codebook / codebook.std())
    model = model.to(device)
    optimizer = make_optimizer(model, settings)
    know = make_know(model.config.width).to(device)
    knowing = torch.optim.AdamW(know.parameters())
    run = Run(work / "writer.pt", settings, model, _COLUMNS, optimizer=optimizer, know=know, knowing=knowing)
    last, dev_next = all_steps(settings) if steps is None else steps, math.nan
    while run.step < last:
        batch = on(make_batch((plain, mirrored), config["seed"] * 1_000_003 + run.step, settings), device)
        parts = losses_of(model, know, batch, settings)
        loss = parts["next"] + sum(settings[name] * parts[name] for name in _AIDS)
        run.learn(loss, rate_at(run.step, settings), settings["clip"])
        if run.step % settings["dev_every"] == 0:
            dev_next = _dev(run.average, know, dev, settings, device)
        if run.logs:
            run.log(loss.item(), *(parts[name].item() for name in ("next", *_AIDS)), dev_next)
        run.save(last)
    return run.average.eval()


@torch.inference_mode()
def _dev(model: DalleTransformer, know: nn.Module, dev: Rows, settings: dict[str, Any], device: str) -> float:
    """The loss of the next token on 256 held-out scenes."""
    own = {**settings, "batch": 32, "drop": 0.0}
    parts = [losses_of(model, know, on(make_batch((dev, dev), seed, own), device), own) for seed in range(8)]
    return float(torch.stack([part["next"] for part in parts]).mean())
