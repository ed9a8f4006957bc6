"""Train the scene checker: `python -m crossviz.training.checker --work DIR --out FILE`.

DIR is where `crossviz.training.scene_data` put its sets and where the image tokenizer was trained. A run that was
stopped goes on from its last checkpoint, and ends with the same weights as one that was not. One CPU core is enough:
OMP_NUM_THREADS=1.
"""

import argparse
import math
import time
import tomllib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from crossviz.scenes.checker_network import CheckerNetwork, to_input
from crossviz.training.checker_batches import Scenes
from crossviz.training.checker_losses import losses
from crossviz.training.checker_views import disturbed
from crossviz.training.dalle_run import guard
from crossviz.training.log import CsvLog
from crossviz.training.redrawn import checker_sets

__all__ = ["export", "main", "rate", "settings", "train"]

_LOG_EVERY = 50


def settings(file: Path | None = None) -> dict[str, Any]:
    """The settings in `file`, or those of the checker that crossviz carries."""
    return tomllib.loads((file or Path(__file__).with_name("checker.toml")).read_text("utf-8"))


def train(scenes: Scenes, config: dict[str, Any], folder: Path, until: int | None = None) -> CheckerNetwork:
    """A network with averaged weights, trained on the scenes.

    Args:
        config: as in `checker.toml`.
        folder: for checkpoints and the log; a run that was begun there goes on.
        until: stop after so many steps, as if interrupted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config["seed"])
    network, kept = _network(config), _network(config)
    kept.load_state_dict(network.state_dict())
    plain = [p for p in network.parameters() if p.ndim < 2]
    decayed = [p for p in network.parameters() if p.ndim >= 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": config["weight_decay"]}, {"params": plain, "weight_decay": 0.0}]
    )
    checkpoint, begin = folder / "checker.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        kept.load_state_dict(state["kept"])
        optimizer.load_state_dict(state["optimizer"])
        begin = state["step"]
    log, started = None, time.monotonic()
    end = sum(cycle["steps"] for cycle in config["cycles"])
    for step in range(begin, min(end, until or end)):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, config)
        rng = torch.Generator().manual_seed(config["seed"] * 1_000_003 + step)
        rows = scenes.order(config["seed"], config["batch"], step, _cycle(step, config)[0].get("draw"))
        batch = scenes.batch(rows, (torch.rand(len(rows), generator=rng) < 0.5).numpy())
        pictures = disturbed(to_input(batch.pictures), rng).contiguous(memory_format=torch.channels_last)
        parts = losses(network(pictures), batch)
        loss = sum(parts.values())
        guard(loss, step)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        _average(kept, network, min(config["average"], step / (step + 10)))
        if (step + 1) % _LOG_EVERY == 0:
            log = log or CsvLog(folder / "checker.csv", ["step", "seconds", *parts], begin > 0)
            log.write(step + 1, time.monotonic() - started, *(part.item() for part in parts.values()))
            print(log.last, flush=True)
        if (step + 1) % config["keep_every"] == 0 or step + 1 == end:
            _keep(checkpoint, network=network, kept=kept, optimizer=optimizer, step=step + 1)
    return kept


def _network(config: dict[str, Any]) -> CheckerNetwork:
    sizes = config["network"]
    network = CheckerNetwork(tuple(sizes["widths"]), tuple(sizes["blocks"]))
    return network.train().to(memory_format=torch.channels_last)


def rate(step: int, config: dict[str, Any]) -> float:
    """The learning rate of a step: cosines that begin anew (Loshchilov and Hutter, 2017), the first after a warm-up."""
    cycle, at = _cycle(step, config)
    risen = min(1.0, (step + 1) / config["warm_up"])
    return cycle["rate"] * risen * 0.5 * (1 + math.cos(math.pi * at / cycle["steps"]))


def _cycle(step: int, config: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """The cycle that a step is in, and its number there."""
    for cycle in config["cycles"]:
        if step < cycle["steps"]:
            return cycle, step
        step -= cycle["steps"]
    raise ValueError(f"The cycles end {step + 1} steps before that.")


@torch.no_grad()
def _average(kept: nn.Module, network: nn.Module, stays: float) -> None:
    """Move the kept weights, and what batch norms have seen, towards the present ones (Polyak and Juditsky, 1992)."""
    for mine, now in zip(kept.state_dict().values(), network.state_dict().values(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(now, 1 - stays)
        else:
            mine.copy_(now)


def _keep(file: Path, step: int, **parts: Any) -> None:
    """Write a checkpoint whole or not at all."""
    fresh = file.with_suffix(".new")
    torch.save({"step": step, **{name: part.state_dict() for name, part in parts.items()}}, fresh)
    fresh.replace(file)


def export(network: CheckerNetwork, file: Path) -> None:
    """The weights as float16, with the network's sizes, as `crossviz.scenes.checker.load_checker` reads them."""
    weights = {
        name: value.half().contiguous() if value.is_floating_point() else value.clone()
        for name, value in network.state_dict().items()
    }
    sizes = {name: " ".join(map(str, value)) for name, value in network.sizes.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, file, metadata={"format": "pt", **sizes})
    file.chmod(0o644)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for everything made on the way")
    parser.add_argument("--out", type=Path, required=True, help="file to write the weights to")
    parser.add_argument("--config", type=Path, default=None, help="other settings than checker.toml")
    args = parser.parse_args()
    config = settings(args.config)
    scenes = Scenes(checker_sets(args.work, config))
    export(train(scenes, config, args.work / "checker"), args.out)


if __name__ == "__main__":
    main()
