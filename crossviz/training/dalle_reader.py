"""Trains the reader of dalle-mini-scenes, which says of each word whether a picture's tokens show it."""

import argparse
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crossviz.models.dalle_reader import DalleReader, ReaderConfig
from crossviz.training.config import DALLE, load_config
from crossviz.training.dalle_batches import Reading, make_reading
from crossviz.training.dalle_losses import places_know_words, shown_words, words_find_places, words_know_where
from crossviz.training.dalle_rows import Rows
from crossviz.training.dalle_run import Prepared, Run, all_steps, make_know, make_optimizer, on, prepare, rate_at

__all__ = ["losses_of", "main", "train"]

_PARTS = ("shown", "align", "know", "where")
_COLUMNS = ["loss", *_PARTS, "dev_shown", "dev_right", "dev_wrong"]


def losses_of(model: DalleReader, know: nn.Module, batch: Reading) -> tuple[dict[str, Tensor], Tensor]:
    """Every part of the loss, before it is weighted, and the logits. `know` reads off what a place shows; it is not
    kept."""
    seen = model.look(batch.image)
    logits, where, probs = model.ask(batch.words, seen)
    parts = {
        "shown": shown_words(logits, batch.shown, batch.asked),
        "align": words_find_places(probs, batch.groups, batch.places),
        "know": places_know_words(know(seen), batch.kinds),
        "where": words_know_where(where, batch.groups, batch.places, model.config.grid),
    }
    return parts, logits


def train(
    work: Path,
    config: dict[str, Any],
    device: str = "cpu",
    *,
    steps: int | None = None,
    prepared: Prepared | None = None,
) -> DalleReader:
    """Train, or go on where a run stopped; at most to `steps`. Returns the moving average."""
    settings = config["reader"]
    plain, mirrored, dev, codebook = prepared or prepare(work)
    torch.manual_seed(config["seed"])
    model = DalleReader(ReaderConfig(codes=len(codebook), code_dim=codebook.shape[1]))
    model.codebook.copy_(codebook / codebook.std())
    model = model.to(device)
    know = make_know(model.config.width).to(device)
    optimizer = make_optimizer(nn.ModuleList([model, know]), settings)
    run = Run(work / "reader.pt", settings, model, _COLUMNS, optimizer=optimizer, know=know)
    last, measured = all_steps(settings) if steps is None else steps, (math.nan,) * 3
    while run.step < last:
        batch = on(make_reading((plain, mirrored), config["seed"] * 1_000_003 + run.step, settings), device)
        parts, _ = losses_of(model, know, batch)
        loss = parts["shown"] + sum(settings[name] * parts[name] for name in _PARTS[1:])
        run.learn(loss, rate_at(run.step, settings), settings["clip"])
        if run.step % settings["dev_every"] == 0:
            measured = _dev(run.average, know, dev, settings, device)
        if run.logs:
            run.log(loss.item(), *(parts[name].item() for name in _PARTS), *measured)
        run.save(last)
    return run.average.eval()


@torch.inference_mode()
def _dev(
    model: DalleReader, know: nn.Module, dev: Rows, settings: dict[str, Any], device: str
) -> tuple[float, float, float]:
    """On 384 held-out scenes: the loss, and the shares of right and of wrong words that are told as such."""
    losses, told = [], []
    for seed in range(8):
        batch = on(make_reading((dev, dev), seed, {**settings, "batch": 48}), device)
        parts, logits = losses_of(model, know, batch)
        losses.append(parts["shown"])
        asked = batch.asked
        told.append(torch.stack([batch.shown[asked], (logits[asked] > 0).float()]))
    shown, said = torch.cat(told, 1)
    wrong = shown == 0
    return float(torch.stack(losses).mean()), float(said[~wrong].mean()), float(1 - said[wrong].mean())


def main() -> None:
    """Command line: this part alone, beside the writer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder that crossviz.training.dalle works in")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    train(args.work, load_config(DALLE), args.device)


if __name__ == "__main__":
    main()
