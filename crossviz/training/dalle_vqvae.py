"""Trains the image tokenizer of dalle-mini-scenes, and writes every scene as its tokens."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from crossviz.models.dalle_vqvae import VqVae, VqVaeConfig
from crossviz.scenes.checker_network import to_input
from crossviz.training import scene_data
from crossviz.training.dalle_run import Run
from crossviz.training.scene_data import SceneSet

__all__ = ["Codebook", "loss_of", "make_tokens", "psnr", "tokenize", "train"]

_COLUMNS = ["loss", "commitment", "psnr", "used"]


class Codebook:
    """Moving averages of how often each entry is used, and of the latents that use it."""

    def __init__(self, model: VqVae, decay: float, restart: float) -> None:
        self.model, self.decay, self.restart = model, decay, restart
        self.counts = torch.ones(len(model.codebook), device=model.codebook.device)
        self.sums = model.codebook.clone()

    def start(self, latents: Tensor, generator: torch.Generator) -> None:
        """Entries from some of the latents, `place code_dim`."""
        chosen = torch.randint(len(latents), (len(self.counts),), generator=generator)
        off = 1e-3 * torch.randn(self.sums.shape, generator=generator)
        self.sums = latents[chosen.to(latents.device)] + off.to(latents.device)
        self.counts.fill_(1.0)
        self.model.codebook.copy_(self.sums)

    def update(self, latents: Tensor, tokens: Tensor, generator: torch.Generator) -> None:
        """After a step: latents `place code_dim` and the entry that each took."""
        ones = torch.zeros_like(self.counts).index_add_(0, tokens, torch.ones_like(tokens, dtype=self.counts.dtype))
        total = torch.zeros_like(self.sums).index_add_(0, tokens, latents)
        self.counts.lerp_(ones, 1 - self.decay)
        self.sums.lerp_(total, 1 - self.decay)
        dead = torch.nonzero(self.counts < self.restart).flatten()
        if len(dead):
            chosen = torch.randint(len(latents), (len(dead),), generator=generator).to(latents.device)
            self.sums[dead], self.counts[dead] = latents[chosen], 1.0
        self.model.codebook.copy_(self.sums / self.counts.clamp_min(1e-5)[:, None])

    def state_dict(self) -> dict[str, Tensor]:
        return {"counts": self.counts, "sums": self.sums}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.counts, self.sums = state["counts"], state["sums"]


def loss_of(drawn: Tensor, pictures: Tensor, owner: Tensor, settings: dict[str, Any]) -> Tensor:
    """Absolute and squared differences of the pixels, and those of the steps between neighbours."""
    near = F.max_pool2d((owner > 0).float()[:, None], 7, stride=1, padding=3)
    weight = 1 + (settings["things"] - 1) * near
    weight = weight / weight.mean()
    off = drawn - pictures
    steps = (off[..., 1:] - off[..., :-1]).abs() * weight[..., 1:]
    falls = (off[..., 1:, :] - off[..., :-1, :]).abs() * weight[..., 1:, :]
    return (weight * (off.abs() + 2 * off**2)).mean() + settings["edges"] * (steps.mean() + falls.mean())


def train(
    data: SceneSet, work: Path, config: dict[str, Any], device: str = "cpu", *, steps: int | None = None
) -> VqVae:
    """Train, or go on where a run stopped; at most to `steps`. Returns the moving average."""
    settings = config["vqvae"]
    torch.manual_seed(config["seed"])
    model = VqVae(VqVaeConfig()).to(device, memory_format=torch.channels_last)
    book = Codebook(model, settings["decay"], settings["restart"])
    optimizer = torch.optim.AdamW(model.parameters(), settings["lr"], betas=(0.9, 0.98), weight_decay=0.01)
    run = Run(work / "vqvae.pt", settings, model, _COLUMNS, optimizer=optimizer, book=book)
    last = settings["steps"] if steps is None else steps
    while run.step < last:
        step = run.step
        generator = torch.Generator().manual_seed(config["seed"] * 1_000_003 + step)
        picked = np.sort(torch.randint(len(data.captions), (settings["batch"],), generator=generator).numpy())
        pictures = to_input(torch.tensor(data.pixels[picked])).to(device)
        owner = torch.from_numpy(np.array(data.owner[picked])).to(device)
        if step % 2:  # the mirrored scene is a scene, too
            pictures, owner = pictures.flip(-1), owner.flip(-1)
        share = min(1, (step + 1) / settings["warmup"]) * max(0.02, 1 - step / settings["steps"]) ** 0.7
        latents = model.encode(pictures.to(memory_format=torch.channels_last))
        flat = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
        if step == settings["free"]:
            book.start(flat.detach(), generator)
        commitment = torch.zeros((), device=device)
        passed = latents
        if step >= settings["free"]:
            tokens = model.nearest(flat.detach().float())
            entries = model.codebook[tokens].reshape(len(pictures), *latents.shape[2:], -1).permute(0, 3, 1, 2)
            commitment = F.mse_loss(latents, entries)
            passed = latents + (entries - latents).detach()
        drawn = model.decode(passed).float()
        error = loss_of(drawn, pictures, owner, settings)
        run.learn(error + settings["commitment"] * commitment, settings["lr"] * share, 1.0)
        used = 0
        if step >= settings["free"]:
            book.update(flat.detach().float(), tokens, generator)
            used = len(tokens.unique())
        run.average.codebook.copy_(model.codebook)
        if run.logs:
            run.log(error.item(), commitment.item(), psnr(drawn, pictures), used)
        run.save(last)
    return run.average.eval()


def psnr(drawn: Tensor, pictures: Tensor) -> float:
    """Of pictures from -1 to 1, in dB."""
    return -10 * float(((drawn.detach().clamp(-1, 1) - pictures) / 2).pow(2).mean().log10())


def make_tokens(work: Path, config: dict[str, Any], device: str = "cpu") -> None:
    """Train the tokenizer on the scenes of a work folder and write the tokens of all of them, or of those that have
    been added since that was done."""
    path = work / "tokens.npz"
    data, dev = scene_data.load(work / "scenes", "train"), scene_data.load(work / "scenes", "dev")
    kept = dict(np.load(path)) if path.exists() else {}
    if kept and len(kept["plain"]) == len(data.captions) and len(kept["dev"]) == len(dev.captions):
        return
    model = train(data, work, config, device)
    if kept and not np.array_equal(kept["codebook"], model.codebook.cpu().numpy()):
        kept = {}  # of another tokenizer

    def tokens_of(name: str, pixels: np.ndarray, *, mirrored: bool = False) -> np.ndarray:
        there = [kept[name][: len(pixels)]] if name in kept else []
        more = pixels[sum(map(len, there)) :]
        return np.concatenate([*there, tokenize(model, more, mirrored=mirrored)] if len(more) else there)

    parts = {
        "plain": tokens_of("plain", data.pixels),
        "mirrored": tokens_of("mirrored", data.pixels, mirrored=True),
        "dev": tokens_of("dev", dev.pixels),
        "codebook": model.codebook.cpu().numpy(),
    }
    np.savez(work / "tokens.part.npz", **parts)
    (work / "tokens.part.npz").replace(path)


@torch.inference_mode()
def tokenize(model: VqVae, pixels: np.ndarray, *, mirrored: bool = False, batch: int = 64) -> np.ndarray:
    """Every picture's tokens, int16 `scene grid grid`."""
    found = []
    for start in range(0, len(pixels), batch):
        pictures = to_input(torch.tensor(pixels[start : start + batch])).to(model.codebook.device)
        pictures = pictures.flip(-1) if mirrored else pictures
        tokens = model.tokenize(pictures.to(memory_format=torch.channels_last))
        found.append(tokens.to(torch.int16).cpu().numpy())
    return np.concatenate(found)
