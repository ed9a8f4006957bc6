"""Trains the decoder of dalle-mini-scenes on when its tokens are fixed: `python -m crossviz.training.dalle_decoder`.

The transformer needs the tokens alone, so both can be trained side by side.
"""

import argparse
import copy
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crossviz.models.dalle_vqvae import VqVae, VqVaeConfig
from crossviz.scenes.checker_network import to_input
from crossviz.training.config import DALLE, load_config
from crossviz.training.dalle_vqvae import loss_of
from crossviz.training.log import CsvLog
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
    path, first, step = work / "decoder.pt", work / "vqvae.pt", 0
    state = torch.load(path if path.exists() else first, weights_only=True, map_location=device)
    model.load_state_dict(state["model" if path.exists() else "average"])
    model.requires_grad_(False).decoder.requires_grad_(True)
    average = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.AdamW(model.decoder.parameters(), settings["lr"], betas=(0.9, 0.98), weight_decay=0.01)
    if path.exists():
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    tokens = np.load(work / "tokens.npz")
    sides = (tokens["plain"], tokens["mirrored"])
    log, started = (
        CsvLog(work / "decoder.csv", ["step", "loss", "psnr", "seconds"], resume=step > 0),
        time.perf_counter(),
    )
    last = settings["steps"] if steps is None else steps
    while step < last:
        rng = np.random.default_rng([config["seed"], step])
        picked = np.sort(rng.integers(len(data.captions), size=settings["batch"]))
        pictures = to_input(torch.tensor(data.pixels[picked])).to(device)
        owner = torch.from_numpy(np.array(data.owner[picked])).to(device)
        if step % 2:
            pictures, owner = pictures.flip(-1), owner.flip(-1)
        known = torch.from_numpy(sides[step % 2][picked].astype(np.int64)).to(device)
        optimizer.param_groups[0]["lr"] = settings["lr"] * _share(step, settings)
        drawn = model.decode(model.embed(known))
        loss = loss_of(drawn, pictures, owner, settings)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.decoder.parameters(), 1.0)
        optimizer.step()
        step += 1
        with torch.no_grad():
            rate = 1 - min(settings["average"], (1 + step) / (10 + step))
            torch._foreach_lerp_(list(average.decoder.parameters()), list(model.decoder.parameters()), rate)
        if step % 50 == 0:
            psnr = -10 * ((drawn.detach().clamp(-1, 1) - pictures) / 2).pow(2).mean().log10().item()
            log.write(step, loss.item(), psnr, time.perf_counter() - started)
            print(f"decoder: {log.last}", flush=True)
        if step % settings["save_every"] == 0 or step == last:
            kept = {"model": model.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**kept, "step": step}, path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)
    return average.eval()


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
