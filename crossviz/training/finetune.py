"""Fine-tune the embedded model on your own captioned photos: `python -m crossviz.training.finetune --data --out`.

docs/fine-tune.md says what the folder must hold, what is trained and what it gives. The image trunk stays as it is
and is run once over every photo, mirrored photo and crop; image head, cross-attention and text tower are trained.
"""

import argparse
import json
import math
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import torch

import crossviz
from crossviz.errors import CrossvizError, DatasetError, ModelError
from crossviz.models import families, load_model
from crossviz.models.about import ABOUT
from crossviz.models.crossviz_mini import FILES
from crossviz.training.data import Photo
from crossviz.training.export import write_folder
from crossviz.training.own_figures import Figures, answer, figures, table
from crossviz.training.own_photos import read_own_photos
from crossviz.training.own_samples import OwnSampler, OwnWords, WordTokens, generic_phrases, own_views
from crossviz.training.own_training import Settings, train, trunk_features

__all__ = ["finetune"]

FAMILY = "crossviz-mini"
LOG = "finetune.csv"
OPTIONS = {
    "steps": "how many steps to train",
    "batch": "photos a step",
    "lr": "learning rate of image head and cross-attention",
    "text_lr": "learning rate of the text tower, as a share of --lr",
    "crops": "random parts of every photo to train on, beside the photo and its mirror image",
    "held_out": "share of the photos that is only measured on, where no line has a `split`",
    "keep": "weight of keeping the maps of everyday phrases as they were",
    "seed": "of every choice by chance",
}


def finetune(
    data: Path, out: Path, base: Path | None = None, device: str | None = None, settings: Settings | None = None
) -> dict[str, Figures]:
    """Train on the photos that `data`/data.jsonl names, and write the model folder `out`.

    Args:
        data: folder with the photos and data.jsonl.
        out: folder to write; there must be nothing in it.
        base: model folder to start from; None for the model that comes with crossviz.
        device: "cpu", "cuda", "mps"; None takes CUDA where there is one.
        settings: None for the defaults.

    Returns:
        For each part of the photos, the name of each figure with its count and its values before and after.

    Raises:
        CrossvizError: the photos, the model or the output folder can't be used.
    """
    settings = settings or Settings()
    _check(out)
    name = FAMILY if base is None else f"{FAMILY}:{base}"
    model = load_model(name, device)
    photos = read_own_photos(data)
    rng, began = random.Random(settings.seed), time.time()
    trained, held = _parts(photos, settings.held_out, rng)
    _make(out)
    tokens = WordTokens(model)
    everything = OwnWords(photos, tokens, model)
    own = [photos[row] for row in trained]
    views = own_views(own, settings.crops, rng)
    sampler = OwnSampler(own, views, OwnWords(own, tokens, model), tokens)
    _say(f"{len(own)} photos to train on, {len(held)} held out; running the image trunk over {len(views)} views")
    features = trunk_features(model, own, views)
    parts = {part: rows for part, rows in (("held out", held), ("trained on", trained)) if rows}
    generic = everything.generic(generic_phrases())
    explainer = crossviz.Explainer(name, device)
    before = {part: answer(explainer, photos, rows, everything, generic) for part, rows in parts.items()}
    with torch.random.fork_rng(devices=[]):  # training leaves out channels by chance
        torch.manual_seed(settings.seed)
        student = train(model, sampler, features, settings, rng, out / LOG)
    source = Path(families()[FAMILY].identity(name)[0])
    facts = {
        "trained": model.info.trained, "finetuned_from": model.weights_sha256, "photos": len(own),
        "seconds": round(time.time() - began), "settings": asdict(settings),
    }  # fmt: skip
    about = json.loads((source / ABOUT).read_text(encoding="utf-8"))
    about["training"] = {**facts, "base": about["training"]}
    config = json.loads((source / FILES[0]).read_text(encoding="utf-8"))
    write_folder(out, config, about, student["clip"], student["attention"])
    explainer = crossviz.Explainer(f"{FAMILY}:{out}", device)
    after = {part: answer(explainer, photos, rows, everything, generic) for part, rows in parts.items()}
    found = {part: figures(before[part], after[part]) for part in parts}
    known = {p: {k: [None if math.isnan(v) else v for v in row] for k, row in f.items()} for p, f in found.items()}
    (out / "figures.json").write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    (out / "README.md").write_text(_card(facts, found), encoding="utf-8")
    return found


def _parts(photos: list[Photo], share: float, rng: random.Random) -> tuple[list[int], list[int]]:
    """Rows to train on and rows held out: those with a `split` other than train, else a random share."""
    held = [row for row, photo in enumerate(photos) if photo.split not in ("", "train")]
    if not any(photo.split for photo in photos):
        held = sorted(rng.sample(range(len(photos)), round(share * len(photos))))
    trained = [row for row in range(len(photos)) if row not in set(held)]
    if len(trained) < 2:
        raise DatasetError(
            f"{len(trained)} of {len(photos)} photos are left to train on, and it takes at least 2, as what a photo "
            "lacks is told from the others' captions: add photos, or hold out fewer."
        )
    return trained, held


def _check(out: Path) -> None:
    """The output folder must be new, empty, or hold nothing but the log of a run that was broken off."""
    if out.exists() and not out.is_dir():
        raise ModelError(f"{out} is a file: give the name of a folder to write the model into.")
    if out.is_dir() and any(path.name != LOG for path in out.iterdir()):
        raise ModelError(f"The folder {out} is not empty: name a new one for the model.")


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / LOG).touch()
    except OSError as error:
        raise ModelError(f"Nothing can be written into {out} ({error.strerror}): name another folder.") from None


def _card(facts: dict[str, Any], found: dict[str, Figures]) -> str:
    return (
        f"# A fine-tuned crossviz-mini\n\nMade by `python -m crossviz.training.finetune` from the weights with sha256 "
        f"{facts['finetuned_from']}, on {facts['photos']} photos, in {facts['seconds']} s. The terms of those weights "
        "(crossviz's model card) hold for these too, beside those of the photos.\n\n" + table(found) + "\n"
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see --help.\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; exit status 2 and one sentence for bad input."""
    parser = _Parser(prog="crossviz.training.finetune", description="Fine-tune crossviz-mini on your own photos.")
    parser.add_argument("--data", type=Path, required=True, help="folder with data.jsonl and the photos")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    parser.add_argument("--base", type=Path, default=None, help="model folder to start from (default: the embedded)")
    parser.add_argument("--device", default=None, help="cpu, cuda, mps (default: the fastest there is)")
    default = Settings()
    for name, line in OPTIONS.items():
        value = getattr(default, name)
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=type(value), default=value, help=f"{line} (%(default)s)")
    args = parser.parse_args(argv)
    chosen = Settings(**{name: getattr(args, name) for name in OPTIONS})
    for name, good in _limits(chosen).items():
        if not good:
            parser.error(f"--{name.replace('_', '-')} can't be {getattr(chosen, name)}")
    try:
        print(table(finetune(args.data, args.out, args.base, args.device, chosen)))
    except CrossvizError as error:
        _say(f"{parser.prog}: {' '.join(str(error).split())}")
        return 2
    except KeyboardInterrupt:
        _say(f"{parser.prog}: interrupted.")
        return 130
    return 0


def _limits(s: Settings) -> dict[str, bool]:
    weights = {name: 0 <= getattr(s, name) < math.inf for name in ("keep", "crops", "text_lr")}
    return {"steps": s.steps > 0, "batch": s.batch > 1, "lr": 0 < s.lr < 1, "held_out": 0 <= s.held_out < 1} | weights


if __name__ == "__main__":
    sys.exit(main())
