"""Measures dalle-mini-scenes: `python -m crossviz.training.dalle_figures` prints the tables of its card.

Pictures are judged by the scene checker, which is validated on rendered scenes by itself
(`crossviz.training.checker_figures`). Whether they are as asked counts everything: the number of things, every stated
shape, colour, size and material, the relation, the floor and the light.
"""

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from crossviz.generation import Generation, WordMaps
from crossviz.models.base import resolve_device
from crossviz.models.dalle import DalleScenes, load
from crossviz.models.generators import Settings
from crossviz.scenes.captions import draw_request, write
from crossviz.scenes.checker_network import to_input
from crossviz.scenes.layout import NoRoomError, draw_scene
from crossviz.scenes.reading import read
from crossviz.scenes.verdict import verdict
from crossviz.training.dalle_captions import captions

__all__ = ["Tally", "main", "measure", "reconstruction"]


@dataclass
class Tally:
    """Counts over captions of one kind. `peaks` counts, by direction, words whose map peaks inside a thing of their
    group, of the `words` whose group was found; `noun_peaks` the same of the `nouns` alone."""

    pictures: int = 0
    asked: int = 0
    words: int = 0
    peaks: Counter = field(default_factory=Counter)
    nouns: int = 0
    noun_peaks: Counter = field(default_factory=Counter)
    covered: float = 0.0
    seconds: list[float] = field(default_factory=list)

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.pictures + other.pictures,
            self.asked + other.asked,
            self.words + other.words,
            self.peaks + other.peaks,
            self.nouns + other.nouns,
            self.noun_peaks + other.noun_peaks,
            self.covered + other.covered,
            self.seconds + other.seconds,
        )


def measure(model: DalleScenes, texts: Sequence[str], settings: Settings) -> Tally:
    """Draw every caption once, with its number as the seed, and count."""
    tally = Tally()
    for seed, text in enumerate(texts):
        started = time.perf_counter()
        made = _last(
            model, text, Settings(seed, settings.guidance, settings.temperature, candidates=settings.candidates)
        )
        tally.seconds.append(time.perf_counter() - started)
        tally.pictures += 1
        tally.asked += bool(made.verdict and made.verdict["asked"])
        _count_words(model, made, tally)
    return tally


def _last(model: DalleScenes, text: str, settings: Settings) -> Generation:
    *_, made = model.draw(text, settings)
    assert isinstance(made, Generation)
    return made


def _count_words(model: DalleScenes, made: Generation, tally: Tally) -> None:
    """Whether the words that ask for a thing have the highest place of their map on it."""
    request = read(made.caption.text)
    found = model.checker.find(made.picture[None])[0]
    groups = verdict(request, found).groups
    for number, group in enumerate(request.groups):
        masks = [thing.mask for thing, of in zip(found, groups, strict=True) if of == number]
        if not masks:
            continue
        mask = np.logical_or.reduce(masks)
        side = mask.shape[0] // made.grid.height
        # A place is on the thing where the thing has a pixel at its centre or takes a quarter of it.
        share = mask.reshape(made.grid.height, side, made.grid.width, side).mean((1, 3))
        centre = mask[side // 2 :: side, side // 2 :: side]
        inside = (share >= 0.25) | centre
        tally.nouns += 1
        for word in group.words:
            tally.words += 1
            tally.covered += float(inside.mean())
            for name, maps in (("image asks text", made.asks_text), ("text asks image", made.asks_image)):
                peaks = _peaks(maps, word, inside)
                tally.peaks[name] += peaks
                tally.noun_peaks[name] += peaks and word == group.words[-1]


def _peaks(maps: WordMaps | None, word: int, inside: np.ndarray) -> bool:
    assert maps is not None
    return bool(inside.flat[int(maps.select((word,)).argmax())])


def reconstruction(model: DalleScenes, count: int) -> dict[str, float]:
    """How well the tokenizer keeps freshly rendered scenes: PSNR in dB, entries used, and their perplexity."""
    rng, pixels = np.random.default_rng(99), []
    while len(pixels) < count:
        try:
            pixels.append(draw_scene(read(write(draw_request(rng, unseen=len(pixels) % 2 == 1), rng)), rng)[1].pixels)
        except NoRoomError:
            continue
    scenes = np.stack(pixels)
    with torch.inference_mode():
        parts = [to_input(torch.tensor(scenes[at : at + 50])).to(model.device) for at in range(0, count, 50)]
        tokens = torch.cat([model.vqvae.tokenize(part) for part in parts])
        drawn = torch.cat([model.vqvae.draw(part).cpu() for part in tokens.split(50)]).numpy()
    errors = ((drawn.astype(np.float64) - scenes) ** 2).mean((1, 2, 3))
    shares = torch.bincount(tokens.flatten(), minlength=model.vqvae.config.codes).double() / tokens.numel()
    entropy = -(shares * shares.clamp_min(1e-12).log()).sum()
    return {
        "psnr": float((10 * np.log10(255**2 / errors)).mean()),
        "used": int((shares > 0).sum()),
        "entries": model.vqvae.config.codes,
        "perplexity": float(entropy.exp()),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("choice", "test"), default="test")
    parser.add_argument("--each", type=int, help="captions of each kind; all if left out")
    parser.add_argument("--folder", type=Path, help="another model folder than the one that comes with crossviz")
    parser.add_argument("--device")
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--candidates", type=int)
    parser.add_argument("--scenes", type=int, default=400, help="rendered scenes for the tokenizer's figures")
    args = parser.parse_args()
    model = load(resolve_device(args.device), args.folder)
    settings = Settings(0, args.guidance, args.temperature, candidates=args.candidates)
    kinds = {kind: texts[: args.each] for kind, texts in captions(args.part).items()}
    if args.scenes:
        kept = reconstruction(model, args.scenes)
        print(
            f"image tokenizer on {args.scenes} new scenes: {kept['psnr']:.1f} dB, {kept['used']} of {kept['entries']} "
            f"entries used, perplexity {kept['perplexity']:.0f}\n"
        )
    print(
        "| captions | pictures | as asked | image asks text: nouns that peak on their thing, all words "
        "| text asks image: the same | chance | s a picture |"
    )
    print("|---|---|---|---|---|---|---|")
    tallies = {kind: Tally() for kind in kinds}
    for kind, texts in kinds.items():
        tallies[kind] = measure(model, texts, settings)
        _row(kind, tallies[kind])
    for name, totals in (("1 and 2", "12"), ("3 and 4", "34"), ("all", "1234")):
        _row(name, sum((tally for kind, tally in tallies.items() if kind[0] in totals), Tally()))


def _row(name: str, tally: Tally) -> None:
    words, nouns = max(1, tally.words), max(1, tally.nouns)
    asked, covered = tally.asked / max(1, tally.pictures), tally.covered / words
    peaks = " | ".join(
        f"{100 * tally.noun_peaks[way] / nouns:.1f} %, {100 * tally.peaks[way] / words:.1f} %"
        for way in ("image asks text", "text asks image")
    )
    seconds = np.median(tally.seconds or [0])
    print(
        f"| {name} | {tally.pictures} | {100 * asked:.1f} % | {peaks} | {100 * covered:.1f} % | {seconds:.2f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
