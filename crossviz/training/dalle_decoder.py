"""Trains the decoder of dalle-mini-scenes on when its tokens are fixed: `python -m crossviz.training.dalle_decoder`.

The transformer needs the tokens alone, so both can be trained side by side.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crossviz.models.dalle_vqvae import VqVae, VqVaeConfig
from crossviz.scenes.checker_network import to_input
from crossviz.training.config import DALLE, load_config
from crossviz.training.dalle_run import Run
from crossviz.training.dalle_vqvae import loss_of, psnr
from crossviz.training.scene_data import SceneSet, load

__all__ = ["main", "train"]


def train(
    data: SceneSet, work: Path, config: dict[str, Any], device: str = "cpu", *, steps: int | None = None
) -> VqVae:
    """Train the decoder alone, or go on where a run stopped; at most to `steps`. Returns the tokenizer with it.

    Encoder and codebook stay as `vqvae.pt` in the work folder has them; the tokens are in `tokens.npz`.
    """
    settings = config["decoder"]
    torch.manual_seed(config["seed"])
    model = VqVae(VqVaeConfig()).to(device, memory_format=torch.channels_last)
    path = work / "decoder.pt"
    if not path.exists():
        first = torch.load(work / "vqvae.pt", weights_only=True, map_location=device)
        model.load_state_dict(first["average"])
    model.requires_grad_(False).decoder.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.decoder.parameters(), settings["lr"], betas=(0.9, 0.98), weight_decay=0.01)
    run = Run(path, settings, model, ["loss", "psnr"], optimizer=optimizer)
    tokens = np.load(work / "tokens.npz")
    sides = (tokens["plain"], tokens["mirrored"])
    last = settings["steps"] if steps is None else steps
    while run.step < last:
        step = run.step
        rng = np.random.default_rng([config["seed"], step])
        picked = np.sort(rng.integers(len(data.captions), size=settings["batch"]))
        pictures = to_input(torch.tensor(data.pixels[picked])).to(device)
        owner = torch.from_numpy(np.array(data.owner[picked])).to(device)
        if step % 2:
            pictures, owner = pictures.flip(-1), owner.flip(-1)
        known = torch.from_numpy(sides[step % 2][picked].astype(np.int64)).to(device)
        drawn = model.decode(model.embed(known))
        loss = loss_of(drawn, pictures, owner, settings)
        run.learn(loss, settings["lr"] * _share(step, settings), 1.0)
        if run.logs:
            run.log(loss.item(), psnr(drawn, pictures))
        run.save(last)
    return run.average.eval()


def _share(step: int, settings: dict[str, Any]) -> float:
    """Of the learning rate: it rises in the warm-up, then falls as a cosine."""
    if step < settings["warmup"]:
        return (step + 1) / settings["warmup"]
    return 0.02 + 0.49 * (1 + math.cos(math.pi * min(1.0, step / settings["steps"])))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder that crossviz.training.dalle works in")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    config = load_config(DALLE)
    train(load(args.work / "scenes", "train"), args.work, config, args.device)


if __name__ == "__main__":
    main()
