"""Shift the null key's bias until words that mean nothing find nothing, on training photos with kept features."""

import argparse
import math
import random
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from crossviz.attention import CrossModalAttention
from crossviz.models.mini_tower import FINE_GRID
from crossviz.render.scale import ABSENT_NULL_MASS
from crossviz.training.batches import ABSENT, Ask, Sample, collate
from crossviz.training.config import load_config
from crossviz.training.features import Features, open_features
from crossviz.training.forward import forward
from crossviz.training.model import Tokenizer, build_attention, build_clip
from crossviz.training.nonsense import Nonsense, caption_words
from crossviz.training.views import flickr_views

__all__ = ["nonsense_scores", "null_shift"]


def null_shift(scores: Tensor, share: float) -> float:
    """The least shift of the null scores, 0 or more, for which at most `share` of the words light up.

    Args:
        scores: `word head`, log of null mass over visual mass, in each head.
        share: of the words that may count as found: mean null mass of ABSENT_NULL_MASS or less.
    """
    low, high = 0.0, 8.0
    if _lit(scores, low) <= share:
        return low
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (low, middle) if _lit(scores, middle) <= share else (middle, high)
    return math.ceil(high * 100) / 100


def _lit(scores: Tensor, shift: float) -> float:
    return float(((scores + shift).sigmoid().mean(1) <= ABSENT_NULL_MASS).float().mean())


@torch.no_grad()
def nonsense_scores(
    clip: nn.Module, attention: CrossModalAttention, features: Features, rows: list[int], words: Nonsense, seed: int = 0
) -> Tensor:
    """Four made-up words asked of each of the photos `rows`: `word head`, log of null mass over visual mass."""
    rng, tokenizer, out = random.Random(seed), Tokenizer(), []
    for start in range(0, len(rows), 16):
        samples = []
        for row in rows[start : start + 16]:
            sample = Sample("flickr", row, False)
            for text in range(4):
                ids = tuple(tokenizer(words.word(rng))[0])
                sample.texts.append(ids)
                sample.asks.append(Ask(text, tuple(range(len(ids))), ABSENT))
            samples.append(sample)
        fine, coarse = features[np.array([s.row for s in samples])]
        maps = forward(clip, attention, (fine.float(), coarse.float()), collate(samples, tokenizer), FINE_GRID)
        null = maps.heads[..., -1].flatten(0, 1).clamp(1e-6, 1 - 1e-6)
        out.append(torch.logit(null))
    return torch.cat(out)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the photo sets")
    parser.add_argument("--work", type=Path, required=True, help="folder with checkpoint.pt and features")
    parser.add_argument("--config", type=Path, default=None, help="TOML settings (default: mini.toml beside this)")
    args = parser.parse_args()
    settings = load_config(args.config)["calibration"]
    path = args.work / "checkpoint.pt"
    saved = torch.load(path, map_location="cpu", weights_only=True)
    if "null_shift" in saved["facts"]:
        print(f"{path} is calibrated already, by {saved['facts']['null_shift']}")
        return
    clip, attention = build_clip(), build_attention()
    clip.visual.trunk.body = nn.Identity()
    clip.load_state_dict(saved["clip"])
    attention.load_state_dict(saved["attention"])
    clip.eval()
    views = flickr_views(args.data)
    tokenizer = Tokenizer()
    words = Nonsense(caption_words(v.photo for v in views), lambda word: len(tokenizer(word)[0]) == 1)
    rows = random.Random(0).sample([i for i, v in enumerate(views) if not v.held_out], settings["photos"])
    features = open_features(args.work / "features" / "flickr", len(views))
    scores = nonsense_scores(clip, attention, features, rows, words)
    shift = null_shift(scores, settings["lit"])
    before, after = _lit(scores, 0.0), _lit(scores, shift)
    print(f"{before:.2%} of {len(scores)} made-up words light up, with null scores raised by {shift:.2f} {after:.2%}")
    saved["attention"]["null_bias"] += shift
    saved["facts"]["null_shift"] = shift
    torch.save(saved, path)


if __name__ == "__main__":
    main()
